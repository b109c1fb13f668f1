"""pillqc plans with the resources that it may use, not with those of the machine."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

from pillqc import limits
from tests.fake_files import write, write_all

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30
CGROUP = "sys/fs/cgroup"
A_B = {"proc/self/cgroup": "0::/a/b"}


def version_1(groups: str, folder: str, quota: int) -> dict[str, str]:
    """Files of a process in these control groups of version 1, with a quota of 100 ms periods."""
    return {
        "proc/self/cgroup": groups,
        f"{folder}/cpu.cfs_quota_us": str(quota),
        f"{folder}/cpu.cfs_period_us": "100000",
    }


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({f"{CGROUP}/cpu.max": "max 100000"}, None),
        ({f"{CGROUP}/cpu.max": "150000 100000"}, 1.5),
        ({**A_B, f"{CGROUP}/a/b/cpu.max": "400000 100000"}, 4.0),
        (
            {
                **A_B,
                f"{CGROUP}/a/b/cpu.max": "max 100000",
                f"{CGROUP}/a/cpu.max": "200000 100000",
            },
            2.0,
        ),
        (
            {  # the stricter limit is that of a group above
                **A_B,
                f"{CGROUP}/a/b/cpu.max": "800000 100000",
                f"{CGROUP}/a/cpu.max": "150000 100000",
            },
            1.5,
        ),
        (
            {  # mounted elsewhere, from a group of the host on
                "proc/self/cgroup": "0::/docker/01/job",
                "proc/self/mountinfo": "30 1 0:1 /docker/01 /my\\040groups rw - cgroup2 none rw",
                "my groups/job/cpu.max": "250000 100000",
            },
            2.5,
        ),
        (
            {
                **version_1("2:cpuacct,cpu:/d\n0::/", "cg/d", 50000),
                "proc/self/mountinfo": "30 1 0:1 / /cg rw - cgroup cgroup rw,cpu,cpuacct",
            },
            0.5,
        ),
        ({"proc/self/cgroup": "0::/../x", f"{CGROUP}/cpu.max": "50000 100000"}, 0.5),
        (
            version_1("4:memory:/d/1\n3:cpu,cpuacct:/d/1", f"{CGROUP}/cpu,cpuacct/d/1", 300000),
            3.0,
        ),
        # inside a container: the host's name, the container's tree
        (version_1("3:cpu,cpuacct:/docker/0123", f"{CGROUP}/cpu", 250000), 2.5),
        (version_1("1:cpu:/", f"{CGROUP}/cpu", -1), None),
        (
            {  # both versions side by side: the smaller one holds
                **version_1("1:cpu:/\n0::/", f"{CGROUP}/cpu", 400000),
                f"{CGROUP}/unified/cpu.max": "300000 100000",
            },
            3.0,
        ),
    ],
)
def test_cpu_limits_of_groups(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    """Version 1 and 2, nested, in containers: the smallest limit above the process holds."""
    write_all(tmp_path, files)
    assert limits.cpu_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({f"{CGROUP}/memory.max": "max"}, None),
        ({f"{CGROUP}/memory.max": "4294967296"}, 4.0),
        (
            {  # above `high` a process is not killed and hardly moves
                f"{CGROUP}/memory.max": "4294967296",
                f"{CGROUP}/memory.high": "1073741824",
            },
            1.0,
        ),
        (
            {  # of a group above that cannot be seen from here
                "proc/self/cgroup": "4:memory:/x",
                f"{CGROUP}/memory/memory.limit_in_bytes": "9223372036854771712",
                f"{CGROUP}/memory/memory.stat": "rss 1\nhierarchical_memory_limit 3221225472",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x",
                f"{CGROUP}/memory/x/memory.limit_in_bytes": "9223372036854771712",
                f"{CGROUP}/memory/memory.limit_in_bytes": "2147483648",
            },
            2.0,
        ),
    ],
)
def test_memory_limits_of_groups(
    tmp_path: Path, files: dict[str, str], limit: float | None
) -> None:
    """Version 1 says 'none' with a huge number, version 2 with a word."""
    write_all(tmp_path, files)
    found = limits.memory_limit(tmp_path)
    assert (found and found / 2**30) == limit


def test_free_memory_is_the_least_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 GiB are free, and a group above ours allows 2 of which one is taken."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GIB))
    assert limits.free_memory(tmp_path) == 64 * GIB
    write(tmp_path, "proc/self/cgroup", "4:memory:/a/b\n0::/")
    write(tmp_path, f"{CGROUP}/memory/a/memory.limit_in_bytes", str(2 * GIB))
    write(tmp_path, f"{CGROUP}/memory/a/memory.usage_in_bytes", str(GIB))
    assert limits.free_memory(tmp_path) == GIB


def test_threads_follow_the_quota(tmp_path: Path) -> None:
    """`docker --cpus 1` on many cores renders with one process."""
    many = limits.usable_cores(tmp_path)
    write(tmp_path, f"{CGROUP}/cpu.max", "100000 100000")
    assert limits.usable_cores(tmp_path) == 1 <= many
    write(tmp_path, f"{CGROUP}/cpu.max", "6400000 100000")
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
    write(tmp_path, f"{CGROUP}/cpu.max", f"{quota} 100000")
    limits.follow_quota(tmp_path)
    assert os.environ.get("OMP_NUM_THREADS") == threads
