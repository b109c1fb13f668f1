"""Percentiles of latencies: the ends of their intervals, and what dependence costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.analysis.percentiles import dependence, fewest, percentile
from tests.bench.analysis.queue_of_requests import Queue, ends

Interval = tuple[float, float, float] | None


def interval(blocks: dict[tuple[int, int], list[float]], share: float) -> Interval:
    """At the confidence of a comparison."""
    return percentile(blocks, share, beyond=1, dependence_at=0.9, confidence=0.95)


def test_a_percentile_needs_requests_beyond_it() -> None:
    """The p99 of fifty is their maximum under another name."""
    few = {(0, 0): [1.0] * 50}
    assert interval(few, 0.99) is None
    assert interval(few, 0.5) == (1.0, 1.0, 1.0)
    assert interval({}, 0.5) is None


def test_whole_blocks_that_differ_count_as_one_request_each() -> None:
    """One bad block of ten: nine independent requests have no upper end, however many it holds."""
    blocks = {(0, number): [10.0] * 100 for number in range(9)} | {(0, 9): [90.0] * 100}
    assert interval(blocks, 0.99) == (90.0, 10.0, math.inf)


@pytest.mark.parametrize(("requests", "has_end"), [(108, False), (367, False), (368, True)])
def test_p99_has_an_upper_end_from_368_independent_requests_on(
    requests: int, has_end: bool
) -> None:
    """Fewer may all lie below it, at more than 2.5 %: the largest is no end."""
    assert fewest(0.99, confidence=0.95) == 368
    found = interval({(0, 0): [1.0] * requests}, 0.99)
    assert found is not None
    assert math.isfinite(found[2]) == has_end


def test_the_ends_are_order_statistics_of_independent_requests() -> None:
    """Of a thousand, p50 lies between the 469th and the 532nd: binomial, at 2.5 % each."""
    alternating = [value for low in range(1, 501) for value in (float(low), low + 500.0)]
    assert interval({(0, 0): alternating}, 0.5) == (500.5, 469.0, 532.0)


def test_requests_that_share_a_queue_are_worth_fewer() -> None:
    """A server that is busy half of the time: about four are worth one."""
    rng = np.random.default_rng(1)
    alone = list(Queue(busy=0).blocks(rng, 500, 54))
    queued = list(Queue(busy=0.5).blocks(rng, 500, 54))
    assert dependence(alone, 0.9) == pytest.approx(1, abs=0.15)
    assert dependence(queued, 0.9) == pytest.approx(4, abs=0.8)


@pytest.mark.parametrize(
    ("queue", "count", "requests"),
    [
        (Queue(busy=0), 12, 36),
        (Queue(busy=0.5), 3, 36),
        (Queue(busy=0.5), 12, 36),
        (Queue(busy=0.5), 24, 54),
        (Queue(busy=0.5), 50, 60),
        (Queue(busy=0.75), 24, 54),
        (Queue(busy=0.5, slow_blocks=0.1), 24, 54),
    ],
)
def test_the_interval_of_p99_contains_it(queue: Queue, count: int, requests: int) -> None:
    """Each end misses at 2.5 %; of 200 studies more than 11 would show another rate."""
    found = ends(queue, count, requests, studies=200, seed=5)
    assert found.too_low <= 11 / 200
    assert found.too_high <= 11 / 200
