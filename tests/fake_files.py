"""Fake roots: what the kernel shows of hosts that we do not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(root: Path, path: str, text: str) -> None:
    """Put a file into a fake root."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text + "\n")


def write_all(root: Path, files: Mapping[str, str]) -> None:
    """Put several files into a fake root."""
    for path, text in files.items():
        write(root, path, text)
