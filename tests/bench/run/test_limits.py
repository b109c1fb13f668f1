"""What a run finds out before it chooses: the largest batch, and why not a larger one."""

from __future__ import annotations

import itertools
import mmap
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import psutil
import pytest

from bench.errors import WorkerError
from bench.plan.scenario import Status, Task, stock_default, worker_key
from bench.plan.thresholds import DEFAULT
from bench.run import limits
from bench.run.limits import Limits, find_limits, larger_peak, memory_limit_gib, own_pages_mib
from tests.bench.conftest import FakeWorker
from tests.bench.run.runs import raising
from tests.fake_files import write_all

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _plenty_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test machine's own memory must not decide a test."""
    monkeypatch.setattr(limits, "memory_limit_gib", lambda _policy: 15.0)
    monkeypatch.setattr(limits, "own_pages_mib", lambda _pid: 450.0)


def found(backend: Any, *wanted: int, participants: int = 18) -> Limits:
    """The limits that a scripted worker leads to."""
    worker = backend.launch(worker_key(stock_default(Task.INFERENCE, 1)), False, -1)
    return find_limits(worker, wanted, participants=participants, policy=DEFAULT)


@pytest.mark.parametrize(
    ("ms", "limit_gib", "workers", "largest", "words"),
    [
        (120.0, 15.0, 18, 8, ("above 8", "0.96", "1.5 s")),  # 8 take .96 s, 16 at least 1.63 s
        (100.0, 15.0, 18, 8, ("1.60",)),  # .8 s for 8 allows a try of 16, which takes 1.6 s
        (10.0, 15.0, 18, 32, ()),
        (5000.0, 15.0, 18, 1, ("above 1",)),  # one image is measured however slow
        # 18 workers of 450 MiB and a little more each, and one of them at its peak of 800 MiB
        (100.0, 9.0, 18, 1, ("18 ", "11.1 GiB")),
        (70.0, 9.0, 4, 16, ("above 16",)),
    ],
)
def test_the_largest_power_of_two_that_time_and_memory_allow_is_the_cap(
    backend: Any,
    monkeypatch: pytest.MonkeyPatch,
    ms: float,
    limit_gib: float,
    workers: int,
    largest: int,
    words: tuple[str, ...],
) -> None:
    """A second and a half a call, and a share of what is free; what is left out has the sum."""
    monkeypatch.setattr(limits, "memory_limit_gib", lambda _policy: limit_gib)
    backend.default_ms = ms
    limit = found(backend, 1, 8, 32, participants=workers)
    assert limit.largest_batch == largest
    assert len(limit.excluded) == bool(words)
    left_out = " ".join(f"{one.what} {one.reason}" for one in limit.excluded)
    assert all(word in left_out for word in words)


def test_a_kept_heap_counts_once_each(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no larger for other backends, as what they prepare is."""
    pages = itertools.cycle((400.0, 900.0))
    monkeypatch.setattr(limits, "own_pages_mib", lambda _pid: next(pages))
    backend.default_ms = 10.0
    assert found(backend, 1, 8, participants=10).largest_batch == 8
    (left_out,) = found(backend, 1, 8, participants=15).excluded
    assert "15.7 GiB" in left_out.reason


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({}, 1.0),
        ({"memory.max": "max", "memory.current": "1073741824"}, 1.0),
        ({"memory.max": "4294967296", "memory.current": "1073741824"}, 3 / 64),
        ({"memory.max": "1073741824", "memory.current": "2147483648"}, 0.0),
        ({"memory.max": str(1 << 40)}, 1.0),
        ({"memory.max": "max", "memory.high": "1073741824"}, 1 / 64),
        (  # pages of files that nobody reads are the kernel's to take back
            {
                "memory.max": "2147483648",
                "memory.current": "2147483648",
                "memory.stat": "anon 1\ninactive_file 1073741824",
            },
            1 / 64,
        ),
    ],
)
def test_memory_is_a_share_of_what_machine_and_group_have_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], share: float
) -> None:
    """64 GiB that are free may be used by 85 %; a container of 4 GiB is not filled to be killed."""
    write_all(tmp_path / "sys/fs/cgroup", files)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * 2**30))
    allowed = memory_limit_gib(DEFAULT, tmp_path)
    assert allowed == pytest.approx(DEFAULT.budget.free_memory_share * 64 * share)


def test_facts_of_model_and_data_come_along(backend: Any) -> None:
    """They stand in environment.json."""
    limit = found(backend, 1)
    assert limit.model["trained"] is False
    assert limit.model["gflop_per_image"] == pytest.approx(30.7)
    assert limit.peak["gflop_per_s"] == dict.fromkeys(("fp32", "bf16", "fp16", "int8"), 400.0)


def test_of_two_peaks_the_higher_counts() -> None:
    """A slowed machine reads too low, and nothing makes it read too high."""
    one = {"gflop_per_s": {"fp32": 300.0, "bf16": 500.0}, "memory_gb_per_s": 20.0}
    other = {"gflop_per_s": {"fp32": 340.0}, "memory_gb_per_s": 10.0}
    assert larger_peak(one, other) == {
        "gflop_per_s": {"fp32": 340.0, "bf16": 500.0},
        "memory_gb_per_s": 20.0,
    }


def test_pages_of_libraries_are_not_counted_for_each_worker(tmp_path: Path) -> None:
    """All workers share them, though the kernel calls them unique while one worker is alone."""
    library = tmp_path / "library.so"
    library.write_bytes(b"\1" * (64 << 20))
    before = own_pages_mib(os.getpid())
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert sum(pages[:: mmap.PAGESIZE]) == (64 << 20) // mmap.PAGESIZE
        after = own_pages_mib(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before < 32


def test_weights_that_would_not_fit_end_a_run_of_ones_own_before_it_begins(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other workers may hold them twice; the inspector's run goes on, as it always did."""
    worker = worker_key(stock_default(Task.INFERENCE, 1))

    def limits_of(*, own: bool) -> Limits:
        handle = backend.launch(worker, False, -1)
        return find_limits(handle, (1,), participants=12, policy=DEFAULT, own=own)

    assert limits_of(own=True).largest_batch == 1
    prepare = FakeWorker.answer_prepare
    many = {"parameters": 300_000_000}
    monkeypatch.setattr(FakeWorker, "answer_prepare", lambda self, **_: prepare(self) | many)
    with pytest.raises(WorkerError, match=r"12 workers with a batch of 1 .* with --only") as caught:
        limits_of(own=True)
    assert caught.value.status is Status.OUT_OF_MEMORY
    assert limits_of(own=False).largest_batch == 1


def test_a_model_of_ones_own_may_take_no_larger_batch(backend: Any) -> None:
    """What it takes is measured; the inspector takes any."""
    pair = stock_default(Task.INFERENCE, 2)
    backend.faults[pair.id, "call"] = raising(Status.CRASHED, "one item only", dies=False)
    worker = backend.launch(worker_key(stock_default(Task.INFERENCE, 1)), False, -1)
    limits_ = find_limits(worker, (1, 4), participants=4, policy=DEFAULT, own=True)
    assert limits_.largest_batch == 1
    (left_out,) = limits_.excluded
    assert "of 2 and above" in left_out.what
    assert "one item only" in left_out.reason
    with pytest.raises(WorkerError, match="one item only"):
        find_limits(worker, (1, 4), participants=4, policy=DEFAULT)


@pytest.mark.parametrize("size", [1, 8, None])
def test_training_steps_are_tried_with_the_items_that_are_measured(
    backend: Any, size: int | None
) -> None:
    """Batch norm, for one, may take several and not one."""
    worker = backend.launch(worker_key(stock_default(Task.INFERENCE, 1)), False, -1)
    with patch.object(FakeWorker, "answer_rehearse", return_value={}) as rehearse:
        find_limits(worker, (1,), participants=2, policy=DEFAULT, own=True, training_batch=size)
    rehearse.assert_called_once_with(training_batch=size)


def test_functions_of_the_users_are_tried_before_anything_else(backend: Any) -> None:
    """An error in one is the run's; the inspector has none."""
    fault = raising(Status.CRASHED, "--decide shop:label failed", dies=False)
    default = stock_default(Task.INFERENCE, 1)
    backend.faults[worker_key(default).id, "rehearse"] = fault
    with pytest.raises(WorkerError, match="--decide shop:label failed"):
        find_limits(
            backend.launch(worker_key(default), False, -1),
            (1,),
            participants=2,
            policy=DEFAULT,
            own=True,
        )
    assert found(backend, 1).largest_batch == 1
