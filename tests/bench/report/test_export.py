"""Exports to other tools, checked with the tool itself where it is a Python package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.plan.scenario import Task, stock_default
from bench.store import records

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = stock_default(Task.INFERENCE, 1).id
IPEX = "inference/ipex/eager/fp32/channels_last/b1"
PYTEST = ("--format", "pytest-benchmark")
GITHUB = ("--format", "github-action-benchmark", "--measure")


def bench_export(*arguments: str | Path) -> Result:
    """The command as a user types it."""
    return CliRunner().invoke(main.cli, ["export", *map(str, arguments)], catch_exceptions=False)


def stats_of(run: Path) -> dict[str, Any]:
    """The exported statistics of stock default."""
    found: dict[str, Any] = json.loads(bench_export(*PYTEST, run).stdout)["benchmarks"][0]["stats"]
    return found


def iterations(scenario: str, ms: float) -> list[records.IterationRow]:
    """Two launches of three rounds of two calls, and a warm-up call that must not count."""
    calls: list[tuple[int | None, str, float]] = [(None, "warmup", 50 * ms)]
    calls += [(round_, "timed", ms + round_) for round_ in range(3) for _ in range(2)]
    return [
        records.IterationRow(
            run_id="run",
            scenario=scenario,
            launch=launch,
            round=round_,
            position=0,
            iteration=number,
            phase=phase,
            wall_ns=int(wall_ms * 1e6),
            cpu_ns=int(wall_ms * 1e6),
        )
        for launch in range(2)
        for number, (round_, phase, wall_ms) in enumerate(calls)
    ]


def scenario_row(scenario: str) -> records.ScenarioRow:
    """A scenario that was measured."""
    fields: dict[str, Any] = dict.fromkeys(records.ScenarioRow.__dataclass_fields__)
    fields.update(run_id="run", scenario=scenario, task="inference", mode="eager", dtype="fp32",
                  backend=scenario.split("/")[1], layout="contiguous", batch_size=1,
                  environment="ipex-2.8", status="ok", rounds=6, launches=2)  # fmt: skip
    return records.ScenarioRow(**fields)


SPEEDUP = records.SpeedupRow(
    run_id="run",
    scenario=IPEX,
    baseline_kind="stock_default",
    baseline=DEFAULT,
    speedup=1.25,
    speedup_low=1.2,
    speedup_high=1.3,
    margin=0.03,
    launches=2,
    rounds=6,
    verdict="faster",
    reason=None,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Stock default at about 100 ms a call, IPEX at about 80."""
    folder = tmp_path / "run"
    folder.mkdir()
    records.write_environment(
        folder,
        {
            "run_id": "run",
            "started_utc": "2026-11-24T02:35:12+00:00",
            "commit": "abc",
            "machine": {"name": "lab", "cpu_model": "x", "packages": {"torch": "2.8.0"}},
        },
    )
    with records.RunWriter(folder) as writer:
        for scenario, ms in ((DEFAULT, 100.0), (IPEX, 80.0), (f"{DEFAULT}#control", 100.0)):
            for row in iterations(scenario, ms):
                writer.append(row)
    rows = [scenario_row(DEFAULT), scenario_row(IPEX)]
    records.replace_rows(folder / "scenarios.csv", rows, records.ScenarioRow)
    records.replace_rows(folder / "speedups.csv", [SPEEDUP], records.SpeedupRow)
    return folder


def test_blocks_that_other_work_disturbed_are_left_out(run: Path) -> None:
    """A block whose calls were all disturbed; with clean calls, a block has their time."""
    rows = [
        replace(row, wall_ns=10 * row.wall_ns, disturbed=True)
        for row in records.read_run(run).iterations
        if row.phase == "timed" and row.round == 2
    ]
    with records.RunWriter(run) as writer:
        for row in rows:
            writer.append(row)
    stats = stats_of(run)
    assert (stats["rounds"], stats["max"]) == (6, pytest.approx(0.102))
    others = [row for row in records.read_run(run).iterations if row.round != 2]
    records.replace_rows(run / "iterations.csv", [*others, *rows], records.IterationRow)
    stats = stats_of(run)
    assert (stats["rounds"], stats["max"]) == (4, pytest.approx(0.101))
    (default, _) = json.loads(bench_export(*GITHUB, "time", run).stdout)
    assert default["value"] == pytest.approx(100.5)


def test_pytest_benchmark_compares_what_was_exported(run: Path, tmp_path: Path) -> None:
    """The real command reads two runs and shows both scenarios, in their group, in ms."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        assert bench_export(*PYTEST, "--output", file, run).exit_code == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "--csv", "out.csv", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stdout + done.stderr
    assert "'inference/b1': 4 tests" in done.stdout
    assert "(time in ms)" in done.stdout
    lines = (tmp_path / "out.csv").read_text().splitlines()
    head = lines[0].split(",")
    first = dict(zip(head, lines[1].split(","), strict=True))
    assert first["name"] == IPEX
    assert float(first["median"]) == pytest.approx(0.081)
    assert float(first["min"]) == pytest.approx(0.080)
    assert (first["rounds"], first["iterations"]) == ("6", "1")


def test_only_timed_blocks_count_and_the_control_is_no_scenario(run: Path) -> None:
    """A warm-up call of 5 s would show in every statistic."""
    benchmarks = json.loads(bench_export(*PYTEST, run).stdout)["benchmarks"]
    assert [found["name"] for found in benchmarks] == [DEFAULT, IPEX]
    stats = stats_of(run)
    assert stats["max"] == pytest.approx(0.102)
    assert stats["rounds"] == len(stats["data"]) == 6
    assert stats["q1"] <= stats["median"] <= stats["q3"]
    assert stats["ld15iqr"] >= stats["min"]


@pytest.mark.parametrize(
    ("measure", "names", "value", "unit"),
    [
        ("speedup", [IPEX], 1.25, "times stock default"),
        ("time", [DEFAULT, IPEX], 101.0, "ms"),
    ],
)
def test_github_action_benchmark_gets_named_numbers(
    run: Path, measure: str, names: list[str], value: float, unit: str
) -> None:
    """An array whose entries have what its custom tools read: name, value, unit, range, extra."""
    entries = json.loads(bench_export(*GITHUB, measure, run).stdout)
    assert [entry["name"] for entry in entries] == names
    assert entries[0]["value"] == pytest.approx(value)
    assert entries[0]["unit"] == unit
    for entry in entries:
        assert set(entry) == {"name", "value", "unit", "range", "extra"}
        assert all(isinstance(entry[key], str) for key in ("name", "unit", "range", "extra"))


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "invalid"},
        {"speedup": None, "speedup_low": None, "speedup_high": None},
        {"speedup_high": float("inf")},
        {"baseline_kind": "control"},
    ],
)
def test_what_is_no_result_is_not_exported_as_one(run: Path, changes: dict[str, Any]) -> None:
    """An invalid comparison would become a point on somebody's chart."""
    row = replace(SPEEDUP, **changes)
    records.replace_rows(run / "speedups.csv", [row], records.SpeedupRow)
    result = bench_export(*GITHUB, "speedup", run)
    assert result.exit_code == 1
    assert "nothing to export" in result.stderr


def test_a_run_that_measured_nothing_is_one_line(run: Path) -> None:
    """An empty file would pass for a result."""
    (run / "iterations.csv").unlink()
    for arguments in (PYTEST, (*GITHUB, "time")):
        result = bench_export(*arguments, run)
        assert result.exit_code == 1
        assert "nothing to export" in result.stderr


def test_the_newest_run_is_exported_by_default(run: Path) -> None:
    """As `bench report` does."""
    shutil.copytree(run, run.parent / "results" / "20261124T000000Z-lab")
    result = bench_export(*PYTEST, "--results", run.parent / "results")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["machine_info"]["node"] == "lab"


def test_an_unknown_format_is_wrong_usage(run: Path) -> None:
    """Exit code 2, and the line names the formats."""
    result = bench_export("--format", "junit", run)
    assert result.exit_code == 2
    assert "pytest-benchmark" in result.stderr
