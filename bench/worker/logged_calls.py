"""Calls under oneDNN's log, each beside one without it.

Several logged calls give the layers' times a spread; the calls beside them show what the log itself
costs. Nothing in this module imports torch.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from bench.worker.kernels import Kernel, LoggedCall, parse
from bench.worker.timing import timed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class _Logged(NamedTuple):
    """One logged call, and a call without the log beside it."""

    kernels: tuple[Kernel, ...]
    wall_ms: float
    unlogged_ms: float | None

    @property
    def sequence(self) -> list[tuple[str, str | None, str]]:
        """What was executed, in order."""
        return [(kernel.primitive, kernel.kind, kernel.problem) for kernel in self.kernels]


def log_calls(
    call: Callable[[], object],
    verbose: Callable[[], AbstractContextManager[object]],
    pairs: int = 0,
) -> tuple[tuple[Kernel, ...], tuple[LoggedCall, ...]]:
    """Log `pairs` calls, each beside one without the log; with 0 log a single call alone.

    The pairs follow a call that is discarded, because threads and caches are cold after other
    workers' blocks, and the logged call comes first in every second pair, so that drift cancels.
    Returns the kernels of the first logged call that executed the same as the last one, and the
    times of all that did.
    """
    if pairs:
        call()
    logged: list[_Logged] = []
    for number in range(max(1, pairs)):
        logged.append(_log(call, verbose, number if pairs else None))
        if not logged[0].kernels:
            break  # this backend has no log, or none of its kernels logs anything
    same = [one for one in logged if one.sequence == logged[-1].sequence]
    return same[0].kernels, tuple(
        LoggedCall(
            wall_ms=one.wall_ms,
            unlogged_ms=one.unlogged_ms,
            kernels_ms=tuple(kernel.ms for kernel in one.kernels),
        )
        for one in same
    )


def capture(call: Callable[[], object], verbose: AbstractContextManager[object]) -> str:
    """Call once with verbose on, and return what was written to file descriptor 1 meanwhile.

    oneDNN prints through the C library, past `sys.stdout`. So the descriptor itself points to a
    temporary file during the call, and C's buffers are flushed before and after.
    """
    libc = ctypes.CDLL(None)

    def flush() -> None:
        sys.stdout.flush()
        libc.fflush(None)

    flush()
    with tempfile.TemporaryFile() as log:
        outside = os.dup(1)
        os.dup2(log.fileno(), 1)
        try:
            with verbose:
                call()
        finally:
            flush()
            os.dup2(outside, 1)
            os.close(outside)
        log.seek(0)
        return log.read().decode(errors="replace")


def _log(
    call: Callable[[], object],
    verbose: Callable[[], AbstractContextManager[object]],
    number: int | None,
) -> _Logged:
    """Log one call; the `number` of its pair says on which side the other is, None: no other."""
    walls_ms: list[float] = []
    unlogged_ms = None
    if number is not None and number % 2 == 0:
        unlogged_ms = _wall_ms(call)
    text = capture(lambda: walls_ms.append(_wall_ms(call)), verbose())
    if number is not None and number % 2 == 1:
        unlogged_ms = _wall_ms(call)
    return _Logged(parse(text), walls_ms[0], unlogged_ms)


def _wall_ms(call: Callable[[], object]) -> float:
    return timed(call, 1).wall_ns[0] / 1e6
