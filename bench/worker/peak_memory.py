"""Read peak memory from the kernel's own high-water mark (VmHWM); nothing is sampled.

Linux lets a process reset its mark. So the figure belongs to one scenario, although a worker runs
several batch sizes in turn, and probes and checks are left out of it.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_RESET_PEAK = "5"
"""Written to /proc/self/clear_refs, it resets VmHWM to the current resident size."""


def status_kb(process: Path, field: str) -> int:
    """Return a field of a process's `status` file in KiB; 0 where the kernel has no such field."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


class HighWater:
    """The peak since `start`, without what ran inside `left_out`."""

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self._process = process
        self._seen_kb = 0

    def start(self) -> None:
        """Start counting anew."""
        self._seen_kb = 0
        self._reset()

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Leave what runs inside out of the peak."""
        self._seen_kb = max(self._seen_kb, status_kb(self._process, "VmHWM"))
        try:
            yield
        finally:
            self._reset()

    def peak_mb(self) -> float:
        """Return the highest resident size since `start`, in MiB."""
        return max(self._seen_kb, status_kb(self._process, "VmHWM")) / 1024

    def resident_mb(self) -> float:
        """Return the present resident size, in MiB."""
        return status_kb(self._process, "VmRSS") / 1024

    def _reset(self) -> None:
        with suppress(OSError):  # a sandbox may forbid it; the peak then covers the whole process
            (self._process / "clear_refs").write_text(_RESET_PEAK)


def release_freed_memory() -> None:
    """Collect garbage and return freed memory to the kernel, where the allocator can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
