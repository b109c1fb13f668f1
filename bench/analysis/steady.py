"""Decide when a scenario counts as warmed up. Pure."""

from __future__ import annotations

from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.plan.thresholds import SteadyStatePolicy

Floats = NDArray[np.float64]


def is_steady(calls_ms: Sequence[float], policy: SteadyStatePolicy) -> bool:
    """Return whether the latest warm-up calls show no trend.

    `calls_ms` has all warm-up calls so far, in order, without the first call. Two consecutive
    windows must have medians within `max_median_change` and a Theil-Sen slope under `max_slope`, at
    `confirmations` consecutive positions of the sliding pair. If the median of these calls is above
    `slow_call_ms`, one pair of `slow_window` within `slow_max_median_change` is enough.

    Raises:
        BenchError: a time is not a positive finite number.
    """
    calls = np.asarray(calls_ms, dtype=np.float64)
    if not (np.isfinite(calls) & (calls > 0)).all():
        raise BenchError("a warm-up call took no positive finite time: the worker is faulty")
    needed = _stretch(calls_ms, policy)
    if calls.size < needed:
        return False
    if needed == 2 * policy.slow_window:
        return _is_level(calls[-needed:], policy.slow_max_median_change)
    size = 2 * policy.window
    ends = (calls.size - back for back in range(policy.confirmations))
    return all(_is_flat(calls[end - size : end], policy) for end in ends)


def steady_after(calls_ms: Sequence[float], policy: SteadyStatePolicy) -> int | None:
    """Return after how many warm-up calls `is_steady` was first true, or None."""
    return _steady_after(tuple(calls_ms), policy)


@lru_cache(maxsize=4096)  # a run asks for every scenario's first launch after each visit
def _steady_after(calls_ms: tuple[float, ...], policy: SteadyStatePolicy) -> int | None:
    counts = range(1, len(calls_ms) + 1)
    return next((count for count in counts if is_steady(calls_ms[:count], policy)), None)


def calls_before_level(calls_ms: Sequence[float], policy: SteadyStatePolicy) -> int | None:
    """Return how many warm-up calls preceded the level at which `is_steady` saw them, or None.

    That is where a window first had the median of the stretch that was seen. It may lie long before
    the stretch: on a restless machine many calls are made until one stretch is even enough, and
    none of those are warm-up. A later launch of the scenario makes so many calls and then counts as
    level, without the stretch that would show it again.
    """
    count = steady_after(calls_ms, policy)
    if count is None:
        return None
    needed = _stretch(calls_ms[:count], policy)
    is_slow = needed == 2 * policy.slow_window
    window = policy.slow_window if is_slow else policy.window
    most = policy.slow_max_median_change if is_slow else policy.max_median_change
    level = median(calls_ms[count - needed : count])
    starts = range(count - needed)
    reached = (at for at in starts if _near(median(calls_ms[at : at + window]), level, most))
    return next(reached, count - needed)


def _stretch(calls_ms: Sequence[float], policy: SteadyStatePolicy) -> int:
    """Return how many calls the rule needs when calls are as long as the latest."""
    needed = 2 * policy.window + policy.confirmations - 1
    if len(calls_ms) and median(calls_ms[-needed:]) > policy.slow_call_ms:
        return 2 * policy.slow_window
    return needed


def _is_level(pair: Floats, max_change: float) -> bool:
    """Return whether the medians of both halves differ by at most this share of the smaller."""
    first, second = np.median(pair.reshape(2, -1), axis=1)
    return _near(first, second, max_change)


def _near(one: float, other: float, max_change: float) -> bool:
    return bool(abs(other - one) <= max_change * min(one, other))


def _is_flat(pair: Floats, policy: SteadyStatePolicy) -> bool:
    if not _is_level(pair, policy.max_median_change):
        return False
    slope = stats.theilslopes(pair).slope / np.median(pair)
    return bool(abs(slope) < policy.max_slope)
