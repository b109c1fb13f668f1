"""Check places that every measuring command needs, before any time is spent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from pathlib import Path


def check_writable(folder: Path, option: str) -> None:
    """Raise BenchError if the folder cannot be written."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise BenchError(f"cannot write to {folder}: choose another place with {option}")


def check_pills(folder: Path) -> None:
    """Raise BenchError if there is no folder of images."""
    if not folder.is_dir():
        raise BenchError(
            f"there are no pill images at {folder}: run `make data`, or "
            f"`python -m pillqc render --out {folder}`"
        )
