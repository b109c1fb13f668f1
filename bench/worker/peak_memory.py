"""Peak memory as the kernel counts it: the process's own high-water mark, never a sampled value.

Linux lets a process set its mark back. That makes the figure one scenario's own, though a worker
serves several batch sizes in turn, and keeps out of it what is not the scenario: probes, checks.
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
"""What /proc/self/clear_refs takes to set VmHWM back to the current resident size."""


class HighWater:
    """The peak since `start`, less what ran inside `left_out`."""

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self._process = process
        self._seen_kb = 0

    def start(self) -> None:
        """Count from here on."""
        self._seen_kb = 0
        self._reset()

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Whatever runs inside does not count."""
        self._seen_kb = max(self._seen_kb, self._field("VmHWM"))
        try:
            yield
        finally:
            self._reset()

    def peak_mb(self) -> float:
        """The highest resident size since `start`, in MiB."""
        return max(self._seen_kb, self._field("VmHWM")) / 1024

    def resident_mb(self) -> float:
        """The resident size now, in MiB."""
        return self._field("VmRSS") / 1024

    def _field(self, name: str) -> int:
        for line in (self._process / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        return 0

    def _reset(self) -> None:
        with suppress(OSError):  # a sandbox may forbid it; the peak then covers the whole process
            (self._process / "clear_refs").write_text(_RESET_PEAK)


def give_back() -> None:
    """Collect garbage and return freed memory to the system, where the allocator knows how to."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
