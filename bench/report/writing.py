"""Writes a report's files in one step: whoever looks sees the old file or the new one, no part."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.errors import BenchError


def write_file(path: Path, content: bytes) -> None:
    """Replace the file, making its folder.

    Raises:
        BenchError: it cannot be written; the old one is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BenchError(
            f"the report {path} cannot be written ({error.strerror or error}): "
            "free some space or choose another place"
        ) from error
