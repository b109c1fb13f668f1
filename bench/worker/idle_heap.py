"""Release the heap of a waiting worker, and fault it in again before it is timed.

Workers keep what they free (`bench.machine.worker_settings.kept_heap`), so that no timed call
faults pages in. At large batches that is gigabytes for twenty workers of which one runs. So between
its turns a worker releases its free pages to the kernel, and before its next call, while nothing is
timed, has the kernel fault the same pages in:

    heap = IdleHeap()
    heap.settle()           # after preparing
    with heap.at_work():    # the heap is present inside, and released afterwards
        call()

This needs glibc and Linux 5.14 or newer. Elsewhere nothing is released, and a run's limits take
account of the memory held.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.machine import worker_settings
from bench.worker.peak_memory import status_kb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE faults pages in for writing and leaves their content."""
_PAGE = mmap.PAGESIZE
_MOST_BLOCKS = 100
"""Allocations tried to grow the heap; the next call faults in what is still missing."""
_HEAP = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) .*\[heap\]$", re.MULTILINE)
KEPT_AT_MOST = 128 << 20
"""Bytes that an idle worker may keep: about what VGG-16 frees at batch 1, whose calls are too short
to restore it each time. Twenty workers keep less than 3 GB."""


class _Mallinfo2(ctypes.Structure):
    """glibc's `struct mallinfo2` (2.33 and newer); `keepcost` is the free top of the heap."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class _Released(NamedTuple):
    """Pages that were released to the kernel."""

    runs: list[tuple[int, int]]
    """Address and length of each run of pages, in bytes."""
    end: int
    """End of the heap before its free top was cut off."""


class IdleHeap:
    """The heap of this process, released and restored."""

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self._process = process
        self._libc = ctypes.CDLL(None)
        self._released: _Released | None = None
        self._floor = 0
        self._works = self._supported()

    def settle(self) -> None:
        """Release what preparing freed, and count what is kept from here on."""
        self._released = None
        if self._works:
            self._libc.malloc_trim(0)
            self._floor = self.resident()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Restore the heap, and release it afterwards if it is large."""
        self.restore()
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def put_aside(self) -> Iterator[None]:
        """Release what is freed inside, and keep it out of the heap that `restore` brings back."""
        if self._released is None:
            self.release(at_most=0)
        try:
            yield
        finally:
            if self._works:
                self._libc.malloc_trim(0)

    def release(self, at_most: int = KEPT_AT_MOST) -> bool:
        """Release the free heap if it is larger than `at_most`; return whether it was."""
        if not self._works or self.resident() - self._floor <= at_most:
            return False
        start, end = self._range()
        before = self._in_memory(start, end)
        self._libc.malloc_trim(0)
        after = np.zeros_like(before)
        now = self._range()[1]
        after[: (now - start) // _PAGE] = self._in_memory(start, now)
        self._released = _Released(page_runs(start, before & ~after), end)
        self._floor = self.resident()
        return True

    def renew(self) -> bool:
        """Replace the free heap by other pages; return whether that was possible."""
        released = self.release(at_most=0)
        self.restore()
        return released

    def restore(self) -> None:
        """Fault the released pages in again."""
        if self._released is None:
            return
        runs, end = self._released
        self._released = None
        self._grow(end)
        top = self._range()[1]
        for address, length in runs:
            if address + length <= top:
                self._libc.madvise(address, length, _POPULATE_WRITE)

    def _grow(self, end: int) -> None:
        """Make glibc grow the heap to `end`; it keeps it, because it trims nothing by itself.

        A block that fits into a hole does not grow the heap, so blocks are held until one does.
        """
        held: list[int | None] = []
        while (missing := end - self._range()[1]) > 0 and len(held) < _MOST_BLOCKS:
            held.append(self._libc.malloc(missing + self._libc.mallinfo2().keepcost))
        for block in held:
            self._libc.free(block)

    def _supported(self) -> bool:
        """Return whether this process keeps its heap, and libc and kernel have what this needs."""
        if not worker_settings.keeps_heap(os.environ.get("GLIBC_TUNABLES")):
            return False
        if not all(hasattr(self._libc, name) for name in ("malloc_trim", "mallinfo2", "mincore")):
            return False
        self._libc.malloc.restype = ctypes.c_void_p
        self._libc.malloc.argtypes = [ctypes.c_size_t]
        self._libc.free.argtypes = [ctypes.c_void_p]
        self._libc.mallinfo2.restype = _Mallinfo2
        self._libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        with mmap.mmap(-1, _PAGE) as page:
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            return bool(self._libc.madvise(address, _PAGE, _POPULATE_WRITE) == 0)

    def _range(self) -> tuple[int, int]:
        """Return the heap's addresses; `madvise` on a part of it (NumPy's) splits it into lines."""
        found = _HEAP.findall((self._process / "maps").read_text())
        return (int(found[0][0], 16), int(found[-1][1], 16)) if found else (0, 0)

    def _in_memory(self, start: int, end: int) -> NDArray[np.bool_]:
        """Return for each page whether it is in memory."""
        flags = np.zeros((end - start) // _PAGE, np.uint8)
        self._libc.mincore(start, end - start, flags.ctypes.data)
        return (flags & 1).astype(bool)

    def resident(self) -> int:
        """Return the bytes of anonymous memory."""
        return status_kb(self._process, "RssAnon") * 1024


def page_runs(start: int, pages: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Join neighbouring pages into runs of (address, length), in bytes."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], pages, [False])).astype(np.int8)))
    return [
        (start + int(first) * _PAGE, int(last - first) * _PAGE)
        for first, last in zip(edges[::2], edges[1::2], strict=True)
    ]
