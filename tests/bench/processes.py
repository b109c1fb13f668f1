"""What the kernel says of a process."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def state(pid: int) -> str:
    """The kernel's letter for what a process does: R, S, T (stopped), Z."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def gone(pid: int) -> bool:
    """Whether the process ends soon."""
    for _ in range(200):
        with suppress(FileNotFoundError):
            if state(pid) != "Z":
                time.sleep(0.01)
                continue
        return True
    return False
