"""Read small files of `/proc` and `/sys`; what is missing or not readable is None."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pillqc.limits import number_in, text_in

if TYPE_CHECKING:
    from pathlib import Path

text, number = text_in, number_in


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Parse the kernel's list format: `0-3,8` is (0, 1, 2, 3, 8).

    Raises:
        ValueError: the text is not in that format.
    """
    cpus: list[int] = []
    for part in text.strip().split(","):
        if not part:
            continue
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return tuple(cpus)


def cpu_list(path: Path) -> tuple[int, ...]:
    """Return the list of CPUs in a file; empty if it is no such list."""
    return cpus(text(path) or "")


def cpus(listed: str) -> tuple[int, ...]:
    """Parse a list of CPUs; empty if it is no such list."""
    try:
        return parse_cpu_list(listed)
    except ValueError:
        return ()


def allowed(status: Path) -> tuple[int, ...]:
    """Return the CPUs that a process may run on, from its `status`; empty if unknown."""
    found = re.search(r"^Cpus_allowed_list:\s*([\d,-]+)$", text(status) or "", re.MULTILINE)
    return cpus(found[1]) if found else ()


def numbered(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """Return the entries `<prefix><number>` of a folder, by number."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return []
    names = ((entry.name.removeprefix(prefix), entry) for entry in entries)
    found = [(rest, entry) for rest, entry in names if entry.name == f"{prefix}{rest}"]
    return sorted((int(rest), entry) for rest, entry in found if rest.isdecimal())


def memory_gib(path: Path) -> float | None:
    """Return the memory that a `meminfo` of the kernel counts in all."""
    found = re.search(r"MemTotal:\s*(\d+) kB", text(path) or "")
    return round(int(found[1]) / 2**20, 2) if found else None


def exists(path: Path) -> bool:
    """Return whether something of that name is visible."""
    try:
        return path.exists()
    except OSError:
        return False
