"""Estimate percentiles of latencies, with intervals that count dependent requests for less. Pure.

The ends of an interval are order statistics, whose chance to miss is exact for independent
requests. Those that wait in one queue are not independent, so the interval is that of as many
independent requests as they are worth. It has no upper end where even the largest latency may lie
below the percentile: for p99 with fewer than 368 independent requests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def percentile(
    blocks: Mapping[tuple[int, int], Sequence[float]],
    share: float,
    *,
    beyond: float,
    dependence_at: float,
    confidence: float,
) -> tuple[float, float, float] | None:
    """Return a percentile of all requests and its interval; None for too few requests.

    At least `beyond` requests must lie beyond the percentile. How they depend on each other is seen
    at `dependence_at`, if that is lower. The upper end is infinite where they are worth too few
    independent ones.
    """
    values = [np.asarray(block, dtype=np.float64) for block in blocks.values() if len(block)]
    count = sum(map(len, values))
    if not count or count * (1 - share) < beyond:
        return None
    ordered = np.sort(np.concatenate(values))
    worth = max(1, int(count / dependence(values, min(share, dependence_at))))
    low, high = _ranks(worth, share, (1 - confidence) / 2)
    return (
        float(np.quantile(ordered, share)),
        float(ordered[(low - 1) * count // worth]) if low else 0.0,
        float(ordered[math.ceil(high * count / worth) - 1]) if high <= worth else math.inf,
    )


def fewest(share: float, *, confidence: float) -> int:
    """Return the number of independent requests from which on a percentile has an upper end."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(share))


def dependence(blocks: Sequence[NDArray[np.float64]], level: float) -> float:
    """Return how many requests are worth one independent request; 1 where none depends on another.

    That is the variance of the number of requests above the percentile `level`, over what
    independent ones would give: by how the blocks differ, or by how requests of one block resemble
    those after them, whichever is more.
    """
    threshold = np.quantile(np.concatenate(blocks), level)
    above = float(np.mean(np.concatenate(blocks) > threshold))
    if above == 0:
        return 1.0
    deviations = [(block > threshold) - above for block in blocks]
    independent = above * (1 - above) * sum(map(len, blocks))
    between = within = 1.0
    if len(blocks) > 1:
        spread = sum(float(block.sum()) ** 2 for block in deviations)
        between = spread * len(blocks) / (len(blocks) - 1) / independent
    for lag in range(1, max(map(len, blocks))):
        alike = sum(float(block[lag:] @ block[:-lag]) for block in deviations)
        if alike <= 0:
            break
        within += 2 * alike / independent
    return max(1.0, between, within)


def _ranks(count: int, share: float, miss: float) -> tuple[int, int]:
    """Return the ranks among independent values that miss the percentile with this chance at most.

    They are 0 or above the count where the smallest or the largest value is no such end.
    """
    ranks = np.arange(count + 2)
    low = ranks[stats.binom.cdf(ranks - 1, count, share) <= miss].max()
    high = ranks[stats.binom.sf(ranks - 1, count, share) <= miss].min()
    return int(low), int(high)
