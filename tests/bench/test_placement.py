"""Where workers run: one CPU a core, one node, and the same variables for all."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.placement import keeps_heap, kept_heap, parse_cpu_list, worker_cpus, worker_environment

if TYPE_CHECKING:
    from pathlib import Path


def topology(root: Path, cores: list[list[int]], nodes: list[str]) -> Path:
    """A sysfs with these hyperthread siblings and NUMA nodes."""
    for siblings in cores:
        for cpu in siblings:
            folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(",".join(map(str, siblings)) + "\n")
    for number, cpus in enumerate(nodes):
        folder = root / f"sys/devices/system/node/node{number}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus + "\n")
    return root


def test_an_m6i_4xlarge_runs_on_its_eight_physical_cores(tmp_path: Path) -> None:
    """16 vCPUs are 8 cores with two threads each: CPU n and n + 8."""
    root = topology(tmp_path, [[n, n + 8] for n in range(8)], ["0-15"])
    assert worker_cpus(range(16), root) == (0, 1, 2, 3, 4, 5, 6, 7)


def test_affinity_is_respected(tmp_path: Path) -> None:
    """A container that may use CPUs 3, 9 and 11 has three cores, one of them by its sibling."""
    root = topology(tmp_path, [[n, n + 8] for n in range(8)], ["0-15"])
    assert worker_cpus({3, 9, 11}, root) == (3, 9)


def test_the_node_with_most_of_the_cores_is_chosen(tmp_path: Path) -> None:
    """Memory of another node is slower."""
    root = topology(tmp_path, [[n] for n in range(6)], ["0-1", "2-5"])
    assert worker_cpus(range(6), root) == (2, 3, 4, 5)


def test_without_topology_every_allowed_cpu_is_used(tmp_path: Path) -> None:
    """A host that hides sysfs is measured all the same."""
    assert worker_cpus({4, 5}, tmp_path) == (4, 5)


@given(st.lists(st.integers(0, 200), unique=True, min_size=1))
def test_the_kernels_list_format_reads_back(cpus: list[int]) -> None:
    """Single numbers and ranges, in any order."""
    assert parse_cpu_list(",".join(map(str, cpus))) == tuple(cpus)
    assert parse_cpu_list("0-3,8\n") == (0, 1, 2, 3, 8)


@pytest.mark.parametrize("text", ["a", "1-", "-"])
def test_a_list_in_another_format_is_refused(text: str) -> None:
    """Never a guess."""
    if text == "1-":
        assert parse_cpu_list(text) == (1,)
        return
    with pytest.raises(ValueError, match="invalid literal"):
        parse_cpu_list(text)


def test_what_decides_speed_is_set_alike_and_the_rest_is_the_users(tmp_path: Path) -> None:
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
        done = subprocess.run(
            [sys.executable, "-c", code], env=base | extra, capture_output=True, check=True
        )
        return int(done.stdout)

    assert faults({}) > 1000
    assert faults(kept_heap({})) < 100
