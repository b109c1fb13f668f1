"""Set how pictures are read: the time limit for one file, the bits of its pixels, their size.

    with read_options(seconds=60.0):
        read_picture(path)      # of `pillqc.data.decoding_process`, in a child process

This module imports no other library, so that the command line starts fast.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST_SIDE, LARGEST_SIDE = 32, 2048
"""Sides of a model's pictures in pixels: VGG-16 halves them five times, and needs memory."""
SECONDS: Final = 60.0
"""For one file: 100 megapixels of the slowest format take about ten on a slow core."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How every picture is read."""

    seconds: float | None = None
    """Time limit for one file, decoded in a child process; None: in this process, without one."""
    bits: int | None = None
    """The number of bits of a 16-bit file that the camera fills; None: as the file states."""


_current = ReadOptions()


def current_options() -> ReadOptions:
    """Return the options in force."""
    return _current


@contextmanager
def read_options(*, seconds: float | None = SECONDS, bits: int | None = None) -> Iterator[None]:
    """Apply options to all pictures that any thread reads within the block."""
    global _current  # noqa: PLW0603 - a context variable would not reach other threads
    before, _current = _current, ReadOptions(seconds=seconds, bits=bits)
    try:
        yield
    finally:
        _current = before
