"""Add up the memory that all processes of a run hold together."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def held_gib(pids: Iterable[int], root: Path = Path("/")) -> float:
    """Return what these processes and this one hold now; exited processes count as zero.

    Each counts its proportional share of shared pages, so torch's libraries count once in all.
    """
    total_kb = 0
    for pid in (os.getpid(), *pids):
        with suppress(OSError):  # exited, or a kernel without smaps_rollup
            for line in (root / "proc" / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kb += int(line.split()[1])
    return total_kb / 2**20
