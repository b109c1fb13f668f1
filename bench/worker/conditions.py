"""Read from the process itself the conditions that a worker really runs under.

They can differ silently from what the launcher set: a preloaded library that is not found by its
exact file name is skipped. So the allocator and the OpenMP runtimes come from the process's memory
map, the rest from its environment and settings. The allocator alone can be worth more than IPEX's
whole gain, so workers with different conditions must not be compared (`differences`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.machine import files
from bench.machine.software import STEERING
from pillqc.limits import cpu_limit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

RECORDED = re.compile(
    f"{STEERING.pattern}|LD_LIBRARY_PATH|CUDA_VISIBLE_DEVICES|CC|CXX|TZ|LANG|LC_ALL"
)
"""Environment variables that are stored with a result."""

_ALLOCATORS = {
    "tcmalloc": re.compile(r"libtcmalloc"),
    "jemalloc": re.compile(r"libjemalloc"),
    "mimalloc": re.compile(r"libmimalloc"),
}
_OPENMP = re.compile(r"lib(gomp|iomp5|omp)(?=[-.])")
DIFFERS = "differs"
"""Key of environment.json's `workers`: differences from stock default's worker in any launch."""
_PER_WORKER = ("TORCHINDUCTOR_CACHE_DIR",)
"""Variables that every worker has its own value of, by design."""


def read(root: Path = Path("/")) -> dict[str, Any]:
    """Return the conditions of this process; a value that the host does not show is None."""
    import torch

    from bench.worker import fpmath

    maps = files.text(root / "proc/self/maps") or ""
    environment = recorded(os.environ)
    return {
        "threads": torch.get_num_threads(),
        "allocator": allocator(maps),
        "openmp": openmp(maps),
        "wait_policy": wait_policy(environment),
        "affinity": affinity(),
        "cpu_quota": cpu_limit(root),
        "thp": chosen(files.text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        "denormals_flushed": denormals_flushed(),
        "fpmath": fpmath.allowed(),
        "env": environment,
    }


def allocator(maps: str) -> str:
    """Return the allocator behind `malloc`: a known one that is mapped, else the C library's."""
    libraries = _libraries(maps)
    for name, pattern in _ALLOCATORS.items():
        if any(pattern.match(library) for library in libraries):
            return name
    return "musl" if any("musl" in library for library in libraries) else "glibc"


def openmp(maps: str) -> list[str]:
    """Return the file names of all mapped OpenMP runtimes; two contend for the same cores."""
    return sorted(library for library in _libraries(maps) if _OPENMP.match(library))


def _libraries(maps: str) -> set[str]:
    """Return the file names of all mappings; the sixth field of a line is the path, if any."""
    fields = (line.split(maxsplit=5) for line in maps.splitlines())
    return {Path(field[5].strip()).name for field in fields if len(field) == 6}


def wait_policy(environment: Mapping[str, str]) -> str:
    """Return how OpenMP threads wait between regions, as the environment sets it."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    found = [f"{name}={environment[name]}" for name in names if name in environment]
    return ", ".join(found) or "default"


def recorded(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to store, sorted."""
    return {name: environment[name] for name in sorted(environment) if RECORDED.fullmatch(name)}


def chosen(text: str | None) -> str | None:
    """Return `madvise` of the kernel's `always [madvise] never`."""
    found = re.search(r"\[(\w+)\]", text or "")
    return found.group(1) if found else None


def denormals_flushed() -> bool:
    """Try whether this thread flushes denormal numbers to zero."""
    import torch

    smallest_normal = torch.tensor(torch.finfo(torch.float32).tiny)
    return bool((smallest_normal * 0.5).item() == 0.0)


def differences(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    *,
    same_packages: bool = True,
    allowed: Collection[str] = (),
) -> list[str]:
    """Return what differs between two workers' conditions, a sentence each; empty if comparable.

    `allowed` are conditions and environment variables that a scenario varies on purpose.

    OpenMP runtimes are compared by kind and number, not by file name: packages rename the runtime
    that they bring, and a second one has its own threads. Between environments (`same_packages`
    false) they are not compared, because PyTorch brings one, so it is part of the environment.
    """
    names = ("threads", "allocator", "wait_policy", "affinity", "cpu_quota", "thp", "fpmath")
    found = [
        f"{name}: {one.get(name)} against {other.get(name)}"
        for name in (*names, *(("openmp",) if same_packages else ()))
        if name not in allowed
        and _comparable(name, one.get(name)) != _comparable(name, other.get(name))
    ]
    if one.get("denormals_flushed") != other.get("denormals_flushed"):
        found.append("denormals are flushed to zero in one of them only")
    left, right = one.get("env") or {}, other.get("env") or {}
    found += [
        f"{name}: {left.get(name, 'unset')} against {right.get(name, 'unset')}"
        for name in sorted({*left, *right} - {*_PER_WORKER, *allowed})
        if left.get(name) != right.get(name)
    ]
    return found


def unequal(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Map scenarios to why they may not be compared, from environment.json's `workers`."""
    return {
        scenario: f"its worker ran under other conditions than stock default's: {'; '.join(found)}"
        for scenario, kept in workers.items()
        if (found := kept.get(DIFFERS))
    }


def _comparable(name: str, value: object) -> object:
    if name != "openmp" or not isinstance(value, list):
        return value
    return sorted(match.group(1) for library in value if (match := _OPENMP.match(str(library))))


def affinity() -> list[int] | None:
    """Return the CPUs that this process may run on; None where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
