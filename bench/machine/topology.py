"""Cores, caches and memory nodes, from sysfs."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from bench.machine import files

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_CPUS = "sys/devices/system/cpu"
_CORE_FIELDS = re.compile(r"^(processor|physical id|core id)\s*:\s*(\d+)$", re.MULTILINE)
_KIB = {"": 1 / 1024, "K": 1, "M": 1024, "G": 1024 * 1024}


def online_cpus(root: Path) -> tuple[int, ...]:
    """The logical CPUs that the kernel runs on."""
    listed = files.cpu_list(root / _CPUS / "online")
    if listed:
        return listed
    text = files.text(root / "proc/cpuinfo") or ""
    processors = re.findall(r"^processor\s*:\s*(\d+)", text, re.MULTILINE)
    if processors:
        return tuple(map(int, processors))
    return tuple(range(os.cpu_count() or 1)) if root == type(root)("/") else ()


def affinity(root: Path) -> tuple[int, ...]:
    """The logical CPUs that this process may run on (`taskset` and cpusets included)."""
    status = files.text(root / "proc/self/status") or ""
    match = re.search(r"^Cpus_allowed_list:\s*([\d,-]+)$", status, re.MULTILINE)
    online = online_cpus(root)
    if not match:
        return online
    allowed = set(files.cpus(match[1]))
    return tuple(cpu for cpu in online if cpu in allowed) or tuple(sorted(allowed))


def physical_cores(root: Path, cpus: Collection[int]) -> int:
    """How many physical cores the given logical CPUs belong to.

    Where the topology cannot be read each logical CPU counts as a core of its own.
    """
    from_cpuinfo = _cores_in_cpuinfo(root)
    return len({_core(root, cpu) or from_cpuinfo.get(cpu) or (cpu,) for cpu in cpus})


def _core(root: Path, cpu: int) -> tuple[int, ...]:
    return files.cpu_list(root / _CPUS / f"cpu{cpu}/topology/thread_siblings_list")


def _cores_in_cpuinfo(root: Path) -> dict[int, tuple[str, str]]:
    """(package, core) of each logical CPU, from the file that every x86 Linux has."""
    cores = {}
    for block in (files.text(root / "proc/cpuinfo") or "").split("\n\n"):
        fields = dict(_CORE_FIELDS.findall(block))
        if len(fields) == 3:
            cores[int(fields["processor"])] = (fields["physical id"], fields["core id"])
    return cores


def sockets(root: Path) -> int | None:
    """How many CPU packages there are."""
    packages = {
        files.text(path / "topology/physical_package_id")
        for _, path in files.numbered(root / _CPUS, "cpu")
    } - {None}
    packages = packages or {package for package, _ in _cores_in_cpuinfo(root).values()}
    return len(packages) or None


def caches(root: Path, cpu: int = 0) -> dict[str, int | None]:
    """Sizes of the caches that one logical CPU sees, in KiB."""
    found: dict[str, int | None] = {"l1d_kib": None, "l2_kib": None, "l3_kib": None}
    for _, index in files.numbered(root / _CPUS / f"cpu{cpu}/cache", "index"):
        kind, level = files.text(index / "type"), files.number(index / "level")
        name = f"l{level}d_kib" if level == 1 else f"l{level}_kib"
        if kind in ("Data", "Unified") and name in found:
            found[name] = kib(files.text(index / "size") or "")
    return found


def kib(size: str) -> int | None:
    """`1280K` or `36M` in KiB."""
    match = re.fullmatch(r"(\d+)([KMG]?)", size)
    return round(int(match[1]) * _KIB[match[2]]) if match else None


def numa_nodes(root: Path) -> list[dict[str, Any]]:
    """Memory nodes with their CPUs and memory."""
    return [
        {"node": node, "cpus": list(files.cpu_list(path / "cpulist")), "memory_gib": _memory(path)}
        for node, path in files.numbered(root / "sys/devices/system/node", "node")
    ]


def _memory(node: Path) -> float | None:
    match = re.search(r"MemTotal:\s*(\d+) kB", files.text(node / "meminfo") or "")
    return round(int(match[1]) / 2**20, 2) if match else None


def is_hybrid(root: Path) -> bool:
    """Whether fast and slow cores are mixed (the kernel then has two performance counters)."""
    devices = root / "sys/devices"
    return files.exists(devices / "cpu_core/cpus") and files.exists(devices / "cpu_atom/cpus")
