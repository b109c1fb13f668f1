"""What all processes of a run hold together.

Shared pages (torch's libraries, held once for all workers) are counted once: each process counts
its proportional share, as the kernel tells it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def held_gib(pids: Iterable[int], root: Path = Path("/")) -> float:
    """By those processes and this one, now; who has ended holds nothing."""
    return sum(_share_kb(root, pid) for pid in (os.getpid(), *pids)) / 2**20


def _share_kb(root: Path, pid: int) -> int:
    try:
        text = (root / "proc" / str(pid) / "smaps_rollup").read_text()
    except OSError:  # ended, or a kernel that does not tell
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
