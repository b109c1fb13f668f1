"""Which speedups of a stored run a verdict can rest on, with its calls and without."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.speedups import RunAnalysis
from bench.gate import stored_runs, stored_speedups
from bench.gate.result import Outcome
from bench.plan.scenario import Status
from bench.plan.thresholds import DEFAULT
from bench.store import records
from tests.bench.gate.conftest import DEFAULT_1, gate
from tests.bench.made_up_rows import RUN_ID, Plan
from tests.bench.made_up_runs import IPEX_1, THREE, build_run, save_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.store.records import Run

A = "inference/ipex/eager/fp32/channels_last/b1"
GOOD = {A: (1.4, 1.38, 1.42)}
SLOWER = {A: (1.1, 1.08, 1.12)}
LEVEL = {A: (1.0, 0.95, 1.05)}
"""An interval that is neither faster nor slower, nor the same: open by itself."""
ON_DEFAULT = {"statuses": {DEFAULT_1.id: Status.OK}}
REFUSED = {"verdict": "inconclusive", "reason": "it was planted"}
UNCHECKED = {"of_scenarios": {"checked": False}}


@pytest.mark.parametrize(
    ("speedups", "changes", "code"),
    [
        (SLOWER, {}, 10),
        (SLOWER, {"of_scenarios": {"checked": True}}, 10),
        (LEVEL, {"verdict": "inconclusive", "reason": "its interval is open"}, 10),
        (SLOWER, UNCHECKED, 11),
        (LEVEL, UNCHECKED, 11),
        (GOOD, UNCHECKED, 11),
        (SLOWER, REFUSED, 11),
        (GOOD, REFUSED, 11),
        (LEVEL, {**REFUSED, "rounds": 2}, 11),
    ],
)
def test_what_the_runs_summaries_refused_is_no_verdict(
    make_run: Any, tmp_path: Path, speedups: Any, changes: dict[str, Any], code: int
) -> None:
    """Two runs and floors agree, though an interval alone would be a regression or a pass."""
    good = make_run("good", GOOD)
    found = make_run("found", speedups, **changes)
    assert gate("--baseline", good, "--candidate", found).exit_code == code
    policy = tmp_path / "floors.json"
    assert gate("--write-policy", policy, good).exit_code == 0
    result = gate("--policy", policy, found)
    assert result.exit_code == code
    assert ("planted" in result.output) == (changes is REFUSED)
    accepted = gate("--write-policy", tmp_path / "new.json", found)
    assert accepted.exit_code == (0 if code == 10 else 11)


def test_a_stock_default_that_was_not_checked_refuses_what_it_divides(make_run: Any) -> None:
    """The speedup has two sides."""
    good = make_run("good", GOOD, **ON_DEFAULT)
    found = make_run("found", SLOWER, **ON_DEFAULT)
    assert gate("--baseline", good, "--candidate", found).exit_code == 10
    rows, _ = records.read_rows(found / "scenarios.csv", records.ScenarioRow)
    rows = [dataclasses.replace(row, checked=row.scenario != DEFAULT_1.id) for row in rows]
    records.replace_rows(found / "scenarios.csv", rows, records.ScenarioRow)
    assert gate("--baseline", good, "--candidate", found).exit_code == 11


def measured(**choices: Any) -> Run:
    """A run with calls, in which IPEX gains 44 %."""
    return build_run(Plan(profile="smoke", only=THREE, **choices))


def judged(run: Run, **changes: Any) -> Run:
    """The run with other rows, and the speedups that it then writes."""
    run = dataclasses.replace(run, **changes)
    found = RunAnalysis(RUN_ID, run.scenarios, run.iterations, run.noise, run.parity, DEFAULT)
    return dataclasses.replace(run, speedups=tuple(found.rows()))


def unlike_disturbed(run: Run) -> Run:
    """Other work disturbed every other round of IPEX alone."""
    calls = (
        dataclasses.replace(call, disturbed=True)
        if call.scenario == IPEX_1 and (call.round or 0) % 2
        else call
        for call in run.iterations
    )
    return judged(run, iterations=tuple(calls))


def unchecked(run: Run) -> Run:
    """The run ended before IPEX's outputs were compared."""
    return judged(
        run,
        scenarios=tuple(
            dataclasses.replace(row, checked=row.scenario != IPEX_1) for row in run.scenarios
        ),
    )


KEY = (IPEX_1, "stock_default")
NO_GAIN = {"slow_ipex": 1.4425}
"""So much slower that IPEX is as fast as stock, and the interval of its speedup is open."""


@pytest.mark.parametrize(
    ("choices", "change", "outcome"),
    [
        (NO_GAIN, judged, Outcome.REGRESSION),
        ({}, judged, Outcome.PASSED),
        (NO_GAIN, unlike_disturbed, Outcome.NO_VERDICT),
        ({}, unlike_disturbed, Outcome.NO_VERDICT),
        (NO_GAIN, unchecked, Outcome.NO_VERDICT),
        ({}, unchecked, Outcome.NO_VERDICT),
        ({"launches": 2, "rounds": 1, **NO_GAIN}, judged, Outcome.NO_VERDICT),
    ],
)
def test_a_run_with_calls_is_asked_what_its_judge_objects(
    tmp_path: Path, choices: dict[str, Any], change: Callable[[Run], Run], outcome: Outcome
) -> None:
    """In either run; a row alone does not tell an open interval from a refused one."""
    found = change(measured(**choices))
    folders = save_run(measured(), tmp_path / "good"), save_run(found, tmp_path / "found")
    good, other = map(stored_speedups.read, folders)
    cases = {case.scenario: case for case in stored_runs.compare(good, other).cases}
    assert cases[IPEX_1].outcome is outcome
    if outcome is Outcome.NO_VERDICT:
        (row,) = (one for one in found.speedups if (one.scenario, one.baseline_kind) == KEY)
        assert row.verdict == "inconclusive"
        assert str(row.reason) in cases[IPEX_1].reason
        (first, *_) = stored_runs.compare(other, good, only=[IPEX_1]).cases
        assert first.outcome is outcome
