"""What gets a further launch: results that were refused, and what it would decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.confirmation import is_close, to_confirm
from bench.policy import VerdictPolicy
from bench.records import SpeedupRow

POLICY = VerdictPolicy()
ROW = SpeedupRow(
    run_id="run",
    scenario="a",
    baseline_kind="stock_default",
    baseline="default",
    speedup=1.2,
    speedup_low=1.18,
    speedup_high=1.22,
    margin=0.005,
    launches=3,
    rounds=9,
    verdict="faster",
    reason=None,
)


OPEN = replace(ROW, verdict="inconclusive", processes_to_decide=1)


@pytest.mark.parametrize(
    ("row", "close"),
    [
        (OPEN, True),
        (replace(OPEN, processes_to_decide=2), False),  # one launch would not settle it
        (replace(OPEN, processes_to_decide=None), False),  # nothing would, or there is no interval
        (ROW, False),  # decided
        (replace(ROW, verdict="same"), False),
    ],
)
def test_what_one_further_process_would_decide_is_close(row: SpeedupRow, close: bool) -> None:
    """And nothing else."""
    assert is_close(row, POLICY) is close


def test_a_close_call_comes_with_its_baseline() -> None:
    """Stock tuned too: without it there is nothing to pair with."""
    close = replace(OPEN, baseline_kind="stock_tuned", baseline="tuned")
    assert to_confirm([ROW, close], POLICY) == {"a", "tuned"}


def test_what_was_measured_and_refused_is_confirmed() -> None:
    """Refused by the control, the noise, the peak or the placebo: others would be luckier."""
    refused = replace(ROW, verdict="invalid", reason="over the peak")
    assert to_confirm([refused], POLICY) == {"a", "default"}


def test_what_never_ran_is_not_confirmed() -> None:
    """It has no speedup to be surprised at."""
    crashed = replace(ROW, speedup=None, speedup_low=None, speedup_high=None, verdict="invalid")
    assert to_confirm([crashed], POLICY) == frozenset()


@pytest.mark.parametrize("hopeless", ["a", "default"])
def test_what_fresh_processes_only_repeat_is_left(hopeless: str) -> None:
    """Other conditions will be other conditions again, the scenario's or its baseline's."""
    refused = replace(ROW, verdict="invalid")
    assert to_confirm([refused], POLICY, hopeless={hopeless}) == frozenset()


def test_the_control_alone_calls_for_nothing() -> None:
    """When it fails, every row of its group is refused and says so itself."""
    control = replace(ROW, baseline_kind="control", verdict="invalid")
    assert to_confirm([control], POLICY) == frozenset()
