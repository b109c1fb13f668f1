"""What every test gets: an environment free of the variables that change how PyTorch runs."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# timing never decides a test, property tests on a loaded machine included
settings.register_profile(
    "untimed",
    parent=settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")

# a shell that starts the tests in the background has them ignore Ctrl-C, and what they start too
signal.signal(signal.SIGINT, signal.default_int_handler)

# two processes run the tests: threads that wait for each other on two cores make a test many times
# as long. Before anything imports torch, which reads it once.
os.environ["OMP_NUM_THREADS"] = "1"

# In every process that compiles, Inductor would first compile a program for each instruction set
# and load it in a fresh process, 5 to 15 s, to see whether the compiler can vectorise. What it
# compiles afterwards shows that too.
_FOR_TORCH = "TORCHINDUCTOR_VEC_ISA_OK"
os.environ[_FOR_TORCH] = "1"

# who else measures on this machine, the other process of these tests too, must not decide a test
os.environ["PILLQC_BENCH_LOCK"] = f"pillqc-bench-test-{os.getpid()}"

_PREFIXES = ("OMP_", "KMP_", "GOMP_", "MKL_", "DNNL_", "ONEDNN_", "ATEN_", "MALLOC_", "TORCH")


@pytest.fixture(autouse=True)
def _clean_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own OpenMP, oneDNN and PyTorch variables must not decide a test."""
    kept = ("TORCH_INDEX", _FOR_TORCH if request.node.get_closest_marker("torch") else "")
    for name in list(os.environ):
        if name.startswith(_PREFIXES) and name not in kept:
            monkeypatch.delenv(name)
    monkeypatch.setenv("TORCH_WARM_POOL", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _heap_as_shipped() -> Iterator[None]:
    """`pillqc`'s command keeps its process's heap: here that would be all later tests' heap.

    For the whole session, because fixtures of a module call the command too.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("pillqc.commands.main.keep_heap", lambda: False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk() -> Iterator[None]:
    """A run makes each file safe from a power cut before it goes on; no test cuts the power."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "fsync", lambda _: None)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first, then those that start torch or a browser.

    A process that draws a long one last would work on alone.
    """
    ranks: dict[Path, int] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        rank = 0 if "slow" in marks else 1 if marks & {"torch", "browser"} else 2
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """No collection of garbage goes through the libraries and the tests themselves again.

    Sessions of workers collect it at every scenario, here with everything that all tests import.
    """
    gc.collect()
    gc.freeze()
