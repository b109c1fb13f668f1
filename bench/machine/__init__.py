"""Describe this machine: CPU, instruction sets, topology, limits, host and software.

    here = describe()
    print(render(here))

`describe` leaves out what a host does not tell. Its result is the `machine` object of a run's
environment.json. Nothing here uses the network, and torch is imported in separate processes only.
`worker_settings` has what every worker gets from this machine: its CPUs and environment variables.
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
from bench.machine import files, host, software, topology
from bench.machine import frameworks as libraries
from bench.machine.cpu import bf16_native
from bench.machine.text import render, spell_cpus
from pillqc import limits

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


def describe(root: Path = Path("/"), *, frameworks: bool = True) -> dict[str, Any]:
    """Describe the machine: CPU, cores, caches, memory, host, software.

    Args:
        root: the folder of `/proc` and `/sys`.
        frameworks: whether to query torch and IPEX too, which takes seconds.
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
        "frameworks": libraries.frameworks(sys.executable) if frameworks else {},
    }
    machine["notes"] = _notes(cpu, machine)
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
    from bench.machine.worker_settings import worker_cpus

    online = topology.online_cpus(root)
    affinity = topology.affinity(root)
    fast = topology.fast_cpus(affinity, root)
    return {
        "physical_cores": topology.physical_cores(root, online) or None,
        "logical_cores": len(online) or None,
        "sockets": topology.sockets(root),
        "usable_physical_cores": limits.within_quota(
            topology.physical_cores(root, fast) or 1, root
        ),
        "usable_logical_cores": limits.within_quota(len(fast) or 1, root),
        "affinity": list(affinity),
        "slow_cpus": sorted({*affinity} - {*fast}),
        "worker_cpus": list(worker_cpus(affinity, root)),
        "cgroup_cpu_limit": limits.cpu_limit(root),
    }


def _host_facts(root: Path, cpu: Cpu) -> dict[str, Any]:
    total, allowed = files.memory_gib(root / "proc/meminfo"), limits.memory_limit(root)
    limit = None if allowed is None else round(allowed / 2**30, 2)
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


def _notes(cpu: Cpu, machine: Mapping[str, Any]) -> list[str]:
    """Return sentences that a reader of the results must know."""
    found = cpus.notes(cpu, machine["instance_type"])
    if machine["slow_cpus"]:
        found.append(
            "The cores are of unequal speed, and threads on fast ones would wait for the slow: "
            f"workers use none of the slow ones (CPUs {spell_cpus(machine['slow_cpus'])})."
        )
    found += _about_quota(machine["cgroup_cpu_limit"], len(machine["affinity"]))
    found += _about_variables(machine["env"])
    if machine["memory_limit_gib"] is not None:
        found.append(f"A control group limits memory to {machine['memory_limit_gib']:g} GiB.")
    if machine["governor"] not in (None, "performance"):
        found.append(
            f"The clock governor is {machine['governor']}: clock speed follows the load, so expect "
            "slower first rounds."
        )
    return found


def _about_quota(limit: float | None, seen: int) -> list[str]:
    """Return what a CPU quota of the control groups means for figures."""
    if limit is None or limit >= seen:
        return []
    effect = "workers have as many threads as it carries, since more would be stopped in part"
    if limit < 1:
        effect = (
            f"even one thread is stopped {1 - limit:.0%} of the time, and every time that is "
            "measured on this machine is longer by that"
        )
    start = f"A control group allows {limit:g} CPUs' worth of time although {seen} can be seen"
    return [f"{start}: {effect}."]


def _about_variables(env: Mapping[str, str]) -> list[str]:
    """Return which variables of this shell workers do not get."""
    names = [name for name in software.steering(env) if name not in software.SET_FOR_WORKERS]
    return [f"Set in this shell and not passed on to workers: {', '.join(names)}."] if names else []


def fingerprint(machine: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that are equal for machines whose speedups may be compared.

    They cover what decides a ratio of two ways of running one model: the CPU's name and numbers,
    its instruction sets, the usable cores, the caches and the instance type. Packages, settings and
    memory are compared separately.
    """
    facts = {name: machine.get(name) for name in _FINGERPRINTED}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def run_name(machine: Mapping[str, Any]) -> str:
    """Return a short name that is safe in file names: `m6i.4xlarge`, else `amd-epyc-2c`."""
    instance = machine.get("instance_type")
    if instance:
        return _safe(str(instance))
    model = _NOISE_IN_NAMES.sub(" ", str(machine.get("cpu_model") or "unknown"))
    cores = machine.get("usable_physical_cores")
    return _safe(model)[:_LONGEST_NAME].strip("-.") + (f"-{cores}c" if cores else "")


def _safe(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "unknown"
