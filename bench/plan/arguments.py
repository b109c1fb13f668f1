"""Checks of the options that all measuring commands have, before anything is measured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bench.errors import BenchError, UsageError
from bench.machine import placement

if TYPE_CHECKING:
    from pathlib import Path


def check_budget(seconds: float) -> None:
    """Raise UsageError unless the budget is positive and finite."""
    if not 0 < seconds < float("inf"):
        raise UsageError(f"the budget must be above zero seconds and have an end, not {seconds:g}")


def check_seed(seed: int) -> None:
    """Raise UsageError for a negative seed."""
    if seed < 0:
        raise UsageError(f"the seed must be 0 or more, not {seed}")


def check_threads(threads: int | None) -> None:
    """Raise UsageError if workers cannot have so many threads. None means the default."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be 1 or more, not {threads}")
    placement.chosen_cpus(threads)


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
