from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from bench.worker import conditions

if TYPE_CHECKING:
    from pathlib import Path

MAPS = """\
5581c0000000-5581c0100000 r--p 00000000 08:01 131 /usr/bin/python3.11
7f0000000000-7f0000100000 r-xp 00000000 08:01 132 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000200000-7f0000300000 r-xp 00000000 08:01 133 /venv/lib/torch/lib/libgomp.so.1
7f0000300000-7f0000310000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
"""


def with_library(path: str) -> str:
    """A memory map with one more library."""
    return f"{MAPS}7f0000400000-7f0000500000 r-xp 00000000 08:01 140 {path}\n"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/opt/lib/libtcmalloc.so.4", "tcmalloc"),
        ("/opt/lib/libtcmalloc_minimal.so.4.5.9", "tcmalloc"),
        ("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "jemalloc"),
        ("/usr/lib/libmimalloc.so.2", "mimalloc"),
        ("/lib/ld-musl-x86_64.so.1", "musl"),
        ("/home/tcmalloc-lover/libfoo.so", "glibc"),
        ("/opt/with spaces/libtcmalloc.so.4", "tcmalloc"),
    ],
)
def test_the_allocator_is_the_one_that_is_mapped(path: str, name: str) -> None:
    """By the file's name: a preload that failed is not mapped."""
    assert conditions.allocator(with_library(path)) == name


def test_every_openmp_runtime_is_listed() -> None:
    """Two at once fight for the cores, so one name would hide it."""
    both = with_library("/opt/intel/lib/libiomp5.so")
    assert conditions.openmp(MAPS) == ["libgomp.so.1"]
    assert conditions.openmp(both) == ["libgomp.so.1", "libiomp5.so"]
    assert conditions.openmp(with_library("/x/libgomp-a34b3233.so.1.0.0")) == [
        "libgomp-a34b3233.so.1.0.0",
        "libgomp.so.1",
    ]
    assert conditions.openmp("") == []


def test_a_runtime_that_another_package_brings_for_itself_stands_apart() -> None:
    """It serves nothing that is timed; one that PyTorch or a backend brings may."""
    site = "/venv/lib/python3.11/site-packages"
    own = with_library(f"{site}/scikit_learn.libs/libgomp-a34b3233.so.1.0.0")
    assert conditions.openmp(own) == ["libgomp.so.1"]
    assert conditions.openmp_beside(own) == ["libgomp-a34b3233.so.1.0.0 of scikit_learn"]
    for package in ("torch", "zentorch"):
        served = with_library(f"{site}/{package}.libs/libgomp-a34b3233.so.1.0.0")
        assert len(conditions.openmp(served)) == 2
        assert conditions.openmp_beside(served) == []


@pytest.mark.parametrize(
    ("runtime", "differs"), [("libgomp.so.1", False), ("libiomp5.so", True), ("libomp.so.5", True)]
)
def test_variables_of_an_absent_runtime_do_not_differ(runtime: str, differs: bool) -> None:
    """scikit-learn sets KMP_DUPLICATE_LIB_OK, which GNU's runtime never reads."""
    one = state(openmp=[runtime])
    other = state(openmp=[runtime], env={**one["env"], "KMP_DUPLICATE_LIB_OK": "True"})
    assert bool(conditions.differences(one, other)) is differs


def test_only_variables_that_can_change_speed_are_recorded() -> None:
    """Others may be private, and would make every comparison differ."""
    environment = {"OMP_NUM_THREADS": "2", "HOME": "/root", "LD_PRELOAD": "x", "API_TOKEN": "s"}
    assert conditions.recorded(environment) == {"LD_PRELOAD": "x", "OMP_NUM_THREADS": "2"}


def test_the_wait_policy_comes_from_the_environment() -> None:
    """Of any OpenMP runtime."""
    policy = {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    assert conditions.wait_policy({}) == "default"
    assert conditions.wait_policy(policy) == "OMP_WAIT_POLICY=PASSIVE, GOMP_SPINCOUNT=0"


def state(**more: Any) -> dict[str, Any]:
    """A worker's conditions."""
    return {
        "threads": 2,
        "allocator": "glibc",
        "openmp": ["libgomp.so.1"],
        "openmp_beside": [],
        "wait_policy": "default",
        "affinity": [0, 1],
        "cpu_quota": None,
        "thp": "madvise",
        "denormals_flushed": False,
        "fpmath": None,
        "env": {"OMP_NUM_THREADS": "2"},
        **more,
    }


def test_equal_conditions_do_not_differ() -> None:
    """Nor does each worker's own compile cache."""
    own = state(env={"OMP_NUM_THREADS": "2", "TORCHINDUCTOR_CACHE_DIR": "/a"})
    assert conditions.differences(state(), state()) == []
    assert conditions.differences(state(), own) == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"allocator": "tcmalloc"}, "allocator: glibc against tcmalloc"),
        ({"threads": 4}, "threads: 2 against 4"),
        ({"openmp": []}, "openmp: ['libgomp.so.1'] against []"),
        (
            {"openmp": ["libgomp.so.1", "libiomp5.so"]},
            "openmp: ['libgomp.so.1'] against ['libgomp.so.1', 'libiomp5.so']",
        ),
        (
            {"openmp": ["libgomp-a34b3233.so.1", "libgomp.so.1"]},
            "openmp: ['libgomp.so.1'] against ['libgomp-a34b3233.so.1', 'libgomp.so.1']",
        ),
        ({"affinity": [0]}, "affinity: [0, 1] against [0]"),
        ({"denormals_flushed": True}, "denormals"),
        ({"env": {}}, "OMP_NUM_THREADS: 2 against unset"),
    ],
)
def test_each_difference_is_a_sentence(changed: dict[str, Any], sentence: str) -> None:
    """It names the condition and both values."""
    (found,) = conditions.differences(state(), state(**changed))
    assert found.startswith(sentence)


def test_the_same_openmp_under_another_packages_name_is_no_difference() -> None:
    """Wheels rename the library that they bring; another environment is still comparable."""
    assert conditions.differences(state(), state(openmp=["libgomp-a34b3233.so.1"])) == []


def test_what_was_found_unlike_makes_a_scenario_unequal() -> None:
    """It is read from the run's own file, so a later look at the run sees it too."""
    workers = {
        "a": state(),
        "b": state(differs=["allocator: glibc against tcmalloc", "threads: 2 against 4"]),
        "c": {},
    }
    ((name, reason),) = conditions.unequal(workers).items()
    assert name == "b"
    assert all(one in reason for one in workers["b"]["differs"])


@pytest.mark.torch
def test_this_process_is_read(tmp_path: Path) -> None:
    """A real process has every key; what a host does not show is None."""
    here = conditions.read()
    bare = conditions.read(root=tmp_path)
    assert set(here) == set(state())
    assert here["threads"] >= 1
    assert bare["thp"] is None
    assert bare["openmp"] == []


@pytest.mark.torch
def test_flushing_denormals_is_noticed() -> None:
    """It is a setting of the thread, and no variable shows it."""
    import torch

    try:
        if not torch.set_flush_denormal(True):
            pytest.skip("this CPU cannot flush denormals")
        assert conditions.denormals_flushed()
    finally:
        torch.set_flush_denormal(False)
    assert not conditions.denormals_flushed()


@pytest.mark.torch
def test_a_real_process_that_loses_a_cpu_says_so() -> None:
    """The kernel's answer, and not what was asked for at the start."""
    allowed = os.sched_getaffinity(0)
    assert conditions.read()["affinity"] == sorted(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert conditions.read()["affinity"] == [min(allowed)]
    finally:
        os.sched_setaffinity(0, allowed)
