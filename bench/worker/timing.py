"""Time calls, with everything around a call kept out of its time."""

from __future__ import annotations

import gc
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Block:
    """Timed calls in order, and the last one's result."""

    wall_ns: list[int]
    cpu_ns: list[int]
    page_faults: list[int]
    """Minor page faults of each call."""
    involuntary_switches: int
    result: Any


def timed(call: Callable[[], Any], n: int, before: Callable[[], object] | None = None) -> Block:
    """Time `n` calls one by one; `before` runs untimed in front of each.

    The garbage collector is off. A result is freed only after the next call's clock has stopped, so
    freeing it is never timed.
    """
    wall_ns, cpu_ns, faults = [0] * n, [0] * n, [0] * n
    result = None
    used = resource.getrusage(resource.RUSAGE_SELF)
    switches = used.ru_nivcsw
    gc.disable()
    try:
        for index in range(n):
            if before is not None:
                before()
            faults_before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            cpu_start = time.process_time_ns()
            start = time.perf_counter_ns()
            fresh = call()
            end = time.perf_counter_ns()
            cpu_ns[index] = time.process_time_ns() - cpu_start
            wall_ns[index] = end - start
            used = resource.getrusage(resource.RUSAGE_SELF)
            faults[index] = used.ru_minflt - faults_before
            result = fresh
            del fresh
    finally:
        gc.enable()
    return Block(
        wall_ns=wall_ns,
        cpu_ns=cpu_ns,
        page_faults=faults,
        involuntary_switches=used.ru_nivcsw - switches,
        result=result,
    )
