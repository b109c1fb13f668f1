"""What a count of events says of their true share: exact bounds (Clopper and Pearson, 1934). Pure.

The bounds are one-sided, at 95 % confidence.
"""

from __future__ import annotations

from scipy import stats

CONFIDENCE = 0.95


def at_most(events: int, trials: int) -> float:
    """The largest true share that so many events in so many trials leave room for; 1 of none."""
    if trials == 0:
        return 1.0
    test = stats.binomtest(events, trials, alternative="less")
    return float(test.proportion_ci(CONFIDENCE, method="exact").high)


def at_least(events: int, trials: int) -> float:
    """The smallest one; 0 of none."""
    return 1 - at_most(trials - events, trials)
