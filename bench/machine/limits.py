"""How much CPU and memory this process may use: control groups, version 1 and 2.

A limit may sit on any group above the process's own, so all of them are read and the smallest one
holds. Inside a container the names in `/proc/self/cgroup` are often the host's, and the mounted
tree begins at the container: then the root of the tree is what is left, and it is always read.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bench.machine import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NO_LIMIT_BYTES = 1 << 60
"""Version 1 says 'none' with a number near 2**63."""


def cpu_limit(root: Path) -> float | None:
    """CPUs' worth of time that the groups allow; None without a limit."""
    v2 = (_quota_v2(files.text(group / "cpu.max")) for group in _groups(root, None))
    v1 = (_quota_v1(group) for group in _groups(root, "cpu"))
    return _smallest((*v2, *v1))


def memory_limit_gib(root: Path) -> float | None:
    """Memory that the groups allow; None without a limit."""
    v2 = (files.number(group / "memory.max") for group in _groups(root, None))
    v1 = (files.number(group / "memory.limit_in_bytes") for group in _groups(root, "memory"))
    limits = [limit for limit in (*v2, *v1) if limit is not None and limit < _NO_LIMIT_BYTES]
    smallest = _smallest(limits)
    return None if smallest is None else round(smallest / 2**30, 2)


def memory_left_gib(root: Path) -> float | None:
    """What the groups still allow beyond what they hold already; None without a limit.

    Page cache counts as held although the kernel would give it back: the sum errs on the safe side.
    """
    v2 = (_left(group / "memory.max", group / "memory.current") for group in _groups(root, None))
    v1 = (
        _left(group / "memory.limit_in_bytes", group / "memory.usage_in_bytes")
        for group in _groups(root, "memory")
    )
    smallest = _smallest((*v2, *v1))
    return None if smallest is None else smallest / 2**30


def _left(limit: Path, held: Path) -> float | None:
    """Bytes between a group's limit and what it holds."""
    most, now = files.number(limit), files.number(held)
    if most is None or most >= _NO_LIMIT_BYTES:
        return None
    return max(0.0, float(most - (now or 0)))


def _smallest(limits: Iterable[float | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _quota_v2(text: str | None) -> float | None:
    """`150000 100000` is 1.5 CPUs; `max 100000` is no limit."""
    try:
        quota, period = map(int, (text or "").split())
    except ValueError:
        return None
    return _cpus(quota, period)


def _quota_v1(group: Path) -> float | None:
    return _cpus(
        files.number(group / "cpu.cfs_quota_us"), files.number(group / "cpu.cfs_period_us")
    )


def _cpus(quota: int | None, period: int | None) -> float | None:
    if quota is None or period is None or quota <= 0 or period <= 0:
        return None
    return quota / period


def _groups(root: Path, controller: str | None) -> Iterator[Path]:
    """Folders of the process's group and all groups above it.

    `controller` names one of version 1; None means version 2, which has one tree for all.
    """
    for line in (files.text(root / "proc/self/cgroup") or "0::/").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller is None and not names:
            for tree in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                yield from _upwards(root / tree, path)
        elif controller is not None and controller in names.split(","):
            for tree in {names, *names.split(",")}:
                yield from _upwards(root / "sys/fs/cgroup" / tree, path)


def _upwards(tree: Path, path: str) -> Iterator[Path]:
    parts = PurePosixPath(path.lstrip("/")).parts
    if ".." in parts:  # a group outside this namespace, not visible from here
        parts = ()
    for depth in range(len(parts), -1, -1):
        yield tree.joinpath(*parts[:depth])
