"""Two stored runs: what is a regression, what is a pass, and what is neither."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.comparison import Ratio
from bench.gate import stored_runs
from bench.gate.result import Outcome, weigh
from bench.plan.scenario import Status
from bench.store import records
from tests.bench.gate.conftest import DEFAULT_1, gate

if TYPE_CHECKING:
    from pathlib import Path

A = "inference/ipex/eager/fp32/channels_last/b1"
B = "inference/stock/eager/fp32/channels_last/b1"


def around(estimate: float, width: float = 0.01) -> tuple[float, float, float]:
    """An estimate with its interval."""
    return estimate, estimate * (1 - width), estimate * (1 + width)


def ratio(estimate: float, low: float, high: float) -> Ratio:
    """A ratio of that interval."""
    return Ratio(estimate=estimate, low=low, high=high, launches=3, rounds=36)


@pytest.mark.parametrize(
    ("after", "code", "words"),
    [
        (around(1.40), 0, "Passed: "),
        (around(1.55), 0, "faster"),
        (around(1.20), 10, f"Slower: {A}"),
        (around(1.30), 10, "7.7 % slower"),
        (around(1.30, 0.15), 11, "1 of 2"),
        (around(1.37, 0.08), 11, "ruled out"),
    ],
)
def test_the_exit_code_follows_the_interval(
    make_run: Any, after: tuple[float, float, float], code: int, words: str
) -> None:
    """Shown is 10, ruled out is 0, and what is neither is 11."""
    baseline = make_run("a", {A: around(1.40), B: around(1.1)})
    candidate = make_run("b", {A: after, B: around(1.1)})
    result = gate("--baseline", baseline, "--candidate", candidate)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.output.split())
    assert f"Exit code {code}. Repeat: bench gate " in result.output


ONE, BOTH, SLOWER = {A: around(1.4)}, {A: around(1.4), B: around(1.1)}, {A: around(1.1)}
OF_BOTH = {DEFAULT_1.id: Status.OK}
NOBODY: dict[str, Any] = {"fingerprint": None}


@pytest.mark.parametrize(
    ("before", "after", "of_before", "of_after", "words"),
    [
        (ONE, ONE, {}, {"fingerprint": "def"}, "different machines"),
        (ONE, ONE, NOBODY, NOBODY, "which machine"),
        (ONE, SLOWER, {}, {"verdict": "invalid", "reason": "it was planted"}, "it was planted"),
        (ONE, SLOWER, {}, {"launches": 1}, "confirms nothing"),
        (BOTH, {B: around(1.1)}, {}, {}, "candidate run"),
        ({}, {}, {}, {}, "measured no scenario"),
    ],
)
def test_what_cannot_be_compared_or_trusted_is_no_verdict_with_the_reason(
    make_run: Any, before: Any, after: Any, of_before: Any, of_after: Any, words: str
) -> None:
    """Another or unknown machine, an invalid or a single-launch run, a lost scenario, nothing."""
    runs = make_run("a", before, **of_before), make_run("b", after, **of_after)
    result = gate("--baseline", runs[0], "--candidate", runs[1])
    assert result.exit_code == 11
    assert words in " ".join(result.output.split())


def test_what_the_baseline_never_measured_is_not_asked_for(make_run: Any) -> None:
    """A backend that is not installed on this machine fails nothing."""
    baseline = make_run("a", {A: around(1.4), B: around(1.1)}, statuses={B: Status.UNAVAILABLE})
    candidate = make_run("b", {A: around(1.4)})
    assert gate("--baseline", baseline, "--candidate", candidate).exit_code == 0


@pytest.mark.parametrize(
    ("patterns", "code"),
    [
        (["training/*"], 11),
        (["inference/*"], 0),
        (["inference/*", "trainig/*"], 11),
        ([B, A], 0),
        ([A, B.replace("fp32", "bf16")], 11),
    ],
)
def test_a_pattern_that_matches_nothing_is_no_pass(
    make_run: Any, patterns: list[str], code: int
) -> None:
    """Each has to match something that the baseline run measured, as in the first question."""
    runs = [make_run(name, BOTH) for name in "ab"]
    only = [part for pattern in patterns for part in ("--only", pattern)]
    result = gate("--baseline", runs[0], "--candidate", runs[1], *only)
    assert result.exit_code == code
    assert ("measured no scenario" in result.output) == (code == 11)


def of_own(**changes: Any) -> dict[str, Any]:
    """The metadata of a run of a user's model; `changes` are of its request."""
    own = {"model": "shop:net", "settings": ["size=1"], "shape": "3,8,8", "inputs": None}
    return {"request": {"own": {**own, **changes}}, "model": {"name": "shop:net"}}


SHIPPED = {"model": {"name": "shipped"}, "request": {"own": None}}


@pytest.mark.parametrize(
    ("of_before", "of_after", "code"),
    [
        (SHIPPED, SHIPPED, 10),
        (of_own(), of_own(), 10),
        ({}, {}, 10),
        (SHIPPED, {"model": {"name": "random"}}, 11),
        (SHIPPED, of_own(), 11),
        ({}, of_own(), 11),
        (of_own(), of_own(model="shop:other"), 11),
        (of_own(), of_own(settings=["size=2"]), 11),
        (of_own(), of_own(shape="3,16,16"), 11),
        (of_own(), of_own(shape=None, inputs="shop:batch"), 11),
        (of_own(), of_own(train_step="shop:step"), 11),
        (of_own(), {**of_own(), "model": {"name": "another"}}, 11),
    ],
)
def test_runs_of_two_models_are_not_compared(
    make_run: Any, of_before: dict[str, Any], of_after: dict[str, Any], code: int
) -> None:
    """A model of the user's own keeps the scenarios' ids, and lands beside the inspector's runs."""
    runs = make_run("a", ONE, **of_before), make_run("b", SLOWER, **of_after)
    assert gate("--baseline", runs[0], "--candidate", runs[1]).exit_code == code


@pytest.mark.parametrize("other", [DEFAULT_1.id, A])
@pytest.mark.parametrize(("threads", "code"), [((16, 16), 10), ((16, 1), 11), ((16, None), 11)])
def test_other_threads_are_no_verdict(
    make_run: Any, other: str, threads: tuple[int, int | None], code: int
) -> None:
    """Of the scenario, or of stock default, which its speedup divides by."""
    runs = (
        make_run("a", {A: around(1.4)}, statuses=OF_BOTH),
        make_run("b", SLOWER, statuses=OF_BOTH),
    )
    for folder, number in zip(runs, threads, strict=True):
        rows, _ = records.read_rows(folder / "scenarios.csv", records.ScenarioRow)
        changed = [replace(row, threads=number if row.scenario == other else 16) for row in rows]
        records.replace_rows(folder / "scenarios.csv", changed, records.ScenarioRow)
    result = gate("--baseline", runs[0], "--candidate", runs[1])
    assert result.exit_code == code
    assert ("--threads" in result.output) == (code == 11)


@pytest.mark.parametrize("name", ["speedups.csv", "scenarios.csv"])
@pytest.mark.parametrize("damage", ["missing", "cut", "wrong"])
def test_a_damaged_run_is_a_failure_of_the_tool(make_run: Any, name: str, damage: str) -> None:
    """Whatever the damage, the exit code is 1 and one line says where."""
    baseline = make_run("a", {A: around(1.4)})
    candidate = make_run("b", {A: around(1.4)})
    file = candidate / name
    text = file.read_text()
    if damage == "missing":
        file.unlink()
    else:
        file.write_text(text[:-5] if damage == "cut" else text.replace("channels_last,", ",,", 1))
    if damage == "wrong":
        file.write_text(text.replace(",36,", ",many,"))
    result = gate("--baseline", baseline, "--candidate", candidate)
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert name in result.stderr


def test_a_folder_that_is_no_run_is_a_failure(tmp_path: Path, make_run: Any) -> None:
    """A wrong path is not a pass."""
    result = gate("--baseline", make_run("a", {}), "--candidate", tmp_path / "none")
    assert result.exit_code == 1
    assert "is not a run" in result.stderr


def test_more_than_one_row_for_a_scenario_is_refused(make_run: Any) -> None:
    """Otherwise the last one would silently win."""
    twice = make_run("a", {A: around(1.4)}, kinds=("stock_default", "stock_default"))
    result = gate("--baseline", twice, "--candidate", twice)
    assert result.exit_code == 1
    assert "twice" in result.stderr


def test_every_output_is_written(make_run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The chosen files, and what GitHub Actions reads, have the same answer."""
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    baseline, candidate = make_run("a", {A: around(1.4)}), make_run("b", {A: around(1.1)})
    names = {kind: tmp_path / "new" / f"gate.{kind}" for kind in ("markdown", "junit", "json")}
    options = [part for kind, path in names.items() for part in (f"--{kind}", path)]
    result = gate("--baseline", baseline, "--candidate", candidate, *options)
    assert result.exit_code == 10
    assert "::error title=Gate%3A regression" in result.output
    assert summary.read_text() == names["markdown"].read_text()
    assert json.loads(names["json"].read_text())["exit_code"] == 10
    assert "<failure" in names["junit"].read_text()


speeds = st.floats(0.1, 10)
widths = st.floats(1e-6, 0.5)


@given(speeds, widths, speeds, widths)
def test_the_quotient_holds_its_estimate_and_is_wider_than_either(
    a: float, wide_a: float, b: float, wide_b: float
) -> None:
    """Uncertainty of two runs adds up, it never cancels."""
    above = ratio(*around(a, wide_a))
    below = ratio(*around(b, wide_b))
    found = stored_runs.quotient(above, below)
    assert found.low <= found.estimate <= found.high
    assert found.estimate == pytest.approx(a / b)
    for one in (above, below):
        assert found.high / found.low >= one.high / one.low * (1 - 1e-9)


@given(speeds, widths, st.floats(0.001, 0.2), st.floats(0.001, 0.3))
def test_an_interval_is_a_regression_or_a_pass_and_never_both_ways(
    estimate: float, width: float, margin: float, ruled_out: float
) -> None:
    """A regression has no part above the margin; a pass has no part below what is ruled out."""
    found = ratio(*around(estimate, width))
    outcome, _ = weigh(found, margin=margin, ruled_out=ruled_out)
    if outcome is Outcome.REGRESSION:
        assert found.high < 1 / (1 + margin)
    if outcome is Outcome.PASSED:
        assert found.low > 1 / (1 + ruled_out)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_a_number_that_is_none_is_no_verdict(bad: float) -> None:
    """NaN compares false with everything, which must not read as a pass."""
    assert weigh(ratio(bad, bad, bad), margin=0.02, ruled_out=0.05)[0] is Outcome.NO_VERDICT
