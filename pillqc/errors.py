"""The inspector's own errors.

PillqcError             explained in one line; exit code 1
├── UsageError          the command was asked for something that does not exist; exit code 2
├── DataError           a folder, image or mask cannot be used; carries its path
├── RenderError         a data set cannot be rendered where it was asked for
└── ModelFileError      a model file is missing, damaged, foreign or of another version
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def shown(path: object) -> str:
    """A path, or another name, as one line of printable text: what is not stands escaped."""
    return "".join(c if c.isprintable() else _escaped(c) for c in str(path))


def _escaped(character: str) -> str:
    """`\\n` for a new line; `\\xff` for a byte that is no UTF-8, which Python keeps as U+DCFF."""
    code = ord(character)
    lone = 0xDC80 <= code <= 0xDCFF
    return f"\\x{code - 0xDC00:02x}" if lone else ascii(character)[1:-1]


class PillqcError(Exception):
    """Something failed in a way that one sentence explains; the sentence says what to do next."""

    exit_code = 1


class UsageError(PillqcError):
    """The user named an option, value or layout that does not exist."""

    exit_code = 2


class DataError(PillqcError):
    """A folder, image or mask cannot be used; `reason` is the sentence without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{shown(path)}: {reason}")
        self.path = path
        self.reason = reason


class RenderError(PillqcError):
    """A data set cannot be rendered where it was asked for."""


class ModelFileError(PillqcError):
    """A model file is missing, damaged, foreign or written by another version."""
