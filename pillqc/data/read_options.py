"""How a command reads pictures: how long one may take, and of how many bits they are.

    with read_options(seconds=60.0):
        read_picture(path)      # of `pillqc.data.decoding_process`, in a process of its own

Apart from what reads them, so that the command line starts without its libraries.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS: Final = 60.0
"""For one file: 100 megapixels of the slowest format take some ten on a slow core."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What is asked of every picture."""

    seconds: float | None = None
    """Limit for one file in a child; None: in this process, without one."""
    bits: int | None = None
    """How many bits of a 16-bit file its camera fills; None: as the file says."""


_current = ReadOptions()


def current_options() -> ReadOptions:
    """How pictures are read now."""
    return _current


@contextmanager
def read_options(*, seconds: float | None = SECONDS, bits: int | None = None) -> Iterator[None]:
    """Read all pictures so within the block, whichever thread does it."""
    global _current  # noqa: PLW0603 - other threads read by it, so no context variable can be
    before, _current = _current, ReadOptions(seconds=seconds, bits=bits)
    try:
        yield
    finally:
        _current = before
