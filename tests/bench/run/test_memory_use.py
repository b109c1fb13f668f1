"""The memory of a run's processes together."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bench.run import memory_use

if TYPE_CHECKING:
    from pathlib import Path


def test_shares_of_all_processes_add_up(tmp_path: Path) -> None:
    """This process counts too; one that has ended does not."""
    for pid, kb in ((os.getpid(), 1 << 20), (7, 3 << 20)):
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        text = f"00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss: 99 kB\nPss: {kb} kB\n"
        (tmp_path / "proc" / str(pid) / "smaps_rollup").write_text(text)
    assert memory_use.held_gib([7, 8], tmp_path) == pytest.approx(4)


def test_a_host_that_does_not_tell_gives_nothing(tmp_path: Path) -> None:
    """Zero is taken for unknown."""
    assert memory_use.held_gib([1], tmp_path) == 0


def test_a_real_process_is_seen() -> None:
    """What it writes to is its own."""
    hold = "x = b'x' * (64 << 20); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        alone, both = memory_use.held_gib([]), memory_use.held_gib([process.pid])
        process.communicate(b"\n")
    assert both - alone > 60 / 1024
