"""What gets a further launch: results that were refused, and close calls on either side."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bench.confirmation import is_close, to_confirm
from bench.policy import VerdictPolicy
from bench.records import SpeedupRow

POLICY = VerdictPolicy(close_call=0.005)
ROW = SpeedupRow(
    run_id="run",
    scenario="a",
    baseline_kind="stock_default",
    baseline="default",
    speedup=1.2,
    speedup_low=1.18,
    speedup_high=1.22,
    margin=0.03,
    launches=3,
    rounds=9,
    verdict="faster",
    reason=None,
)


def between(low: float, high: float) -> SpeedupRow:
    """A row with that interval."""
    return replace(ROW, speedup=math.sqrt(low * high), speedup_low=low, speedup_high=high)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (1.18, 1.22),  # faster by far
        (0.99, 1.01),  # the same, well inside
        (0.80, 0.90),  # slower by far
        (0.90, 1.10),  # too wide for one launch to settle
    ],
)
def test_what_a_little_more_would_not_turn_is_left_alone(low: float, high: float) -> None:
    """Far from the margin on both sides of it."""
    assert not is_close(between(low, high), POLICY)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (1.031, 1.08),  # just faster
        (1.028, 1.08),  # just not
        (1.00, 1.028),  # just the same
        (1.00, 1.033),  # just not
        (0.92, 0.968),  # just slower
        (0.972, 1.01),  # just the same
    ],
)
def test_a_close_call_is_one_on_either_side_of_the_margin(low: float, high: float) -> None:
    """The side does not count: choosing only what is not yet significant would be bias."""
    assert is_close(between(low, high), POLICY)


def test_an_unknown_interval_is_no_close_call() -> None:
    """One paired round has an interval of 0 to infinity, kept as an empty cell."""
    assert not is_close(replace(ROW, speedup_high=None), POLICY)
    assert not is_close(replace(ROW, speedup_low=0.0), POLICY)


def test_a_close_call_comes_with_its_baseline() -> None:
    """Stock tuned too: without it there is nothing to pair with."""
    close = replace(between(1.031, 1.08), baseline_kind="stock_tuned", baseline="tuned")
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
