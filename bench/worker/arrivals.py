"""Send requests on a schedule and take their latencies. Pure: callers pass the clock.

The schedule is made before anything runs and does not wait for answers (an open loop). A latency
counts from when the request was due, not from when the server started on it. Counting from the
start (coordinated omission) would make a saturated server look fast.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
