"""What this machine is: CPU, instruction sets, topology, limits, host and software.

    here = describe()
    print(render(here))

`describe` is made of many small questions, each of which is skipped where a host has no answer. The
result is the `machine` object of a run's environment.json. Nothing here touches the network, and
torch is only ever imported in processes of its own.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.machine import cpu as cpus
from bench.machine import frameworks as asked
from bench.machine import host, limits, software, topology
from bench.machine.cpu import bf16_native
from bench.machine.rendering import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.machine.cpu import Cpu

__all__ = ["bf16_native", "describe", "fingerprint", "render", "run_name"]

_FINGERPRINTED = (
    "cpu_model",
    "vendor",
    "family",
    "model",
    "stepping",
    "isa",
    "usable_physical_cores",
    "usable_logical_cores",
    "caches",
    "instance_type",
)
_NOISE_IN_NAMES = re.compile(
    r"\((r|tm|c)\)|\bcpu\b|\bprocessor\b|@.*|\bwith .*|\b\d+-core\b|\bgen\b|\b\d+th\b",
    re.IGNORECASE,
)
_LONGEST_NAME = 40


def describe(
    root: Path = Path("/"), *, frameworks: bool = True, python: str = sys.executable
) -> dict[str, Any]:
    """Everything about the machine that a reader of its results may ask.

    Args:
        root: where `/proc` and `/sys` are looked for; tests give stored ones.
        frameworks: whether torch and IPEX are asked too, which takes seconds.
        python: the interpreter in which they are asked.
    """
    cpu = cpus.read_cpu(root)
    machine: dict[str, Any] = {
        **_cpu_facts(cpu),
        **_cores(root),
        "caches": topology.caches(root),
        "numa_nodes": topology.numa_nodes(root),
        **_host_facts(root, cpu),
        "packages": software.packages(),
        "env": software.variables(),
        "frameworks": asked.frameworks(python) if frameworks else {},
    }
    machine["notes"] = _notes(root, cpu, machine)
    return {"name": run_name(machine), **machine, "fingerprint": fingerprint(machine)}


def _cpu_facts(cpu: Cpu) -> dict[str, Any]:
    native_by = cpus.native_bf16_by(cpu.isa)
    return {
        "cpu_model": cpu.model_name,
        "vendor": cpu.vendor,
        "family": cpu.family,
        "model": cpu.model,
        "stepping": cpu.stepping,
        "architecture": "aarch64" if cpu.arm else platform.machine(),
        "isa": cpu.isa,
        "native_bf16": bool(native_by),
        "native_bf16_by": native_by,
    }


def _cores(root: Path) -> dict[str, Any]:
    online = topology.online_cpus(root)
    affinity = topology.affinity(root)
    limit = limits.cpu_limit(root)
    # a limit of 1.5 CPUs carries one thread: a second one would be stopped half of the time
    most = max(1, int(limit)) if limit is not None else len(online) or 1
    return {
        "physical_cores": topology.physical_cores(root, online) or None,
        "logical_cores": len(online) or None,
        "sockets": topology.sockets(root),
        "usable_physical_cores": min(topology.physical_cores(root, affinity) or 1, most),
        "usable_logical_cores": min(len(affinity) or 1, most),
        "affinity": list(affinity),
        "cgroup_cpu_limit": limit,
    }


def _host_facts(root: Path, cpu: Cpu) -> dict[str, Any]:
    total, limit = host.memory_total_gib(root), limits.memory_limit_gib(root)
    return {
        "memory_total_gib": total,
        "memory_limit_gib": None if limit is None or (total and limit >= total) else limit,
        "governor": host.governor(root),
        "turbo": host.turbo(root),
        "instance_type": host.instance_type(root),
        "virtualization": host.virtualization(root, cpu),
        "container": host.container(root),
        "os": host.operating_system(root),
        "kernel": host.kernel(root),
        "libc": host.libc(),
        "transparent_huge_pages": host.transparent_huge_pages(root),
    }


def _notes(root: Path, cpu: Cpu, machine: Mapping[str, Any]) -> list[str]:
    """Sentences that a reader of the results must know."""
    found = cpus.notes(cpu, machine["instance_type"])
    if topology.is_hybrid(root):
        found.append(
            "This CPU mixes fast and slow cores: bind the run to cores of one kind (taskset), or "
            "threads wait for the slow ones."
        )
    limit, allowed = machine["cgroup_cpu_limit"], len(machine["affinity"])
    if limit is not None and limit < allowed:
        found.append(
            f"A control group allows {limit:g} CPUs' worth of time although {allowed} can be seen: "
            "more threads than that are stopped part of the time."
        )
    if machine["memory_limit_gib"] is not None:
        found.append(f"A control group limits memory to {machine['memory_limit_gib']:g} GiB.")
    if machine["governor"] not in (None, "performance"):
        found.append(
            f"The clock governor is {machine['governor']}: clock speed follows the load, so expect "
            "slower first rounds."
        )
    return found


def fingerprint(machine: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that are equal where speedups may be compared.

    They cover the CPU's name and numbers, its instruction sets, the usable cores, the caches and
    the instance type: what decides a ratio between two ways of running one model. Packages,
    settings and memory are left out: they are compared by themselves.
    """
    facts = {name: machine.get(name) for name in _FINGERPRINTED}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def run_name(machine: Mapping[str, Any]) -> str:
    """A short name that is safe in file names: `m6i.4xlarge`, else `amd-epyc-2c`."""
    instance = machine.get("instance_type")
    if instance:
        return _safe(str(instance))
    model = _NOISE_IN_NAMES.sub(" ", str(machine.get("cpu_model") or "unknown"))
    cores = machine.get("usable_physical_cores")
    return _safe(model)[:_LONGEST_NAME].strip("-.") + (f"-{cores}c" if cores else "")


def _safe(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "unknown"
