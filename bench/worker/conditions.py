"""Under which conditions a worker really ran, read back from the process itself.

What was asked of a launcher and what a process got differ silently: preloaded libraries are found
by exact file name or not at all. So the allocator and the OpenMP runtimes come from the worker's
own memory map, the rest from its own environment and settings. The allocator alone is worth more
than IPEX's whole gain; workers that differ in it must not be compared: `differences` tells.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.machine.software import STEERING
from pillqc.limits import cpu_limit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

RECORDED = re.compile(
    f"{STEERING.pattern}|LD_LIBRARY_PATH|CUDA_VISIBLE_DEVICES|CC|CXX|TZ|LANG|LC_ALL"
)
"""Environment variables worth keeping beside a result."""

_ALLOCATORS = {
    "tcmalloc": re.compile(r"libtcmalloc"),
    "jemalloc": re.compile(r"libjemalloc"),
    "mimalloc": re.compile(r"libmimalloc"),
}
_OPENMP = re.compile(r"lib(gomp|iomp5|omp)(?=[-.])")
DIFFERS = "differs"
"""Key of environment.json's `workers`: what was found unlike stock default's in any launch."""
_PER_WORKER = ("TORCHINDUCTOR_CACHE_DIR",)
"""Variables that differ from worker to worker by design."""


def read(root: Path = Path("/")) -> dict[str, Any]:
    """The conditions of this process; a value that the host does not tell is None."""
    maps = _text(root / "proc/self/maps") or ""
    environment = recorded(os.environ)
    return {
        "threads": _threads(),
        "allocator": allocator(maps),
        "openmp": openmp(maps),
        "wait_policy": wait_policy(environment),
        "affinity": _affinity(),
        "cpu_quota": cpu_limit(root),
        "thp": chosen(_text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        "denormals_flushed": denormals_flushed(),
        "env": environment,
    }


def allocator(maps: str) -> str:
    """Which allocator serves `malloc`: a known one that is mapped, else the C library's."""
    libraries = _libraries(maps)
    for name, pattern in _ALLOCATORS.items():
        if any(pattern.match(library) for library in libraries):
            return name
    return "musl" if any("musl" in library for library in libraries) else "glibc"


def openmp(maps: str) -> list[str]:
    """Every OpenMP runtime that is mapped, by file name; two at once contend for the same cores."""
    return sorted(library for library in _libraries(maps) if _OPENMP.match(library))


def _libraries(maps: str) -> set[str]:
    """File names of everything mapped; the sixth field of a line is the path, if there is one."""
    fields = (line.split(maxsplit=5) for line in maps.splitlines())
    return {Path(field[5].strip()).name for field in fields if len(field) == 6}


def wait_policy(environment: Mapping[str, str]) -> str:
    """How OpenMP threads wait between regions, as far as the environment says."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    said = [f"{name}={environment[name]}" for name in names if name in environment]
    return ", ".join(said) or "default"


def recorded(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables worth keeping, sorted."""
    return {name: environment[name] for name in sorted(environment) if RECORDED.fullmatch(name)}


def chosen(text: str | None) -> str | None:
    """`madvise` of the kernel's `always [madvise] never`."""
    found = re.search(r"\[(\w+)\]", text or "")
    return found.group(1) if found else None


def denormals_flushed() -> bool:
    """Whether this thread flushes denormal numbers to zero: tried, not asked."""
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
    """What differs between two workers' conditions, a sentence each; empty when comparable.

    `allowed` are conditions and environment variables that a scenario varies on purpose.

    OpenMP runtimes are compared by which they are and how many: one that is mapped besides the
    first has threads of its own, but the same one under another package's file name is the same.
    Between environments (not `same_packages`) they are not compared: PyTorch brings its own along,
    so it is part of what the environments are compared for. All else is ours to keep alike.
    """
    ours = ("threads", "allocator", "wait_policy", "affinity", "cpu_quota", "thp")
    found = [
        f"{name}: {one.get(name)} against {other.get(name)}"
        for name in (*ours, *(("openmp",) if same_packages else ()))
        if name not in allowed
        and _comparable(name, one.get(name)) != _comparable(name, other.get(name))
    ]
    if one.get("denormals_flushed") != other.get("denormals_flushed"):
        found.append("denormals are flushed to zero in one of them only")
    left, right = one.get("env") or {}, other.get("env") or {}
    names = sorted({*left, *right} - {*_PER_WORKER, *allowed})
    found += [
        f"{name}: {left.get(name, 'unset')} against {right.get(name, 'unset')}"
        for name in names
        if left.get(name) != right.get(name)
    ]
    return found


def unequal(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Scenario -> why it may not be compared, from the `workers` of a run's environment.json."""
    return {
        scenario: f"its worker ran under other conditions than stock default's: {'; '.join(found)}"
        for scenario, kept in workers.items()
        if (found := kept.get(DIFFERS))
    }


def _comparable(name: str, value: object) -> object:
    if name != "openmp" or not isinstance(value, list):
        return value
    return sorted(match.group(1) for library in value if (match := _OPENMP.match(str(library))))


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _affinity() -> list[int] | None:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
