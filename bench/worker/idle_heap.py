"""The heap of a worker that waits: given back to the kernel, and taken again before it is timed.

Workers keep what they free (`bench.machine.placement.kept_heap`), so that no timed call faults
pages in. At large batches that is gigabytes for twenty workers of which one runs. Between its turns
a worker therefore gives its free pages back, and has the very same pages again before its next
call, faulted in by the kernel while no clock runs:

    heap = IdleHeap()
    heap.settle()           # prepared: from here on what is kept counts
    with heap.at_work():    # has it inside, and has given it back afterwards
        call()

glibc on Linux 5.14 or newer. Elsewhere nothing is given back, and a run's limits see what is held.
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

from bench.machine import placement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE: faults pages in as if each was written, and changes none of them."""
_PAGE = mmap.PAGESIZE
_MOST_BLOCKS = 100
"""Tried to lengthen the heap; what is not reached then is faulted in by the next call instead."""
_HEAP = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) .*\[heap\]$", re.MULTILINE)
_ANONYMOUS = re.compile(r"^RssAnon:\s*(\d+) kB$", re.MULTILINE)
KEPT_AT_MOST = 128 << 20
"""Bytes that an idle worker may keep: about what VGG-16 frees at batch 1, so that its short calls
are not lengthened by taking it again, while twenty workers keep less than 3 GB."""


class _Mallinfo2(ctypes.Structure):
    """Of glibc 2.33 and newer; `keepcost` is the free top of the heap."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class _Given(NamedTuple):
    """What was given back."""

    runs: list[tuple[int, int]]
    """Addresses and lengths of pages that were there before."""
    end: int
    """Of the heap before its free top was cut off."""


class IdleHeap:
    """Of this process."""

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self._process = process
        self._libc = ctypes.CDLL(None)
        self._given: _Given | None = None
        self._floor = 0
        self._works = self._can()

    def settle(self) -> None:
        """Give back what preparing left, and count what is kept from here on."""
        self._given = None
        if self._works:
            self._libc.malloc_trim(0)
            self._floor = self._resident()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The heap is there inside, and is given back afterwards if it is much."""
        self.take()
        try:
            yield
        finally:
            self.give()

    @contextmanager
    def put_aside(self) -> Iterator[None]:
        """What is freed inside goes to the kernel, and not to the heap that `take` brings back."""
        if self._given is None:
            self.give(at_most=0)
        try:
            yield
        finally:
            if self._works:
                self._libc.malloc_trim(0)

    def give(self, at_most: int = KEPT_AT_MOST) -> bool:
        """Give the free heap back if it is much; whether it was."""
        if not self._works or self._resident() - self._floor <= at_most:
            return False
        start, end = self._range()
        before = self._in_memory(start, end)
        self._libc.malloc_trim(0)
        after = np.zeros_like(before)
        now = self._range()[1]
        after[: (now - start) // _PAGE] = self._in_memory(start, now)
        self._given = _Given(_runs(start, before & ~after), end)
        self._floor = self._resident()
        return True

    def renew(self) -> bool:
        """Give the free heap back and take it at once: other pages; whether that could be done."""
        given = self.give(at_most=0)
        self.take()
        return given

    def take(self) -> None:
        """Have the same pages again."""
        if self._given is None:
            return
        runs, end = self._given
        self._given = None
        self._lengthen(end)
        top = self._range()[1]
        for address, length in runs:
            if address + length <= top:
                self._libc.madvise(address, length, _POPULATE_WRITE)

    def _lengthen(self, end: int) -> None:
        """Have glibc take address space up to there; since it trims nothing, it keeps it.

        A block that fits into a hole lengthens nothing, so blocks are held until one did.
        """
        held: list[int | None] = []
        while (missing := end - self._range()[1]) > 0 and len(held) < _MOST_BLOCKS:
            held.append(self._libc.malloc(missing + self._libc.mallinfo2().keepcost))
        for block in held:
            self._libc.free(block)

    def _can(self) -> bool:
        """Whether this process keeps its heap, and its libc and kernel know how."""
        if not placement.keeps_heap(os.environ.get("GLIBC_TUNABLES")):
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
        """From the first to the last line: advice for a part of it (NumPy's) splits the mapping."""
        found = _HEAP.findall((self._process / "maps").read_text())
        return (int(found[0][0], 16), int(found[-1][1], 16)) if found else (0, 0)

    def _in_memory(self, start: int, end: int) -> NDArray[np.bool_]:
        """Of each page whether it is."""
        flags = np.zeros((end - start) // _PAGE, np.uint8)
        self._libc.mincore(start, end - start, flags.ctypes.data)
        return (flags & 1).astype(bool)

    def _resident(self) -> int:
        """Bytes of anonymous memory."""
        found = _ANONYMOUS.search((self._process / "status").read_text())
        return int(found[1]) * 1024 if found else 0


def _runs(start: int, pages: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Neighbouring pages together, as addresses and lengths in bytes."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], pages, [False])).astype(np.int8)))
    return [
        (start + int(first) * _PAGE, int(last - first) * _PAGE)
        for first, last in zip(edges[::2], edges[1::2], strict=True)
    ]
