"""Describe the machine and the workers' settings of a run in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.store.metadata import MachineFacts
from bench.text.wording import count, digits
from bench.worker import conditions

if TYPE_CHECKING:
    from bench.analysis.run_facts import Facts
    from bench.store.metadata import PeakFacts

_ISA_NAMES = {
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "AVX512_BF16",
    "avx512_fp16": "AVX512_FP16",
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
    "amx_fp16": "AMX fp16",
}
_MACHINE = {
    "instance_type": "Instance type",
    "cpu_model": "CPU",
    "vendor": "Vendor",
    "sockets": "Sockets",
    "physical_cores": "Physical cores",
    "logical_cores": "Logical cores",
    "usable_physical_cores": "Usable physical cores",
    "usable_logical_cores": "Usable logical cores",
    "cgroup_cpu_limit": "CPU limit of the container",
    "memory_total_gib": "Memory, GiB",
    "memory_limit_gib": "Memory limit, GiB",
    "governor": "Frequency governor",
    "turbo": "Turbo",
    "virtualization": "Virtualisation",
    "container": "Container",
    "os": "Operating system",
    "kernel": "Kernel",
    "libc": "C library",
    "transparent_huge_pages": "Transparent huge pages",
    "fingerprint": "Fingerprint",
}
_CACHES = {"l1d_kib": "L1d", "l2_kib": "L2", "l3_kib": "L3"}
_SETTINGS = {
    "threads": "Threads",
    "allocator": "Allocator",
    "openmp": "OpenMP runtime",
    "openmp_beside": "OpenMP runtimes of other packages",
    "wait_policy": "OpenMP wait policy",
    "affinity": "Bound to CPUs",
    "thp": "Transparent huge pages",
    "denormals_flushed": "Denormals flushed",
    "env": "Environment variables",
}


def in_one_line(facts: Facts) -> str:
    """Return `m6i.4xlarge · Xeon 8375C · 8 of 8 cores · AVX-512, VNNI · bf16 emulated`."""
    machine = facts.metadata.machine
    if machine == MachineFacts():
        return "The run does not say which machine it ran on."
    parts = (
        machine.instance_type,
        machine.cpu_model,
        _cores(machine),
        _instruction_sets(machine),
        {True: "bf16 native", False: "bf16 emulated", None: "bf16 unknown"}[facts.native_bf16],
        machine.virtualization,
    )
    return " · ".join(part for part in parts if part)


def _instruction_sets(machine: MachineFacts) -> str:
    if not machine.isa:
        return ""
    names = [name for flag, name in _ISA_NAMES.items() if machine.isa.get(flag)]
    return ", ".join(names) or ("AVX2" if machine.isa.get("avx2") else "no AVX2")


def _cores(machine: MachineFacts) -> str:
    usable, physical = machine.usable_physical_cores, machine.physical_cores
    logical = machine.usable_logical_cores
    if usable is None:
        return ""
    cores = count(usable, "core")
    if physical is not None and physical > usable:
        cores = f"{usable} of {count(physical, 'core')}"
    return f"{cores} ({logical} logical)" if logical is not None else cores


def no_price(facts: Facts) -> str:
    """Say why the machine has no price, and what would give it one."""
    name = facts.priced_as
    if not name:
        return "No price can be found: environment.json names neither instance type nor CPU."
    return f"No price is known for {name}: give a table of yours with --prices FILE."


def described(facts: Facts) -> list[tuple[str, str]]:
    """Return everything that the run knows of the machine, as labels and values."""
    machine = facts.metadata.machine
    family = [plain(part) for part in (machine.family, machine.model, machine.stepping)]
    pairs = [
        *((label, plain(getattr(machine, key))) for key, label in _MACHINE.items()),
        ("Has", ", ".join(name for name, has in machine.isa.items() if has)),
        ("Lacks", ", ".join(name for name, has in machine.isa.items() if not has)),
        ("Family / model / stepping", " / ".join(family) if all(family) else ""),
        ("Caches", _caches(machine)),
        ("NUMA nodes", str(len(machine.numa_nodes) or "")),
        ("Measured peak", _peaks(facts.metadata.peak)),
        ("Frameworks", _frameworks(machine)),
    ]
    return [(label, value) for label, value in pairs if value]


def _caches(machine: MachineFacts) -> str:
    known = {name: machine.caches[key] for key, name in _CACHES.items() if key in machine.caches}
    return ", ".join(f"{name} {size:,} KiB" for name, size in known.items())


def _peaks(peak: PeakFacts) -> str:
    peaks = [f"{digits(value)} GFLOP/s in {name}" for name, value in peak.gflop_per_s.items()]
    if peak.memory_gb_per_s is not None:
        peaks.append(f"{digits(peak.memory_gb_per_s)} GB/s from memory")
    return ", ".join(peaks)


def _frameworks(machine: MachineFacts) -> str:
    named = {
        name: ", ".join(word for word in (one.version, one.isa, one.unavailable) if word)
        for name, one in machine.frameworks.items()
    }
    return "; ".join(f"{name}: {words}" for name, words in named.items() if words)


def plain(value: object) -> str:
    """Return any JSON value as people read it; None and empty values are empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return digits(value)
    if isinstance(value, dict):
        named = {key: plain(item) for key, item in value.items()}
        return ", ".join(f"{key} {text}" for key, text in named.items() if text)
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    return str(value)


def shared_settings(facts: Facts) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the first worker's settings, and a sentence for each difference of another worker.

    A worker that never started, for lack of budget or of its package, is left out.
    """
    named = facts.metadata.workers.values()
    workers = [one for one in named if one.get("threads") is not None]
    if not workers:
        return [], []
    first = workers[0]
    differing = dict.fromkeys(
        f"Workers differ, so compare with care: {difference}."
        for other in workers[1:]
        for difference in conditions.differences(first, other)
    )
    # Paths say nothing about speed, and something about the user.
    shown = {key: value for key, value in first.items() if key != "packages"}
    if isinstance(env := first.get("env"), dict):
        shown["env"] = {key: str(value) for key, value in env.items() if "/" not in str(value)}
    settings = [(_SETTINGS.get(key, key), plain(value)) for key, value in shown.items()]
    return [(name, value) for name, value in settings if value], list(differing)
