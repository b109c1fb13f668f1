"""Where workers run: the CPUs they are bound to, and the environment they all share.

Every worker gets the same threads, affinity and variables, whatever it runs: a difference here
would be measured as if it were the backend's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import WorkerError
from bench.scenarios import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The kernel's list format: `0-3,8` is (0, 1, 2, 3, 8).

    Raises:
        ValueError: the text is not in that format.
    """
    cpus: list[int] = []
    for part in text.strip().split(","):
        if not part:
            continue
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return tuple(cpus)


def worker_cpus(allowed: Collection[int], root: Path = Path("/")) -> tuple[int, ...]:
    """One logical CPU for each physical core, within the one NUMA node that has most of them.

    Two threads of one core share its vector units, so a second one adds noise and no speed; memory
    of another node is slower. Where the topology cannot be read, `allowed` is returned whole.
    """
    nodes = _nodes(root) or [tuple(allowed)]
    by_node = [_one_per_core(sorted(set(node) & set(allowed)), root) for node in nodes]
    best = max(by_node, key=len, default=())
    return best or tuple(sorted(allowed))


def _nodes(root: Path) -> list[tuple[int, ...]]:
    nodes = []
    for path in sorted(root.glob("sys/devices/system/node/node[0-9]*/cpulist")):
        with suppress(OSError, ValueError):
            nodes.append(parse_cpu_list(path.read_text()))
    return [node for node in nodes if node]


def _one_per_core(cpus: Collection[int], root: Path) -> tuple[int, ...]:
    chosen: dict[tuple[int, ...], int] = {}
    for cpu in cpus:
        siblings: tuple[int, ...] = (cpu,)
        path = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        with suppress(OSError, ValueError):
            siblings = parse_cpu_list(path.read_text()) or (cpu,)
        chosen.setdefault(siblings, cpu)
    return tuple(chosen.values())


def worker_environment(
    threads: int, cache: Path, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables of every worker: the user's own, with those that decide speed set alike.

    `cache` holds what Inductor compiles, fresh for each run, so that first calls are cold once and
    the user's own cache is never touched. The heap is kept (`kept_heap`): what a process would
    give back, and fault in again, is otherwise the largest difference between two of the same code.
    """
    environment = dict(os.environ if base is None else base)
    environment.update(
        kept_heap(environment),
        OMP_NUM_THREADS=str(threads),
        MKL_NUM_THREADS=str(threads),
        # With triton installed, importing Inductor would start a pool that burns seconds of CPU.
        TORCH_WARM_POOL="0",
        TORCHINDUCTOR_COMPILE_THREADS="1",
        TORCHINDUCTOR_CACHE_DIR=str(cache),
        # Workers must never reach for a hub.
        HF_HUB_OFFLINE="1",
        PYTHONUNBUFFERED="1",
        PYTHONWARNINGS="default",
    )
    return environment


_KEPT_HEAP = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4611686018427387904"
"""Large blocks come from the heap too, and its free top is never given back to the kernel."""


def kept_heap(base: Mapping[str, str]) -> dict[str, str]:
    """The variables with which a process of glibc keeps the memory that it has freed.

    As glibc ships, a model's activations go back to the kernel and are faulted in again page by
    page in every call, and where a process's blocks happen to lie decides how many: of sixteen
    processes of stock default at batch 1 on the 2-core EPYC guest twelve faulted 6,240 pages a call
    and four 15,648 or 23,456, and those were 5 to 11 % slower. With this none faults any, and what
    processes differ by was too small to be told from noise.
    """
    own = base.get("GLIBC_TUNABLES")
    if keeps_heap(own):
        return {}
    return {"GLIBC_TUNABLES": f"{own}:{_KEPT_HEAP}" if own else _KEPT_HEAP}


def keeps_heap(tunables: str | None) -> bool:
    """Whether that value of GLIBC_TUNABLES has what `kept_heap` sets."""
    return set(_KEPT_HEAP.split(":")) <= set((tunables or "").split(":"))


def allowed_cpus() -> tuple[int, ...]:
    """The logical CPUs that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def first_cpus(cpus: tuple[int, ...], count: int | None) -> tuple[int, ...]:
    """As many of the CPUs as there are threads.

    Raises:
        WorkerError: there are fewer; more threads than cores would be measured as if it were speed.
    """
    if count is None:
        return cpus
    if count > len(cpus):
        raise WorkerError(
            Status.UNAVAILABLE,
            f"{count} threads need as many physical cores of one node, and {len(cpus)} are free",
        )
    return cpus[:count]
