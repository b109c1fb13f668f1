"""Append to, replace and read files so that they survive a kill and a full disk.

Every failure is a `RecordError` of one sentence: what, where, what to do.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import RecordError

if TYPE_CHECKING:
    from typing_extensions import Self

_LARGEST_BYTES = 1 << 30
"""A run's largest file has tens of megabytes; one of a gigabyte is no file of a run."""


class AppendOnly:
    r"""A file to which pieces are added whole, each by exactly one `write`.

    A piece that did not fit (full disk, quota, size limit) is removed, so that the file always ends
    with a whole piece.

        with AppendOnly(path) as file:
            file.append(b"one row\n")
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise _cannot("write", path, error) from error

    def append(self, piece: bytes) -> None:
        """Add `piece` whole or not at all.

        Raises:
            RecordError: there was no room, or the file may not be written; it is as it was before.
        """
        before = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, piece)
        except OSError as error:
            self._shorten(before)
            raise _cannot("add a row to", self.path, error) from error
        if written != len(piece):
            self._shorten(before)
            raise RecordError(
                f"cannot add a row to {self.path}: only {written} of {len(piece)} bytes fitted. "
                "What was written before is whole; free some space or choose another folder"
            )

    def _shorten(self, size: int) -> None:
        with suppress(OSError):  # a device (/dev/full) has no length to restore
            os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        """Close the file; harmless when it is closed already."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def replace(path: Path, content: bytes, *, make_folder: bool = False) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part.

    A link stays one (`/dev/stdout` is, and may lead to a file): the file that it leads to changes.

    Raises:
        RecordError: it could not be written; the old file is untouched.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.part")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_char_device() or path.is_fifo():  # such as /dev/stdout: nothing to replace
            path.write_bytes(content)
            return
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise _cannot("write", path, error) from error


def truncate(path: Path, size: int) -> None:
    """Cut `path` to `size` bytes.

    Raises:
        RecordError: it may not be written.
    """
    try:
        os.truncate(path, size)
    except OSError as error:
        raise _cannot("write", path, error) from error


def read(path: Path) -> bytes:
    """Return the content of a regular file; refuse pipes, which could hang, and devices.

    Raises:
        FileNotFoundError: it does not exist.
        RecordError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _cannot("read", path, error) from error
    try:
        _check_regular(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise _cannot("read", path, error) from error
    finally:
        os.close(descriptor)


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise RecordError(f"{path} is a folder where a file was expected: name the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise RecordError(f"{path} is a device or a pipe where a file was expected")
    if status.st_size > _LARGEST_BYTES:
        raise RecordError(
            f"{path} has {status.st_size / 2**30:.1f} GiB, which no file of a run has: "
            "it is another file or it is damaged"
        )


def _cannot(verb: str, path: Path, error: OSError) -> RecordError:
    reason = (error.strerror or str(error)).lower()
    advice = "free some space or choose another folder"
    if verb == "read":
        advice = "check the name and its permissions"
    return RecordError(f"cannot {verb} {path}: {reason}; {advice}")
