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

from bench.machine import files, host
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
_BROUGHT_BY = re.compile(r"/([^/]+)\.libs/[^/]+$")
"""The package into whose folder its wheel put a library of its own, under a name of its own."""
_COMPUTE = ("torch", "intel_extension_for_pytorch", "zentorch", "openvino", "onnxruntime")
"""Packages that compute what is timed."""
_INTEL_OR_LLVM = frozenset({"iomp5", "omp"})
"""The OpenMP runtimes that read the variables KMP_*."""
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
        "openmp_beside": openmp_beside(maps),
        "wait_policy": wait_policy(environment),
        "affinity": sorted(os.sched_getaffinity(0)),
        "cpu_quota": cpu_limit(root),
        "thp": host.transparent_huge_pages(root),
        "denormals_flushed": denormals_flushed(),
        "fpmath": fpmath.allowed(),
        "env": environment,
    }


def allocator(maps: str) -> str:
    """Return the allocator behind `malloc`: a known one that is mapped, else the C library's."""
    libraries = {Path(path).name for path in _mapped(maps)}
    for name, pattern in _ALLOCATORS.items():
        if any(pattern.match(library) for library in libraries):
            return name
    return "musl" if any("musl" in library for library in libraries) else "glibc"


def openmp(maps: str) -> list[str]:
    """Return the file names of the OpenMP runtimes that may serve PyTorch and its backends.

    Two of them contend for the same cores.
    """
    return [name for name, package in _openmp_runtimes(maps) if not package]


def openmp_beside(maps: str) -> list[str]:
    """Return the OpenMP runtimes that other packages brought for themselves, each with its package.

    IPEX imports transformers where that is installed, and so scikit-learn with its own runtime.
    Only that package calls it, and it has no threads before it is called.
    """
    return [f"{name} of {package}" for name, package in _openmp_runtimes(maps) if package]


def _openmp_runtimes(maps: str) -> list[tuple[str, str]]:
    """Return (file name, package), without the package where it computes what is timed."""
    found = set()
    for path in _mapped(maps):
        if _OPENMP.match(Path(path).name):
            brought = _BROUGHT_BY.search(path)
            package = brought[1] if brought else ""
            found.add((Path(path).name, "" if package.startswith(_COMPUTE) else package))
    return sorted(found)


def _mapped(maps: str) -> set[str]:
    """Return the paths of all mappings; the sixth field of a line is the path, if any."""
    fields = (line.split(maxsplit=5) for line in maps.splitlines())
    return {field[5].strip() for field in fields if len(field) == 6}


def wait_policy(environment: Mapping[str, str]) -> str:
    """Return how OpenMP threads wait between regions, as the environment sets it."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    found = [f"{name}={environment[name]}" for name in names if name in environment]
    return ", ".join(found) or "default"


def recorded(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to store, sorted."""
    return {name: environment[name] for name in sorted(environment) if RECORDED.fullmatch(name)}


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
    Variables KMP_* count where Intel's or LLVM's runtime is there to read them: scikit-learn sets
    two of them in its own process, for a runtime that it does not load.
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
    left, right = _read_variables(one), _read_variables(other)
    found += [
        f"{name}: {left.get(name, 'unset')} against {right.get(name, 'unset')}"
        for name in sorted({*left, *right} - {*_PER_WORKER, *allowed})
        if left.get(name) != right.get(name)
    ]
    return found


def _read_variables(one: Mapping[str, Any]) -> dict[str, str]:
    """Return a worker's variables, without those that no runtime of it reads."""
    is_read = not _INTEL_OR_LLVM.isdisjoint(_kinds(one.get("openmp")))
    variables: Mapping[str, str] = one.get("env") or {}
    return {name: text for name, text in variables.items() if is_read or name[:4] != "KMP_"}


def unequal(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Map scenarios to why they may not be compared, from environment.json's `workers`."""
    return {
        scenario: f"its worker ran under other conditions than stock default's: {'; '.join(found)}"
        for scenario, kept in workers.items()
        if (found := kept.get(DIFFERS))
    }


def _comparable(name: str, value: object) -> object:
    return _kinds(value) if name == "openmp" and isinstance(value, list) else value


def _kinds(runtimes: object) -> list[str]:
    """Return the kinds of OpenMP runtimes by their file names, sorted."""
    names = runtimes if isinstance(runtimes, list) else []
    return sorted(match[1] for name in names if (match := _OPENMP.match(str(name))))
