"""Schedules, latencies and throughput from scripted clocks."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass

import pytest

from bench.worker import arrivals

MS = 1_000_000


@dataclass
class Clock:
    """Nanoseconds that pass only when spent."""

    now: int = 0

    def spend(self, ns: int) -> None:
        self.now += ns


def served(offsets_ms: list[int], call_ms: int) -> list[float]:
    """Latencies of a server whose every call takes as long."""
    clock = Clock()
    offsets = [offset * MS for offset in offsets_ms]
    spans = arrivals.serve(
        offsets,
        0,
        call=lambda: clock.spend(call_ms * MS),
        now_ns=lambda: clock.now,
        sleep=clock.spend,
    )
    return arrivals.latencies_ms(offsets, 0, [end for _, end in spans])


@pytest.mark.parametrize(
    ("offsets_ms", "latencies_ms"),
    [
        pytest.param([0, 100, 200], [40, 40, 40], id="nobody waits"),
        pytest.param([0, 10, 20, 30], [40, 70, 100, 130], id="a queue shows in every latency"),
        pytest.param([0, 10, 500], [40, 70, 40], id="the queue drains"),
    ],
)
def test_waiting_counts_from_the_due_time(offsets_ms: list[int], latencies_ms: list[float]) -> None:
    """No coordinated omission, by a server whose every call takes 40 ms."""
    assert served(offsets_ms, 40) == latencies_ms


def test_poisson_arrivals_have_their_rate_and_are_the_same_for_the_same_seed() -> None:
    """So every way of running sees the same arrivals."""
    offsets = arrivals.poisson(50.0, 20_000, 1)
    gaps = [(b - a) / 1e9 for a, b in itertools.pairwise(offsets)]
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05)
    assert offsets == arrivals.poisson(50.0, 20_000, 1)
    assert offsets != arrivals.poisson(50.0, 20_000, 2)


def test_throughput_counts_only_while_all_instances_work() -> None:
    """Two at 100 ms each do a call every 50 ms, whatever one did alone before and after."""
    one = [(n * 100 * MS, (n + 1) * 100 * MS) for n in range(10)]
    late = [(start + 300 * MS, end + 300 * MS) for start, end in one]
    assert arrivals.ms_per_call([one, late]) == pytest.approx(50.0)


def test_a_call_partly_inside_the_common_time_counts_by_that_share() -> None:
    """Else long calls would round throughput up or down."""
    halves, inside = [(0, 100 * MS), (100 * MS, 200 * MS)], [(50 * MS, 150 * MS)]
    assert arrivals.ms_per_call([halves, inside]) == pytest.approx(50.0)


@pytest.mark.parametrize("spans", [[], [[], [(0, 10)]], [[(0, 10)], [(20, 30)]]])
def test_instances_that_never_overlap_have_no_throughput(
    spans: list[list[arrivals.Span]],
) -> None:
    """There is no time in which all were at work."""
    assert arrivals.ms_per_call(spans) is None
