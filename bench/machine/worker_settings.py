"""Choose the CPUs that workers are bound to, and set the variables that all of them share.

Every worker gets the same threads, affinity and variables: a difference would be measured as if it
were the backend's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.machine import plain_paths, software, topology
from pillqc.limits import cpu_limit, within_quota

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def worker_cpus(allowed: Collection[int], root: Path = Path("/")) -> tuple[int, ...]:
    """Return one logical CPU of each fast physical core of the NUMA node that has most of them.

    Two threads of one core share its vector units, so a second one adds noise and no speed; memory
    of another node is slower; threads on fast cores wait for those on slow ones; and more threads
    than a CPU quota carries are stopped part of the time. If the topology is unknown, every CPU of
    `allowed` counts as a core.
    """
    fast = set(topology.fast_cpus(allowed, root))
    nodes = [node["cpus"] for node in topology.numa_nodes(root)] or [fast]
    by_node = [_one_per_core(sorted(fast.intersection(node)), root) for node in nodes]
    best = max(by_node, key=len, default=()) or tuple(sorted(fast))
    return best[: within_quota(len(best), root)]


def _one_per_core(cpus: Collection[int], root: Path) -> tuple[int, ...]:
    chosen: dict[tuple[int, ...], int] = {}
    for cpu in cpus:
        chosen.setdefault(topology.siblings(cpu, root) or (cpu,), cpu)
    return tuple(chosen.values())


def chosen_cpus(threads: int | None, root: Path = Path("/")) -> tuple[int, ...]:
    """Return the CPUs of every worker: this machine's `worker_cpus`, or `threads` of them.

    Raises:
        UsageError: there are fewer; more threads than cores would be measured as if it were speed.
    """
    cpus = worker_cpus(topology.affinity(root), root)
    if threads is not None and threads > len(cpus):
        limit = cpu_limit(root)
        quota = f" (a control group allows {limit:g} CPUs' worth of time)" if limit else ""
        raise UsageError(
            f"{threads} threads need as many fast physical cores of one node, and "
            f"{len(cpus)} can be used here{quota}: give fewer with --threads"
        )
    return cpus[:threads]


def worker_environment(
    threads: int, cache: Path, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables of every worker: the user's, those that decide speed set or cleared.

    Variables that steer OpenMP, oneDNN, MKL, ATen, the allocator or the loader
    (`software.STEERING`) are not passed on: two threads that the shell binds to one CPU would be
    measured as if they were the backend's. `cache` is for what Inductor compiles, new for each run,
    so that first calls are cold once and the user's own cache stays untouched. The heap is kept
    (`kept_heap`).
    """
    environment = software.unsteered(os.environ if base is None else base)
    cache = plain_paths.plain(cache)
    environment.update(
        kept_heap(environment),
        OMP_NUM_THREADS=str(threads),
        MKL_NUM_THREADS=str(threads),
        # With triton installed, importing Inductor would start a pool that burns seconds of CPU.
        TORCH_WARM_POOL="0",
        TORCHINDUCTOR_COMPILE_THREADS="1",
        TORCHINDUCTOR_CACHE_DIR=str(cache),
        # A worker is ended by a signal, so what torch puts there goes with the cache.
        TMPDIR=str(cache / "tmp"),
        # Workers must never reach for a hub.
        HF_HUB_OFFLINE="1",
        PYTHONUNBUFFERED="1",
        PYTHONWARNINGS="default",
    )
    return environment


_KEPT_HEAP = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4611686018427387904"
"""Large blocks come from the heap too, and its free top is never returned to the kernel."""


def kept_heap(base: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which glibc keeps the memory that a process frees.

    As glibc ships, a model's activations go back to the kernel and are faulted in again page by
    page in every call; the heap layout of a process decides how many pages. Of sixteen processes of
    stock default at batch 1 on the 2-core EPYC guest twelve faulted 6,240 pages a call and four
    15,648 or 23,456, and those were 5 to 11 % slower. With these variables none faults any, and the
    differences between processes are lost in noise.
    """
    own = base.get("GLIBC_TUNABLES")
    if keeps_heap(own):
        return {}
    return {"GLIBC_TUNABLES": f"{own}:{_KEPT_HEAP}" if own else _KEPT_HEAP}


def keeps_heap(tunables: str | None) -> bool:
    """Return whether that value of GLIBC_TUNABLES has what `kept_heap` sets."""
    return set(_KEPT_HEAP.split(":")) <= set((tunables or "").split(":"))
