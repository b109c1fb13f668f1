"""Bound a share from a count, exactly and one-sided at 95 % (Clopper and Pearson, 1934). Pure."""

from __future__ import annotations

from scipy import stats

CONFIDENCE = 0.95


def at_most(events: int, trials: int) -> float:
    """Return the upper bound of the true share; 1 without trials."""
    if trials == 0:
        return 1.0
    test = stats.binomtest(events, trials, alternative="less")
    return float(test.proportion_ci(CONFIDENCE, method="exact").high)


def at_least(events: int, trials: int) -> float:
    """Return the lower bound of the true share; 0 without trials."""
    return 1 - at_most(trials - events, trials)
