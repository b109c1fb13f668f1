"""Small reads under a root folder; what is not there, or may not be read, is None."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def text(path: Path) -> str | None:
    """The file's content without surrounding white space."""
    try:
        return path.read_text(errors="replace").strip("\0 \n\t")
    except (OSError, ValueError):
        return None


def number(path: Path) -> int | None:
    """The file's content as a whole number."""
    try:
        return int(text(path) or "")
    except ValueError:
        return None


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The kernel's list format: `0-3,8` is (0, 1, 2, 3, 8).

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
    """The file's content as the kernel writes lists of CPUs (`0-3,8`); empty where it is not."""
    return cpus(text(path) or "")


def cpus(listed: str) -> tuple[int, ...]:
    """A list of CPUs as the kernel writes it; empty where it is no such list."""
    try:
        return parse_cpu_list(listed)
    except ValueError:
        return ()


def allowed(status: Path) -> tuple[int, ...]:
    """The CPUs that a process may run on, from its `status`; empty where it does not say."""
    found = re.search(r"^Cpus_allowed_list:\s*([\d,-]+)$", text(status) or "", re.MULTILINE)
    return cpus(found[1]) if found else ()


def numbered(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """The entries `<prefix><number>` of a folder, by number."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return []
    found = [
        (int(entry.name[len(prefix) :]), entry)
        for entry in entries
        if entry.name.startswith(prefix) and entry.name[len(prefix) :].isdecimal()
    ]
    return sorted(found)


def exists(path: Path) -> bool:
    """Whether something of that name can be seen."""
    try:
        return path.exists()
    except OSError:
        return False
