"""Find files that would be imported instead of an installed package.

A `numpy.py` in the current folder or on PYTHONPATH precedes the real package and causes failures
anywhere. This module uses the standard library only and imports none of the packages.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "intel_extension_for_pytorch", "numpy", "scipy", "PIL")


def hidden_package() -> str | None:
    """Return a sentence about the first package that another file hides; None if none is."""
    for name in _PACKAGES:
        specs = (PathFinder.find_spec(name, [entry or "."]) for entry in sys.path)
        found = [Path(spec.origin) for spec in specs if spec and spec.origin]
        if found and _is_no_package(found[0], name, is_first_of_many=len(found) > 1):
            installed = f" and hides {found[-1].parent}" if len(found) > 1 else ""
            return (
                f"{name} would be imported from {found[0].absolute()}, which is not that "
                f"package{installed}: rename it, or take its folder off PYTHONPATH"
            )
    return None


def _is_no_package(origin: Path, name: str, *, is_first_of_many: bool) -> bool:
    """Return whether it is a single file, or a folder without installed packages beside it."""
    if origin.stem == name:
        return True
    return is_first_of_many and not any(origin.parent.parent.glob("*-info"))
