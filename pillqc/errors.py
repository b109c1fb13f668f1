"""Define the inspector's exceptions.

PillqcError             explained in one line; exit code 1
├── UsageError          an unknown option, value or layout; exit code 2
├── DataError           a folder, image or mask cannot be used; carries its path
├── RenderError         a data set cannot be rendered at that place
├── ModelFileError      a model file is missing, damaged, foreign or of another version
└── ExportError         `torch.export` cannot take the model
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def shown(path: object) -> str:
    """Return a path or another name as one printable line; other characters are escaped."""
    return "".join(c if c.isprintable() else _escaped(c) for c in str(path))


def _escaped(character: str) -> str:
    r"""Return `\n` for a new line; `\xff` for a byte that is no UTF-8 (U+DCFF in Python)."""
    code = ord(character)
    is_byte = 0xDC80 <= code <= 0xDCFF
    return f"\\x{code - 0xDC00:02x}" if is_byte else ascii(character)[1:-1]


class PillqcError(Exception):
    """A failure that one sentence explains; the sentence says what to do next."""

    exit_code = 1


class UsageError(PillqcError):
    """The user gave an option, value or layout that does not exist."""

    exit_code = 2


class DataError(PillqcError):
    """A folder, image or mask cannot be used; `reason` is the sentence without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{shown(path)}: {reason}")
        self.path = path
        self.reason = reason


class RenderError(PillqcError):
    """A data set cannot be rendered at that place."""


class ModelFileError(PillqcError):
    """A model file is missing, damaged, foreign or of another version."""


class ExportError(PillqcError):
    """`torch.export` cannot take the model; the sentence says why."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the missing folders above a file or folder, around the code that writes it.

    Raises:
        PillqcError: it cannot be written; the sentence names it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise PillqcError(
            f"{shown(path)}: cannot be written ({error.strerror or error})"
        ) from error
