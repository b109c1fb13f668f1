"""Requests that arrive on a schedule, and what they waited. Pure: the clock comes from outside.

The schedule is made before anything runs and does not wait for answers (an open loop). A request's
latency counts from when it was due, not from when the server came round to it: a server that is
busy makes those behind it wait, and leaving that out (coordinated omission) is how a saturated
server looks fast.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

Span = tuple[int, int]
"""Start and end of a call in ns."""


def poisson(rate_per_s: float, count: int, seed: int) -> list[int]:
    """When so many requests are due, in ns from the beginning: independent, at a mean rate."""
    draw = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    due, offsets = 0.0, []
    for _ in range(count):
        due += draw.expovariate(rate_per_s)
        offsets.append(int(due * 1e9))
    return offsets


def shared_out(offsets: Sequence[int], instances: int) -> list[list[int]]:
    """Each instance's own requests, in turn."""
    return [list(offsets[number::instances]) for number in range(instances)]


def serve(
    offsets_ns: Sequence[int],
    begin_ns: int,
    *,
    call: Callable[[], object],
    now_ns: Callable[[], int],
    sleep: Callable[[int], None],
) -> list[Span]:
    """One server, first come first served. Returns when each request was taken up and done."""
    spans = []
    for offset in offsets_ns:
        early = begin_ns + offset - now_ns()
        if early > 0:
            sleep(early)
        start = now_ns()
        call()
        spans.append((start, now_ns()))
    return spans


def latencies_ms(offsets_ns: Sequence[int], begin_ns: int, ends_ns: Sequence[int]) -> list[float]:
    """From when each request was due to when it was done."""
    return [
        (end - begin_ns - offset) / 1e6 for offset, end in zip(offsets_ns, ends_ns, strict=True)
    ]


def percentile(
    blocks: Mapping[tuple[int, int], Sequence[float]],
    share: float,
    *,
    beyond: float,
    draws: int,
    seed: int,
) -> tuple[float, float, float] | None:
    """A percentile of all requests with its 95 % interval; None for too few to have one.

    A two-level bootstrap: launches, then whole blocks within them, because the requests of one
    block share the machine's mood. `beyond` requests must lie beyond the percentile.
    """
    values = [np.asarray(block, dtype=np.float64) for block in blocks.values() if len(block)]
    if sum(map(len, values)) * (1 - share) < beyond:
        return None
    by_launch: dict[int, list[NDArray[np.float64]]] = {}
    for (launch, _), block in blocks.items():
        if len(block):
            by_launch.setdefault(launch, []).append(np.asarray(block, dtype=np.float64))
    launches = list(by_launch.values())
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        picked = []
        for launch in rng.integers(len(launches), size=len(launches)):
            rows = launches[launch]
            picked += [rows[row] for row in rng.integers(len(rows), size=len(rows))]
        found.append(float(np.quantile(np.concatenate(picked), share)))
    low, high = np.percentile(found, [2.5, 97.5]).tolist()
    return float(np.quantile(np.concatenate(values), share)), low, high


def common_window(spans: Sequence[Sequence[Span]]) -> Span | None:
    """When all instances were at work: from the last one's first start to the first one's end."""
    if not spans or not all(spans):
        return None
    begin = max(instance[0][0] for instance in spans)
    end = min(instance[-1][1] for instance in spans)
    return (begin, end) if end > begin else None


def calls_within(spans: Sequence[Span], window: Span) -> float:
    """How many calls of one instance lie in the window; one that lies partly counts by its part."""
    begin, end = window
    return sum(
        max(0, min(stop, end) - max(start, begin)) / (stop - start)
        for start, stop in spans
        if stop > start
    )


def ms_per_call(spans: Sequence[Sequence[Span]]) -> float | None:
    """What one call takes all instances together, while all are at work; None if they never are."""
    window = common_window(spans)
    if window is None:
        return None
    calls = sum(calls_within(instance, window) for instance in spans)
    return (window[1] - window[0]) / 1e6 / calls if calls else None
