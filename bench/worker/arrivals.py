"""Send requests on a schedule and take their latencies. Pure: callers pass the clock.

The schedule is made before anything runs and does not wait for answers (an open loop). A latency
counts from when the request was due, not from when the server started on it. Counting from the
start (coordinated omission) would make a saturated server look fast.
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
    """Return when `count` independent requests are due, in ns from the beginning."""
    draw = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    due, offsets = 0.0, []
    for _ in range(count):
        due += draw.expovariate(rate_per_s)
        offsets.append(int(due * 1e9))
    return offsets


def serve(
    offsets_ns: Sequence[int],
    begin_ns: int,
    *,
    call: Callable[[], object],
    now_ns: Callable[[], int],
    sleep: Callable[[int], None],
) -> list[Span]:
    """Serve the requests in order; return when each was started and done."""
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
    """Return the time from when each request was due to when it was done."""
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
    """Return a percentile of all requests and its 95 % interval; None for too few requests.

    The bootstrap resamples launches, then whole blocks within them, because the requests of a block
    are not independent. At least `beyond` requests must lie beyond the percentile.
    """
    by_launch: dict[int, list[NDArray[np.float64]]] = {}
    for (launch, _), block in blocks.items():
        if len(block):
            by_launch.setdefault(launch, []).append(np.asarray(block, dtype=np.float64))
    values = [block for rows in by_launch.values() for block in rows]
    if sum(map(len, values)) * (1 - share) < beyond:
        return None
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


def ms_per_call(spans: Sequence[Sequence[Span]]) -> float | None:
    """Return the time per call while all instances work together; None if they never do.

    That is from the last instance's first start to the first instance's last end. A call partly
    inside counts by that share.
    """
    if not spans or not all(spans):
        return None
    begin = max(instance[0][0] for instance in spans)
    end = min(instance[-1][1] for instance in spans)
    calls = sum(
        max(0, min(stop, end) - max(start, begin)) / (stop - start)
        for instance in spans
        for start, stop in instance
        if stop > start
    )
    return (end - begin) / 1e6 / calls if end > begin and calls else None
