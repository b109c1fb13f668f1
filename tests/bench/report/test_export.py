"""Exports to other tools, checked with the tool itself where it is a Python package."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.measurements import block_medians
from tests.bench.command import bench
from tests.bench.made_up_runs import DEFAULT_1, MakeRun, Save
from tests.fresh_process import python

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store import records

IPEX = "inference/ipex/eager/fp32/channels_last/b1"
PYTEST = ("--format", "pytest-benchmark")
GITHUB = ("--format", "github-action-benchmark", "--measure")


export = partial(bench, "export")
"""The command as a user types it."""


def exported(*arguments: str | Path) -> Any:
    """What the command prints."""
    done = export(*arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> records.Run:
    """Stock default and IPEX, two launches of three rounds."""
    return make_run(only=(DEFAULT_1, IPEX), launches=2, rounds=3)


@pytest.fixture
def folder(run: records.Run, save: Save, tmp_path: Path) -> Path:
    """Its files."""
    return save(run, tmp_path / "20261124T000000Z-lab")


def test_pytest_benchmark_compares_exports(run: records.Run, folder: Path, tmp_path: Path) -> None:
    """The real command reads two runs and shows both scenarios, in their group, in ms."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        assert export(*PYTEST, "--output", file, folder).exit_code == 0
    compare = ("-m", "pytest_benchmark", "compare", "--csv", "out.csv")
    done = python(*compare, *files, cwd=tmp_path)
    assert "Failed to load" not in done.stdout + done.stderr
    assert "'inference/b1': 4 tests" in done.stdout
    assert "(time in ms)" in done.stdout
    with (tmp_path / "out.csv").open() as lines:
        first = next(csv.DictReader(lines))
    assert first["name"] == IPEX
    seconds = [ms / 1000 for ms in block_medians(run.iterations)[IPEX].values()]
    assert float(first["median"]) == pytest.approx(statistics.median(seconds), rel=1e-3)
    assert float(first["min"]) == pytest.approx(min(seconds), rel=1e-3)
    assert (first["rounds"], first["iterations"]) == ("6", "1")


def test_timed_blocks_count_and_the_control_does_not(run: records.Run, folder: Path) -> None:
    """The first call and warm-up are much longer and would show in every statistic."""
    found = exported(*PYTEST, "--results", folder.parent)  # the newest run
    assert found["machine_info"]["node"] == run.environment["machine"]["name"]
    benchmarks = found["benchmarks"]
    assert [one["name"] for one in benchmarks] == [DEFAULT_1, IPEX]
    stats = benchmarks[0]["stats"]
    seconds = [ms / 1000 for ms in block_medians(run.iterations)[DEFAULT_1].values()]
    assert stats["data"] == pytest.approx(seconds)
    assert stats["rounds"] == len(seconds) == 6
    assert stats["max"] == pytest.approx(max(seconds))
    assert stats["q1"] <= stats["median"] <= stats["q3"]
    assert stats["ld15iqr"] >= stats["min"]


@pytest.mark.parametrize("has_clean_calls", [True, False])
def test_no_disturbed_call(
    run: records.Run, save: Save, tmp_path: Path, has_clean_calls: bool
) -> None:
    """A block has the time of its clean calls, and does not count without any."""
    disturbed = [
        replace(row, wall_ns=10 * row.wall_ns, disturbed=True)
        for row in run.iterations
        if row.round == 2
    ]
    others = [row for row in run.iterations if has_clean_calls or row.round != 2]
    folder = save(replace(run, iterations=(*others, *disturbed)), tmp_path)
    clean = block_medians(others)[DEFAULT_1].values()
    stats = exported(*PYTEST, folder)["benchmarks"][0]["stats"]
    assert stats["rounds"] == len(clean) == (6 if has_clean_calls else 4)
    assert stats["max"] == pytest.approx(max(clean) / 1000)
    assert exported(*GITHUB, "time", folder)[0]["value"] == pytest.approx(statistics.median(clean))


@pytest.mark.parametrize(
    ("measure", "names", "unit"),
    [("speedup", [IPEX], "times stock default"), ("time", [DEFAULT_1, IPEX], "ms")],
)
def test_github_action_benchmark_gets_named_numbers(
    run: records.Run, folder: Path, measure: str, names: list[str], unit: str
) -> None:
    """An array whose entries have what its custom tools read: name, value, unit, range, extra."""
    entries = exported(*GITHUB, measure, folder)
    assert [entry["name"] for entry in entries] == names
    speedup = next(row.speedup for row in run.speedups if row.scenario == IPEX)
    median = statistics.median(block_medians(run.iterations)[DEFAULT_1].values())
    assert entries[0]["value"] == pytest.approx(speedup if measure == "speedup" else median)
    if measure == "speedup":
        row = next(row for row in run.speedups if row.scenario == IPEX)
        half = ((row.speedup_high or 0) - (row.speedup_low or 0)) / 2
        assert entries[0]["range"] == f"± {half:.4g}"
    for entry in entries:
        assert set(entry) == {"name", "value", "unit", "range", "extra"}
        assert entry["unit"] == unit
        assert all(isinstance(entry[key], str) for key in ("name", "range", "extra"))


def test_a_killed_run_exports_what_its_calls_show(
    run: records.Run, save: Save, tmp_path: Path
) -> None:
    """It has no speedups.csv yet; the page judges the calls, and so does the export."""
    killed = save(replace(run, speedups=(), claims=()), tmp_path / "killed")
    (entry,) = exported(*GITHUB, "speedup", killed)
    assert entry["name"] == IPEX
    assert entry["value"] == pytest.approx(1.4, abs=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "invalid"},
        {"speedup": None, "speedup_low": None, "speedup_high": None},
        {"speedup_high": float("inf")},
        {"baseline_kind": "control"},
    ],
)
def test_no_result_is_not_exported(
    run: records.Run, save: Save, tmp_path: Path, changes: Any
) -> None:
    """An invalid comparison would become a point on somebody's chart."""
    speedups = tuple(replace(row, **changes) for row in run.speedups)
    result = export(*GITHUB, "speedup", save(replace(run, speedups=speedups), tmp_path))
    assert result.exit_code == 1
    assert "nothing to export" in result.stderr


@pytest.mark.parametrize("arguments", [PYTEST, (*GITHUB, "time"), ("--format", "junit")])
def test_an_empty_run_or_wrong_format_is_one_line(folder: Path, arguments: tuple[str, ...]) -> None:
    """An empty file would pass for a result; a wrong format exits with 2 and names the right."""
    (folder / "iterations.csv").unlink()
    result = export(*arguments, folder)
    is_wrong_usage = "junit" in arguments
    assert result.exit_code == (2 if is_wrong_usage else 1)
    assert ("pytest-benchmark" if is_wrong_usage else "nothing to export") in result.stderr
