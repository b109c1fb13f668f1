"""A waiting worker releases its heap, and has the same pages again before its next call."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

import numpy as np
import pytest

from bench.machine.worker_settings import kept_heap
from bench.worker.idle_heap import KEPT_AT_MOST, IdleHeap, page_runs
from tests.fresh_process import python

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="glibc's allocator is Linux's"
)

PROGRAM = """
import json, resource, sys
from bench.worker.idle_heap import IdleHeap
from tests.fresh_process import python

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

import numpy as np
advised = np.ones(8 << 20, np.uint8)  # NumPy asks for huge pages, which splits the mapping

def work(size):
    "Many blocks of unlike sizes, some of which stay between others: the free heap has holes."
    blocks = [bytearray(size // n) for n in range(1, 40)]
    kept = blocks[5::9]
    return kept

size = int(sys.argv[1])
heap = IdleHeap()
heap.settle()
living = [work(size), work(size)]
found = []
for _ in range(3):
    before = heap.resident()
    with heap.at_work():
        living[0] = []
        mapped = faults()
        living[0] = work(size)
        worked = faults() - mapped
        inside = heap.resident()
    found.append((worked, inside - heap.resident()))
heap.restore()
again = heap.resident()
with heap.put_aside():
    bytearray(300 << 20)
heap.restore()
mapped = faults()
living[0] = []
living[0] = work(size)
aside = (heap.resident() - again, faults() - mapped)
living[0] = []
kept = heap.resident()
renewed_now = heap.renew()
mapped, grown = faults(), heap.resident() - kept
living[0] = work(size)
renewed = (renewed_now, grown, faults() - mapped)
blocks = [list(block[:1]) for block in living[1]]
print(json.dumps([found, (inside, again), blocks, aside, renewed]))
"""


@functools.cache
def ran(size: int, **extra: str) -> Any:
    """Run the program in a process with these variables; return its output."""
    base = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    return json.loads(python("-c", PROGRAM, size, env=base | extra).stdout)


def test_a_large_heap_is_released_and_the_same_pages_are_restored() -> None:
    """No call after the first faults pages in, and between calls the memory is free.

    A probe's buffers are not part of the heap.
    """
    found, (inside, again), living, (grown, worked), _ = ran(150 << 20, **kept_heap({}))
    assert grown < 30 << 20
    assert worked < 500
    for worked, released in found[1:]:
        assert worked < 500
        assert released > KEPT_AT_MOST
    assert again == pytest.approx(inside, rel=0.02)
    assert living == [[0]] * len(living)


def test_a_small_heap_is_kept() -> None:
    """Restoring it before each short call would cost more than it frees."""
    found, _, _, (grown, _), _ = ran(4 << 20, **kept_heap({}))
    assert grown < 30 << 20
    assert max(released for _, released in found) < 1 << 20


def test_a_small_heap_can_be_renewed() -> None:
    """It is released and restored at once, so that the next call faults nothing."""
    _, _, _, _, (given, grown, worked) = ran(4 << 20, **kept_heap({}))
    assert given
    assert abs(grown) < 2 << 20
    assert worked < 200


def test_a_heap_as_glibc_ships_it_is_left_alone() -> None:
    """Such a process is measured as it is."""
    found, _, _, _, renewed = ran(150 << 20)
    assert max(released for _, released in found) < 1 << 20
    assert not renewed[0]
    assert max(worked for worked, _ in found) > 5000


def test_a_kernel_that_cannot_populate_keeps_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.14, releasing would only move the faults into the timed calls."""
    monkeypatch.setenv("GLIBC_TUNABLES", kept_heap({})["GLIBC_TUNABLES"])
    monkeypatch.setattr("bench.worker.idle_heap._POPULATE_WRITE", 4096)
    heap = IdleHeap()
    assert not heap.release()


def test_neighbouring_pages_are_one_run() -> None:
    """Runs are addresses and bytes."""
    page = 4096
    pages = np.array([1, 1, 0, 0, 1], dtype=bool)
    assert page_runs(8 * page, pages) == [(8 * page, 2 * page), (12 * page, page)]
    assert page_runs(0, np.zeros(3, dtype=bool)) == []
