"""Show in the terminal what a run does now and how long it may still take.

Nothing is shown when the output is not a terminal, so that logs and pipes hold results only, nor
after the terminal was closed.
"""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

from bench.text.numbers import spell_seconds
from pillqc import terminal

if TYPE_CHECKING:
    from collections.abc import Callable

_WIDTH = 100
_REDRAW_S = 0.2
_CLEAR = "\r\x1b[2K"


class Progress:
    """One line that is rewritten in place."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._shown = terminal.is_terminal(self._stream)
        self._last = float("-inf")

    def show(self, text: str, left_s: float | None = None) -> None:
        """Show what happens now, and the time left if it is given."""
        now = self._clock()
        if not self._shown or now - self._last < _REDRAW_S:
            return
        self._last = now
        left = "" if left_s is None else f" · at most {spell_seconds(left_s)} left"
        width = min(_WIDTH, shutil.get_terminal_size().columns - 1)  # a line that wraps stays
        line = text[: max(0, width - len(left))] + left
        self._shown = terminal.write(self._stream, f"{_CLEAR}{line[:width]}")

    def clear(self) -> None:
        """Remove the line before something else is printed."""
        if self._shown:
            self._shown = terminal.write(self._stream, _CLEAR)
