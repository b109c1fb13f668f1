"""Keep a core busy in bursts, as another guest of a shared machine does."""

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
    """Keep a core busy about half of the time; yield the process id.

    Bursts last from about a block to about a round, so that some hit one participant and some hit
    all. The process ends when its parent is gone.
    """
    code = _BURSTS.format(low=low_s, high=high_s)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
