"""Read cores, caches and memory nodes from sysfs."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from bench.machine import files
from pillqc.limits import cpuset

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_CPUS = "sys/devices/system/cpu"
_CORE_FIELDS = re.compile(r"^(processor|physical id|core id)\s*:\s*(\d+)$", re.MULTILINE)
_KIB = {"": 1 / 1024, "K": 1, "M": 1024, "G": 1024 * 1024}


def online_cpus(root: Path) -> tuple[int, ...]:
    """Return the logical CPUs that the kernel runs on."""
    listed = files.cpu_list(root / _CPUS / "online")
    if listed:
        return listed
    text = files.text(root / "proc/cpuinfo") or ""
    processors = re.findall(r"^processor\s*:\s*(\d+)", text, re.MULTILINE)
    if processors:
        return tuple(map(int, processors))
    return tuple(range(os.cpu_count() or 1)) if root == type(root)("/") else ()


def affinity(root: Path) -> tuple[int, ...]:
    """Return the logical CPUs that this process may run on (after `taskset` and cpusets)."""
    online = online_cpus(root)
    if root == type(root)("/") and hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
    else:
        allowed = set(files.allowed(root / "proc/self/status") or online)
    within = set(files.cpus(cpuset(root) or "")) & allowed or allowed
    return tuple(cpu for cpu in online if cpu in within) or tuple(sorted(within))


_SPEEDS = (
    "cpu_capacity",
    "cpufreq/base_frequency",
    "acpi_cppc/nominal_perf",
    "cpufreq/cpuinfo_max_freq",
)
"""Files that tell fast cores from slow ones, the most direct first. The last is for kernels without
the others: cores of one kind differ in it by a few percent."""
_SAME_KIND = 0.9
"""Favoured cores of one kind clock up to 9 % higher; an efficient core has 40 to 80 % of a fast
one's capacity, and a server's cores of low base frequency have 78 % of the others'."""


def fast_cpus(cpus: Collection[int], root: Path) -> tuple[int, ...]:
    """Return the CPUs of the fast kind; all of them if cores are equal or the kernel does not say.

    Intel's mixed CPUs list their kinds (`cpu_core`, `cpu_atom`), some kernels name each CPU's
    (`core_type`), others give numbers.
    """
    slow = {*files.cpu_list(root / "sys/devices/cpu_atom/cpus")}
    slow |= {*files.cpu_list(root / "sys/devices/cpu_lowpower/cpus")}
    slow |= {cpu for cpu in cpus if _is_slow_kind(cpu, root)}
    chosen = sorted(set(cpus) - slow) or sorted(cpus)
    for name in _SPEEDS:
        speeds = {cpu: files.number(root / _CPUS / f"cpu{cpu}" / name) for cpu in chosen}
        known = [speed for speed in speeds.values() if speed]
        if known and len(known) == len(chosen):
            return tuple(cpu for cpu in chosen if (speeds[cpu] or 0) >= _SAME_KIND * max(known))
    return tuple(chosen)


def _is_slow_kind(cpu: int, root: Path) -> bool:
    folder = root / _CPUS / f"cpu{cpu}"
    kinds = (files.text(folder / name) or "" for name in ("topology/core_type", "core_type"))
    return any(re.search(r"atom|effic|lowpower|little", kind.lower()) for kind in kinds)


def physical_cores(root: Path, cpus: Collection[int]) -> int:
    """Count the physical cores of the given logical CPUs.

    If the topology is unknown, each logical CPU counts as a core.
    """
    from_cpuinfo = _cores_in_cpuinfo(root)
    return len({siblings(cpu, root) or from_cpuinfo.get(cpu) or (cpu,) for cpu in cpus})


def siblings(cpu: int, root: Path) -> tuple[int, ...]:
    """Return the logical CPUs of that one's core, itself included; empty if unknown."""
    return files.cpu_list(root / _CPUS / f"cpu{cpu}/topology/thread_siblings_list")


def _cores_in_cpuinfo(root: Path) -> dict[int, tuple[str, str]]:
    """Return (package, core) of each logical CPU from `/proc/cpuinfo` of x86."""
    cores = {}
    for block in (files.text(root / "proc/cpuinfo") or "").split("\n\n"):
        fields = dict(_CORE_FIELDS.findall(block))
        if len(fields) == 3:
            cores[int(fields["processor"])] = (fields["physical id"], fields["core id"])
    return cores


def sockets(root: Path) -> int | None:
    """Count the CPU packages."""
    packages = {
        files.text(path / "topology/physical_package_id")
        for _, path in files.numbered(root / _CPUS, "cpu")
    } - {None}
    packages = packages or {package for package, _ in _cores_in_cpuinfo(root).values()}
    return len(packages) or None


def caches(root: Path) -> dict[str, int | None]:
    """Return the sizes of the caches of the first logical CPU, in KiB."""
    found: dict[str, int | None] = {"l1d_kib": None, "l2_kib": None, "l3_kib": None}
    for _, index in files.numbered(root / _CPUS / "cpu0/cache", "index"):
        kind, level = files.text(index / "type"), files.number(index / "level")
        name = f"l{level}d_kib" if level == 1 else f"l{level}_kib"
        if kind in ("Data", "Unified") and name in found:
            found[name] = kib(files.text(index / "size") or "")
    return found


def kib(size: str) -> int | None:
    """Return `1280K` or `36M` in KiB."""
    match = re.fullmatch(r"(\d+)([KMG]?)", size)
    return round(int(match[1]) * _KIB[match[2]]) if match else None


def numa_nodes(root: Path) -> list[dict[str, Any]]:
    """Return the memory nodes with their CPUs and memory."""
    return [
        {
            "node": node,
            "cpus": list(files.cpu_list(path / "cpulist")),
            "memory_gib": files.memory_gib(path / "meminfo"),
        }
        for node, path in files.numbered(root / "sys/devices/system/node", "node")
    ]
