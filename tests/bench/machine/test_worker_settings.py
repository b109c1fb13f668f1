"""Where workers run: one CPU a core, one node, and the same variables for all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.machine.files import numbered, parse_cpu_list
from bench.machine.worker_settings import (
    chosen_cpus,
    keeps_heap,
    kept_heap,
    worker_cpus,
    worker_environment,
)
from tests.fake_files import write, write_all
from tests.fresh_process import python

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


M6I = [[n, n + 8] for n in range(8)]
"""16 vCPUs are 8 cores with two threads each: CPU n and n + 8."""
QUOTA = "sys/fs/cgroup/cpu.max"


@pytest.mark.parametrize(
    ("cores", "nodes", "allowed", "quota", "chosen"),
    [
        (M6I, ["0-15"], range(16), "max 100000", (0, 1, 2, 3, 4, 5, 6, 7)),
        (M6I, ["0-15"], {3, 9, 11}, "max 100000", (3, 9)),  # one of them by its sibling
        ([[n] for n in range(6)], ["0-1", "2-5"], range(6), "max 100000", (2, 3, 4, 5)),
        (M6I, ["0-15"], range(16), "250000 100000", (0, 1)),  # `docker --cpus 2.5`
        (M6I, ["0-15"], range(16), "50000 100000", (0,)),
    ],
)
def test_workers_run_on_physical_cores_of_one_node_that_they_may_use(
    tmp_path: Path,
    cores: list[list[int]],
    nodes: list[str],
    allowed: Collection[int],
    quota: str,
    chosen: tuple[int, ...],
) -> None:
    """On the node with most of them, and on as many as the quota carries."""
    for siblings in cores:
        for cpu in siblings:
            path = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
            write(tmp_path, path, ",".join(map(str, siblings)))
    for number, cpus in enumerate(nodes):
        write(tmp_path, f"sys/devices/system/node/node{number}/cpulist", cpus)
    write(tmp_path, QUOTA, quota)
    assert worker_cpus(allowed, tmp_path) == chosen


@pytest.mark.parametrize(
    ("files", "fast"),
    [
        ({"cpu_capacity": (1024, 1020, 430, 430)}, (0, 1)),
        ({"cpu_capacity": (1024, 900, 900, 430)}, (0,)),
        ({"cpufreq/base_frequency": (2700000, 2100000, 2700000, 2100000)}, (0, 2)),
        ({"cpufreq/cpuinfo_max_freq": (5800000, 5500000, 4300000, 4300000)}, (0, 1)),
        ({"acpi_cppc/nominal_perf": (40, 40, 25, 25)}, (0, 1)),
        ({"topology/core_type": ("intel_core", "intel_core", "intel_atom", "intel_atom")}, (0, 1)),
        (
            {"cpu_capacity": (1024, 1024, 1024, 1024), "cpufreq/cpuinfo_max_freq": (9, 1, 1, 1)},
            None,
        ),
        ({"cpu_capacity": (1024, 430)}, None),
        ({"cpu_capacity": (0, 0, 0, 0)}, None),
    ],
)
def test_cores_of_unequal_speed_are_not_mixed(
    tmp_path: Path, files: dict[str, tuple[object, ...]], fast: tuple[int, ...] | None
) -> None:
    """The first file that differs decides; cores within a tenth are of the same kind."""
    for name, values in files.items():
        for cpu, value in enumerate(values):
            write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/{name}", str(value))
    assert worker_cpus(range(4), tmp_path) == (fast or (0, 1, 2, 3))


def test_efficient_cores_serve_where_there_are_no_others(tmp_path: Path) -> None:
    """`taskset` to them alone is a wish."""
    write(tmp_path, "sys/devices/cpu_atom/cpus", "2-3")
    assert worker_cpus(range(4), tmp_path) == (0, 1)
    assert worker_cpus((2, 3), tmp_path) == (2, 3)


def test_more_threads_than_cores_are_refused(tmp_path: Path) -> None:
    """They would wait for each other, and a quota would stop them; the line says which."""
    write_all(tmp_path, {"proc/self/status": "Cpus_allowed_list:\t0-3", QUOTA: "200000 100000"})
    assert chosen_cpus(None, tmp_path) == chosen_cpus(2, tmp_path) == (0, 1)
    assert chosen_cpus(1, tmp_path) == (0,)
    with pytest.raises(UsageError, match=r"3 threads .* allows 2 CPUs"):
        chosen_cpus(3, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *("GOMP_CPU_AFFINITY", "OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "KMP_BLOCKTIME"),
        *("ONEDNN_VERBOSE", "DNNL_MAX_CPU_ISA", "MKL_DYNAMIC", "MKLDNN_VERBOSE", "TBB_NUM_THREADS"),
        *("ATEN_CPU_CAPABILITY", "TORCH_LOGS", "TORCHINDUCTOR_FREEZING", "TORCHDYNAMO_DISABLE"),
        *("PYTORCH_JIT", "IPEX_VERBOSE", "LD_PRELOAD", "LD_DEBUG", "MALLOC_ARENA_MAX"),
        *("MALLOC_PERTURB_", "PYTHONMALLOC", "PYTHONDEVMODE", "OPENBLAS_NUM_THREADS"),
    ],
)
def test_what_steers_libraries_from_outside_reaches_no_worker(tmp_path: Path, name: str) -> None:
    """It would be measured as if it were the backend's."""
    assert name not in worker_environment(2, tmp_path, {name: "1", "PATH": "/bin"})


def test_what_a_worker_needs_to_start_is_kept(tmp_path: Path) -> None:
    """Where programs, libraries, models and packages lie, and what the loader needs."""
    kept = {"LD_LIBRARY_PATH": "/l", "TORCH_HOME": "/m", "PYTHONPATH": "/p", "CXX": "g++-12"}
    both = kept | {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=9:glibc.malloc.perturb=1"}
    made = worker_environment(2, tmp_path, both)
    assert kept.items() <= made.items()
    assert made["GLIBC_TUNABLES"].startswith("glibc.rtld.optional_static_tls=9:glibc.malloc.mmap")
    assert "perturb" not in made["GLIBC_TUNABLES"]


def test_without_topology_every_allowed_cpu_is_used(tmp_path: Path) -> None:
    """A host that hides sysfs is measured too."""
    assert worker_cpus({4, 5}, tmp_path) == (4, 5)


@given(st.lists(st.integers(0, 200), unique=True, min_size=1))
def test_the_kernels_list_format_reads_back(cpus: list[int]) -> None:
    """Single numbers and ranges, in any order."""
    assert parse_cpu_list(",".join(map(str, cpus))) == tuple(cpus)
    assert parse_cpu_list("0-3,8\n") == (0, 1, 2, 3, 8)


@pytest.mark.parametrize("text", ["a", "-"])
def test_a_list_in_another_format_is_refused(text: str) -> None:
    """Never a guess."""
    with pytest.raises(ValueError, match="invalid literal"):
        parse_cpu_list(text)


def test_numbered_entries_are_those_of_the_prefix(tmp_path: Path) -> None:
    """In the order of their numbers."""
    for name in ("cpu10", "cpu2", "cpu", "cpufreq", "7"):
        (tmp_path / name).mkdir()
    found = [(number, path.name) for number, path in numbered(tmp_path, "cpu")]
    assert found == [(2, "cpu2"), (10, "cpu10")]
    assert numbered(tmp_path / "none", "cpu") == []


def test_what_decides_speed_is_set_and_the_rest_is_the_users(tmp_path: Path) -> None:
    """Threads, Inductor's cache and pool are ours; PATH stays."""
    made = worker_environment(4, tmp_path, {"PATH": "/bin", "OMP_NUM_THREADS": "99"})
    assert made["OMP_NUM_THREADS"] == made["MKL_NUM_THREADS"] == "4"
    assert made["TORCH_WARM_POOL"] == "0"
    assert made["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
    assert made["PATH"] == "/bin"
    assert keeps_heap(made["GLIBC_TUNABLES"])


def test_a_kept_heap_leaves_the_users_own_tunables() -> None:
    """Both are in the one variable that glibc reads."""
    ours = kept_heap({"PATH": "/bin"})
    assert list(ours) == ["GLIBC_TUNABLES"]
    both = kept_heap({"GLIBC_TUNABLES": "glibc.malloc.check=1"})["GLIBC_TUNABLES"]
    assert both.startswith("glibc.malloc.check=1:")
    assert keeps_heap(ours["GLIBC_TUNABLES"])
    assert keeps_heap(both)
    assert kept_heap({"GLIBC_TUNABLES": both}) == {}
    assert not keeps_heap("glibc.malloc.mmap_max=0")
    assert not keeps_heap(None)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="glibc's allocator is Linux's")
def test_a_kept_heap_faults_no_page_twice() -> None:
    """A process that frees and takes 40 MB again and again, as a model does with activations."""
    code = (
        "import resource\n"
        "def take():\n    bytearray(40_000_000)\n"
        "take()\n"
        "before = resource.getrusage(0).ru_minflt\n"
        "for _ in range(5): take()\n"
        "print(resource.getrusage(0).ru_minflt - before)\n"
    )

    def faults(extra: dict[str, str]) -> int:
        base = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
        return int(python("-c", code, env=base | extra).stdout)

    assert faults({}) > 1000
    assert faults(kept_heap({})) < 100
