"""A terminal whose window a test closes while something is written to it."""

from __future__ import annotations

import os

from typing_extensions import Self


class Terminal:
    """A terminal in a window; `stream` writes to it. `with` closes both at its end."""

    def __init__(self) -> None:
        self._window, terminal = os.openpty()
        self.stream = os.fdopen(terminal, "w")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.stream.close()

    def shown(self) -> str:
        """Wait until something was written, and return it."""
        return os.read(self._window, 4096).decode()

    def close(self) -> None:
        """Close the window: whatever is written to the terminal fails from now on."""
        if self._window >= 0:
            os.close(self._window)
        self._window = -1
