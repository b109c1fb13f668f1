"""Give shares with exact confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scipy import stats

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class Share:
    """`count` of `n`, with an exact confidence interval."""

    count: int
    n: int
    share: float | None
    """None where `n` is 0."""
    low: float
    high: float


def share(count: int, n: int, confidence: float = CONFIDENCE) -> Share:
    """Return `count` of `n` with its Clopper-Pearson interval; that of 0 of 0 is 0 to 1."""
    if n == 0:
        return Share(count=0, n=0, share=None, low=0.0, high=1.0)
    interval = stats.binomtest(count, n).proportion_ci(confidence, method="exact")
    return Share(
        count=count, n=n, share=count / n, low=float(interval.low), high=float(interval.high)
    )
