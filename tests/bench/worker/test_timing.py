"""Timed calls: one time a call, and nothing else in it."""

from __future__ import annotations

import gc
import mmap
import weakref

import pytest

from bench.worker.timing import timed


def test_each_call_is_timed_on_its_own() -> None:
    """As many times as calls, wall and CPU, and the last result."""
    results = iter(range(10))
    block = timed(lambda: next(results), 4)
    assert len(block.wall_ns) == len(block.cpu_ns) == 4
    assert all(time > 0 for time in block.wall_ns)
    assert block.result == 3


def test_pages_that_a_call_faults_in_are_counted_for_that_call() -> None:
    """Fresh memory is mapped in page by page; a call that takes none faults next to none."""
    sizes = iter([1 << 26, 1, 1 << 26])
    block = timed(lambda: mmap.mmap(-1, size := next(sizes)).write(bytes(size)), 3)
    few = block.page_faults.pop(1)
    huge_pages = (1 << 26) >> 21
    assert few < huge_pages
    assert all(count >= huge_pages for count in block.page_faults)


def test_freeing_a_result_is_not_timed() -> None:
    """The previous result is still alive when a call ends, so its end falls between the clocks."""

    class Result:
        pass

    alive: list[bool] = []
    previous: list[weakref.ref[Result]] = []

    def call() -> Result:
        result = Result()
        if previous:
            alive.append(previous[-1]() is not None)
        previous.append(weakref.ref(result))
        return result

    timed(call, 5)
    assert alive == [True] * 4


def test_the_garbage_collector_rests_while_timing_and_works_again_after() -> None:
    """Even when a call fails."""
    during: list[bool] = []
    timed(lambda: during.append(gc.isenabled()), 2)

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised right above
        timed(fail, 1)
    assert during == [False, False]
    assert gc.isenabled()
