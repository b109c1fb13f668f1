"""Make a call under oneDNN's log: what it executed, and its times.

Nothing in this module imports torch.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.worker.kernels import Kernel, parse
from bench.worker.timing import timed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


@dataclass(frozen=True, kw_only=True)
class LoggedCall:
    """The times of one call under the log."""

    wall_ms: float
    """Of the whole call, with what the log costs."""
    kernels_ms: tuple[float, ...]
    """Of each primitive, in the order in which they ran."""


def log_call(
    call: Callable[[], object], verbose: Callable[[], AbstractContextManager[object]]
) -> tuple[tuple[Kernel, ...], LoggedCall]:
    """Log one call; return the primitives that it executed, and its times."""
    walls_ms: list[float] = []
    text = capture(lambda: walls_ms.append(timed(call, 1).wall_ns[0] / 1e6), verbose())
    kernels = parse(text)
    times_ms = tuple(kernel.ms for kernel in kernels)
    return kernels, LoggedCall(wall_ms=walls_ms[0], kernels_ms=times_ms)


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
