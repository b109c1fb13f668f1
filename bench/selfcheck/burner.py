"""A second process that takes a core in bursts, as a neighbour on a shared machine does."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BURSTS = """
import os, random, time
turn, parent = random.Random(1), os.getppid()
while os.getppid() == parent:
    stop = time.monotonic() + turn.uniform({low}, {high})
    while time.monotonic() < stop:
        pass
    time.sleep(turn.uniform({low}, {high}))
"""


@contextmanager
def bursts(low_s: float = 0.2, high_s: float = 2.0) -> Iterator[int]:
    """While inside, a core is busy about half of the time; the value is the process.

    Bursts of about the length of a block up to that of a round: some hit one participant, some hit
    all. It ends by itself when its parent is gone.
    """
    code = _BURSTS.format(low=low_s, high=high_s)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
