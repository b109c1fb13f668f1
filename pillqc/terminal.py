"""Write to a terminal that may be closed, or to a file whose disk may be full.

    say("bench: interrupted")                   # a line on the error stream, or nothing
    if not write(sys.stderr, "3 of 7"): ...     # nobody sees it any more

What is said beside the work costs neither the work nor its exit code. This module uses the standard
library only: `bench` writes with it, too.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether somebody may watch it; None is a stream that the caller had closed."""
    return stream is not None and stream.isatty()


def say(line: str) -> None:
    """Print a line on the error stream, if anything can be printed there."""
    write(sys.stderr, f"{line}\n")


def write(stream: TextIO | None, text: str) -> bool:
    """Write a text at once, and return whether the stream took it.

    Letters that its encoding does not have are written as their numbers. A stream that takes
    nothing leads nowhere from then on: the rest in its buffer would fail again when the interpreter
    ends, and change the exit code.
    """
    if stream is None:
        return False
    try:
        try:
            stream.write(text)
        except UnicodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode())
        stream.flush()
    except (OSError, ValueError):  # ValueError: it was closed in this process
        _lead_nowhere(stream)
        return False
    return True


def _lead_nowhere(stream: TextIO) -> None:
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
