"""Read how much CPU and memory this process may use from its control groups, version 1 and 2.

    cpu_limit()      # 1.5: CPUs' worth of time, or None
    memory_left()    # bytes that the groups still allow, or None
    usable_cores()   # threads that neither affinity nor quota would stop

A limit may be set on any group above the process's own, so all are read and the smallest limit
counts. `/proc/self/mountinfo` says where groups are mounted. In a container the names in
`/proc/self/cgroup` are often the host's, and the mounted tree begins at the container, so the root
of the tree is always read.

This module does not import torch: `bench` uses it before it starts a worker.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ROOT = Path("/")
_NO_LIMIT_BYTES = 1 << 60
"""Version 1 writes a number near 2**63 for no limit."""


def usable_cores(root: Path = _ROOT) -> int:
    """Return how many threads can compute at once: CPUs of the affinity, within the quota.

    A quota of 1.5 CPUs allows one thread: a second one would be stopped half of the time.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return within_quota(count, root)


def within_quota(count: int, root: Path = _ROOT) -> int:
    """Limit a number of threads to the groups' CPU quota, but to one at least."""
    limit = cpu_limit(root)
    return count if limit is None else max(1, min(count, int(limit)))


def follow_quota(root: Path = _ROOT) -> None:
    """Limit the threads of this process's libraries to the quota; call it before importing them.

    A number of threads that the user has chosen is kept.
    """
    if cpu_limit(root) is not None and "OMP_NUM_THREADS" not in os.environ:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, str(usable_cores(root)))


def cpu_limit(root: Path = _ROOT) -> float | None:
    """Return the CPUs' worth of time that the groups allow; None without a limit."""
    v2 = (_quota_v2(text_in(group / "cpu.max")) for group in groups(root))
    v1 = (_quota_v1(group) for group in groups(root, "cpu"))
    return _smallest((*v2, *v1))


def memory_limit(root: Path = _ROOT) -> int | None:
    """Return the bytes that the groups allow; None without a limit.

    `memory.high` counts too: a process above it is not killed, but slowed down heavily.
    """
    smallest = _smallest(limit for limit, _ in _memory(root))
    return None if smallest is None else int(smallest)


def memory_left(root: Path = _ROOT) -> int | None:
    """Return the bytes that the groups still allow; None without a limit.

    The page cache of inactive files does not count as used, because the kernel reclaims it: after
    an installation it fills a small group.
    """
    left = _smallest(max(0, limit - used) for limit, used in _memory(root))
    return None if left is None else int(left)


def free_memory(root: Path = _ROOT) -> int:
    """Return the bytes that both the machine and the groups have left for this process."""
    free, left = psutil.virtual_memory().available, memory_left(root)
    return free if left is None else min(free, left)


def throttled_us(root: Path = _ROOT) -> int | None:
    """Return the CPU time that quotas took from the groups' threads; None if unknown."""
    v2 = (_field(group / "cpu.stat", "throttled_usec") for group in groups(root))
    v1_ns = (_field(group / "cpu.stat", "throttled_time") for group in groups(root, "cpu"))
    known = [*v2, *(None if ns is None else ns // 1000 for ns in v1_ns)]
    return sum(us for us in known if us is not None) if set(known) - {None} else None


def cpu_pressure(root: Path = _ROOT) -> str | None:
    """Return the kernel's CPU pressure of the innermost group that has one, else of the host."""
    texts = (text_in(group / "cpu.pressure") for group in groups(root))
    return next(filter(None, texts), None) or text_in(root / "proc/pressure/cpu")


def cpuset(root: Path = _ROOT) -> str | None:
    """Return the CPUs that the process's group may use, as the kernel lists them."""
    v2 = (text_in(group / "cpuset.cpus.effective") for group in groups(root))
    v1 = (
        text_in(group / name)
        for group in groups(root, "cpuset")
        for name in ("cpuset.effective_cpus", "cpuset.cpus")
    )
    return next(filter(None, (*v2, *v1)), None)


def groups(root: Path = _ROOT, controller: str | None = None) -> Iterator[Path]:
    """Yield the folders of the process's group and all groups above it, its own first.

    `controller` names one of version 1; None means version 2, which has one tree for all.
    """
    seen = set()
    for line in (text_in(root / "proc/self/cgroup") or "0::/").splitlines():
        names, _, path = line.partition(":")[2].partition(":")
        if controller in names.split(",") if controller else not names:
            for tree, top in _trees(root, names, controller):
                for group in _upwards(tree, path.removeprefix(top)):
                    if group not in seen:
                        seen.add(group)
                        yield group


def _trees(root: Path, names: str, controller: str | None) -> Iterator[tuple[Path, str]]:
    """Yield the mount points of such groups with the group at the top ("" for the root)."""
    for line in (text_in(root / "proc/self/mountinfo") or "").splitlines():
        mount, _, system = line.partition(" - ")
        fields, (kind, *_, options) = mount.split(" "), system.split(" ") or [""]
        wanted = controller in options.split(",") if controller else kind == "cgroup2"
        if len(fields) > 4 and kind.startswith("cgroup") and wanted:
            top, place = (re.sub(r"\\(\d{3})", _unescaped, fields[at]) for at in (3, 4))
            yield root / place.lstrip("/"), "" if top == "/" or ".." in top else top
    usual = ("", "unified") if controller is None else sorted({names, *names.split(",")})
    for name in usual:
        yield root / "sys/fs/cgroup" / name, ""


def _unescaped(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))


def _upwards(tree: Path, path: str) -> Iterator[Path]:
    parts = PurePosixPath(path.lstrip("/")).parts
    if ".." in parts:  # a group outside this namespace, which is not visible
        parts = ()
    for depth in range(len(parts), -1, -1):
        yield tree.joinpath(*parts[:depth])


def _memory(root: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and used bytes of every group with a limit."""
    for group in groups(root):
        used = _used(group, "memory.current", "inactive_file")
        for name in ("memory.max", "memory.high"):
            limit = number_in(group / name)
            if limit is not None and limit < _NO_LIMIT_BYTES:
                yield limit, used
    for group in groups(root, "memory"):
        used = _used(group, "memory.usage_in_bytes", "total_inactive_file")
        # the second includes groups above that are not visible in a container
        hierarchical = _field(group / "memory.stat", "hierarchical_memory_limit")
        for limit in (number_in(group / "memory.limit_in_bytes"), hierarchical):
            if limit is not None and limit < _NO_LIMIT_BYTES:
                yield limit, used


def _used(group: Path, usage: str, reclaimable: str) -> int:
    return max(
        0, (number_in(group / usage) or 0) - (_field(group / "memory.stat", reclaimable) or 0)
    )


def _smallest(limits: Iterable[float | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _quota_v2(text: str | None) -> float | None:
    """Parse a quota: `150000 100000` is 1.5 CPUs, `max 100000` is no limit."""
    try:
        quota, period = map(int, (text or "").split())
    except ValueError:
        return None
    return _cpus(quota, period)


def _quota_v1(group: Path) -> float | None:
    return _cpus(number_in(group / "cpu.cfs_quota_us"), number_in(group / "cpu.cfs_period_us"))


def _cpus(quota: int | None, period: int | None) -> float | None:
    if quota is None or period is None or quota <= 0 or period <= 0:
        return None
    return quota / period


def _field(path: Path, name: str) -> int | None:
    """Read a number from a file of lines with a name and a number."""
    found = re.search(rf"^{name} (\d+)$", text_in(path) or "", re.ASCII | re.MULTILINE)
    return int(found[1]) if found else None


def number_in(path: Path) -> int | None:
    """Return a file's content as a whole number; None if it is none."""
    try:
        return int(text_in(path) or "")
    except ValueError:
        return None


def text_in(path: Path) -> str | None:
    """Return a file's content without surrounding white space; None if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0 \n\t")
    except (OSError, ValueError):
        return None
