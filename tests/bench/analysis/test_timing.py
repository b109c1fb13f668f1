"""What calls say of a scenario's own time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.measurements import block_medians
from bench.analysis.recovered_rows import scenario_rows
from bench.analysis.timing import as_ended, timing_summary, with_timing
from bench.plan.scenario import Task, stock_default
from bench.run.outcomes import Outcome
from bench.store.records import IterationRow, Run
from tests.bench.calls import timed_call


def _call(scenario: str = "a", **changes: Any) -> IterationRow:
    return replace(timed_call(scenario, 0, 0, 1.0), **changes)


def test_a_block_is_the_median_of_its_timed_calls() -> None:
    """First calls, warm-up and what is discarded at the start of a block are not in it."""
    calls = [
        _call(phase="first_call", round=None, wall_ns=9_000_000),
        _call(phase="warmup", round=0, wall_ns=8_000_000),
        _call(wall_ns=1_000_000),
        _call(wall_ns=2_000_000),
        _call(wall_ns=6_000_000),
        _call(launch=1, wall_ns=4_000_000),
        _call("b", wall_ns=5_000_000),
    ]
    assert block_medians(calls) == {"a": {(0, 0): 2.0, (1, 0): 4.0}, "b": {(0, 0): 5.0}}


def test_the_summary_separates_first_call_warm_up_and_timed_calls() -> None:
    """The first call is launch 0's, the warm-up that before its rounds, the rest is timed."""
    calls = [
        _call(phase="first_call", round=None, launch=1, wall_ns=70_000_000),
        _call(phase="first_call", round=None, wall_ns=90_000_000),
        *[_call(phase="warmup", round=None) for _ in range(4)],
        *[_call(phase="warmup", round=None, launch=1) for _ in range(7)],
        _call(phase="warmup", round=0, wall_ns=50_000_000),
        *[_call(wall_ns=wall_ms * 1_000_000) for wall_ms in (1, 2, 3)],
        _call(round=1, wall_ns=4_000_000),
        _call(launch=1, wall_ns=5_000_000),
    ]
    summary = timing_summary(calls)
    assert (summary.rounds, summary.launches) == (3, 2)
    assert summary.median_ms == 3.0
    assert summary.first_call_ms == 90.0
    assert summary.warmup_iterations == 4


@pytest.mark.parametrize(
    ("calls", "p90", "p99"),
    [(9, None, None), (10, 9.1, None), (99, 89.2, None), (100, 90.1, 99.01)],
)
def test_tails_need_enough_calls(calls: int, p90: float | None, p99: float | None) -> None:
    """A p90 of nine calls would be their maximum under another name."""
    summary = timing_summary([_call(wall_ns=ms * 1_000_000) for ms in range(1, calls + 1)])
    assert summary.p90_ms == (None if p90 is None else pytest.approx(p90))
    assert summary.p99_ms == (None if p99 is None else pytest.approx(p99))


def test_no_calls_give_an_empty_summary() -> None:
    """A scenario that never ran has no times, and no zeros that look like times."""
    summary = timing_summary([])
    assert (summary.rounds, summary.launches) == (0, 0)
    assert summary.median_ms is summary.first_call_ms is summary.warmup_iterations is None


def test_the_first_call_is_that_of_the_first_launch() -> None:
    """Whatever its number is: later ones found warm caches."""
    calls = [_call(phase="first_call", round=None, launch=n, wall_ns=n * 10**6) for n in (3, 5)]
    assert timing_summary(calls).first_call_ms == 3.0


STEP = replace(stock_default(Task.TRAINING, 8), options=("frozen",))


def test_images_a_second_have_one_rule_for_inference_and_training() -> None:
    """In the row that a run writes and in the one that its page makes from calls alone."""
    calls = [_call(STEP.id, launch=launch, wall_ns=400_000_000) for launch in range(3)]
    written = Outcome(scenario=STEP).row("run", calls, {})
    (made,) = scenario_rows(Run(folder=Path(), environment={}, iterations=tuple(calls)))
    assert written.images_per_s == made.images_per_s == pytest.approx(20.0)


def test_a_row_is_brought_up_to_date_by_its_calls() -> None:
    """Times, rounds and throughput are those of all calls; everything else of the row stays."""
    early = Outcome(scenario=STEP, prepared={"flop_per_call": 8e9}).row(
        "run", [_call(STEP.id, wall_ns=400_000_000)], {"fp32": 40.0}
    )
    calls = [_call(STEP.id, launch=launch, wall_ns=200_000_000) for launch in range(2)]
    late = with_timing(early, calls)
    assert (late.median_ms, late.rounds, late.launches) == (200.0, 2, 2)
    assert late.gflop_per_s == pytest.approx(40.0)
    assert late.percent_of_peak == pytest.approx(100.0)
    assert late.images_per_s == pytest.approx(40.0)


def test_what_never_had_a_round_was_not_measured() -> None:
    """Once the run has ended; until then its turn may come."""
    waiting = Outcome(scenario=STEP).row("run", [], {}, ended=False)
    assert waiting.status == "ok"
    assert as_ended(waiting).status == "unavailable"
    assert "before its first round" in (as_ended(waiting).reason or "")
    crashed = replace(waiting, status="crashed", reason="signal 11")
    assert as_ended(crashed) == crashed


def test_what_was_disturbed_in_every_round_is_not_called_without_a_turn() -> None:
    """More budget would be no help; less beside it on the machine would."""
    calls = [replace(_call(STEP.id, launch=launch), disturbed=True) for launch in range(3)]
    row = Outcome(scenario=STEP).row("run", calls, {}, ended=True)
    assert (row.status, row.rounds) == ("unavailable", 0)
    assert "BUDGET" not in str(row.reason)
    assert "other work" in str(row.reason)
