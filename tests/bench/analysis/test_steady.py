"""When a warm-up counts as over: levels, slopes, slow calls."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.analysis.steady import calls_before_level, is_steady, steady_after
from bench.errors import BenchError
from bench.plan.thresholds import SteadyStatePolicy

STEADY = SteadyStatePolicy()

FLAT = [100.0, 100.5, 99.5, 100.2, 99.8]
STEADY_CASES = [
    ("nothing yet", [], False),
    ("too few for two windows twice", FLAT * 2, False),
    ("exactly enough", [*FLAT * 2, 100.0], True),
    ("one spike among them", [*FLAT, 100.0, 150.0, 100.1, 99.9, 100.0, 100.2], True),
    ("a step of 3 % between the windows", [100.0] * 5 + [97.0] * 6, False),
    ("after the step has left the windows", [100.0] * 5 + [97.0] * 11, True),
    ("1 % faster a call", [100 * 0.99**call for call in range(30)], False),
    ("0.3 % slower a call", [100 * 1.003**call for call in range(30)], True),
    ("level at the latest position only", [120.0] * 3 + [100.0] * 8, False),
    ("level at the one before too", [120.0] * 3 + [100.0] * 9, True),
    ("slow calls, too few", [1000.0], False),
    ("slow calls, level", [1000.0, 1050.0], True),
    ("slow calls, falling", [1000.0, 940.0], False),
    ("slow calls, level at last", [1500.0, 1000.0, 1010.0], True),
    ("at the limit of slow", [120.0, 120.0], False),
]


@pytest.mark.parametrize(
    ("calls", "expected"), [case[1:] for case in STEADY_CASES], ids=[c[0] for c in STEADY_CASES]
)
def test_steady_means_level_and_without_slope(calls: list[float], expected: bool) -> None:
    """Every part of the rule, at both sides of its limit."""
    assert is_steady(calls, STEADY) is expected


def test_a_slope_hidden_from_the_medians_is_seen() -> None:
    """A sawtooth whose windows share a median but climb within."""
    calls = [90.0, 95.0, 100.0, 105.0, 110.0] * 2
    once = replace(STEADY, confirmations=1)
    assert is_steady(calls, once) is False
    assert is_steady(calls, replace(once, max_slope=0.05)) is True


@settings(deadline=None)
@example([10.0] * 6 + [121.0] * 6, 1)
@given(st.lists(st.floats(10, 200), min_size=0, max_size=30), st.integers(0, 30))
def test_only_the_latest_calls_decide(calls: list[float], dropped: int) -> None:
    """With quick calls what lies before the windows does not matter any more."""
    needed = 2 * STEADY.window + STEADY.confirmations - 1
    latest = calls[min(dropped, max(0, len(calls) - needed)) :]
    assert is_steady(calls, STEADY) == is_steady(latest, STEADY)


@settings(deadline=None)
@given(st.lists(st.floats(1, 100), min_size=11, max_size=20))
def test_the_slope_is_the_one_of_theil_and_sen(calls: list[float]) -> None:
    """Flat in the sense of the median of all pairwise slopes, and in no other."""
    policy = replace(STEADY, max_median_change=math.inf, confirmations=1)
    pair = calls[-10:]
    steps = [(pair[j] - pair[i]) / (j - i) for i in range(10) for j in range(i + 1, 10)]
    slope = abs(np.median(steps)) / np.median(pair)
    if not math.isclose(slope, policy.max_slope, rel_tol=1e-6):
        assert is_steady(calls, policy) == (slope < policy.max_slope)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_warm_up_call_without_a_time_is_an_error(bad: float) -> None:
    """It must not count as level."""
    with pytest.raises(BenchError, match="warm-up"):
        is_steady([100.0, bad], STEADY)


FLAT = [10.0] * 11


@pytest.mark.parametrize(
    ("calls", "after", "before"),
    [
        ([], None, None),
        (FLAT, 11, 0),
        ([*FLAT, 99.0, 10.0], 11, 0),
        ([30.0, 20.0, 15.0, *FLAT], 12, 1),
        ([90.0, 70.0, 50.0, 40.0, 30.0, 20.0, 15.0, *FLAT], 16, 5),
        ([200.0, 200.0], 2, 0),
        ([900.0, 200.0, 200.0], 3, 1),
        ([30.0, 20.0, *FLAT[:5], *[14.0] * 5, *FLAT], 21, 0),
        ([900.0, 200.0, 290.0, 200.0, 290.0, 200.0, 200.0], 7, 1),
        ([10.0, 20.0] * 8, None, None),
    ],
)
def test_calls_before_the_level_stretch(
    calls: list[float], after: int | None, before: int | None
) -> None:
    """A later launch has to make those calls only; the stretch itself was to see it."""
    assert steady_after(calls, STEADY) == after
    assert calls_before_level(calls, STEADY) == before
