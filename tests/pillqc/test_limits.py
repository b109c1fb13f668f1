"""pillqc plans with the resources that it may use, not with those of the machine."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

from pillqc import limits

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30


def test_free_memory_is_the_least_of_machine_and_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 GiB are free, and a group above ours allows 2 of which one is taken."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GIB))
    assert limits.free_memory(tmp_path) == 64 * GIB
    group = tmp_path / "sys/fs/cgroup/memory/a"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/a/b\n0::/\n")
    (group / "memory.limit_in_bytes").write_text(f"{2 * GIB}\n")
    (group / "memory.usage_in_bytes").write_text(f"{GIB}\n")
    assert limits.free_memory(tmp_path) == GIB


def test_threads_follow_the_quota(tmp_path: Path) -> None:
    """`docker --cpus 1` on many cores renders with one process."""
    many = limits.usable_cores(tmp_path)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("100000 100000\n")
    assert limits.usable_cores(tmp_path) == 1 <= many
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("6400000 100000\n")
    assert limits.usable_cores(tmp_path) == many


@pytest.mark.parametrize(
    ("chosen", "quota", "threads"),
    [(None, "100000", "1"), ("3", "100000", "3"), (None, "max", None)],
)
def test_libraries_start_as_many_threads_as_the_quota_carries(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str | None,
    quota: str,
    threads: str | None,
) -> None:
    """Unless somebody chose their number."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "of the test")
        monkeypatch.delenv(name)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota} 100000\n")
    limits.follow_quota(tmp_path)
    assert os.environ.get("OMP_NUM_THREADS") == threads
