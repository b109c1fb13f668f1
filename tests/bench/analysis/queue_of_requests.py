"""Simulated requests that wait in one queue, with a known p99."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.analysis.percentiles import percentile
from bench.plan.thresholds import DEFAULT, STUDIES

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Poisson arrivals at a server whose calls all take 1."""

    busy: float
    """Share of the time; with 0 every latency is drawn alone, from a lognormal distribution."""
    slow_blocks: float = 0.0
    """Share of the blocks in which other work makes every call 1.3 times as long."""

    def blocks(self, rng: np.random.Generator, count: int, requests: int) -> NDArray[np.float64]:
        """Return the latencies of so many blocks, each of which begins with an idle server."""
        shape = (count, requests)
        if not self.busy:
            return rng.lognormal(size=shape)
        gaps = rng.exponential(1 / self.busy, size=shape)
        call = np.where(rng.random(count) < self.slow_blocks, 1.3, 1.0)
        waits = np.zeros(shape)
        for place in range(1, requests):
            waits[:, place] = np.maximum(0, waits[:, place - 1] + call - gaps[:, place])
        latencies: NDArray[np.float64] = waits + call[:, None]
        return latencies


@dataclass(frozen=True, kw_only=True)
class Ends:
    """How often the interval of p99 missed the truth, and how often it had no upper end."""

    too_high: float
    too_low: float
    without_end: float


def ends(queue: Queue, count: int, requests: int, *, studies: int, seed: int) -> Ends:
    """Simulate so many studies and return how the shipped interval fared."""
    rng = np.random.default_rng(seed)
    truth = float(np.quantile(queue.blocks(rng, 20_000, requests), 0.99))
    high = low = without = 0
    for _ in range(studies):
        blocks = queue.blocks(rng, count, requests)
        found = percentile(
            {(0, place): block.tolist() for place, block in enumerate(blocks)},
            0.99,
            beyond=STUDIES.beyond_percentile,
            dependence_at=STUDIES.load_dependence_at,
            confidence=DEFAULT.verdict.confidence,
        )
        assert found is not None
        high += found[1] > truth
        low += found[2] < truth
        without += np.isinf(found[2])
    return Ends(too_high=high / studies, too_low=low / studies, without_end=without / studies)
