"""The pool of workers: whoever waits for nothing ends first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.engine.checks import Checks
from bench.engine.participants import Participant
from bench.engine.pool import WorkerPool
from bench.errors import WorkerError
from bench.plan.scenario import Layout, Mode, Status, Task, stock_default

if TYPE_CHECKING:
    from collections.abc import Sequence

STOCK = stock_default(Task.INFERENCE, 1)
NAMES = ("first", "second", "third", "fourth")
SCENARIOS = (
    STOCK,
    replace(STOCK, layout=Layout.CHANNELS_LAST),
    replace(STOCK, mode=Mode.TORCHSCRIPT),
    replace(STOCK, layout=Layout.CHANNELS_LAST, mode=Mode.TORCHSCRIPT),
)
WORKERS = tuple(
    Participant(name=name, scenario=scenario)
    for name, scenario in zip(NAMES, SCENARIOS, strict=True)
)


class Pool:
    """A pool of scripted workers, and what it was told of."""

    def __init__(self, backend: Any) -> None:
        self.failures: dict[str, WorkerError] = {}
        self.said: list[str] = []
        self.backend = backend
        self.pool = WorkerPool(
            launch=lambda one, number: backend.launch(one.scenario, one.is_control, number),
            failed=lambda one, _, error: self.failures.update({one.name: error}),
            checks=Checks(),
            at_once=2,
            timeout_s=1.0,
            say=self.said.append,
        )

    def waiting(self) -> list[str]:
        """The workers that are alive, in the order in which they started."""
        alive = self.pool.pids()
        return [one.name for one in WORKERS if self._pid(one) in alive]

    def _pid(self, one: Participant) -> int | None:
        try:
            return self.pool.worker(one).pid
        except KeyError:
            return None


@pytest.fixture
def pool(backend: Any) -> Pool:
    """Without a worker yet."""
    return Pool(backend)


@pytest.mark.parametrize(
    ("most", "wanted", "left"),
    [
        (4, (), NAMES),
        (3, (), ("second", "third", "fourth")),
        (3, ("first",), ("first", "third", "fourth")),
        (2, ("first", "second"), ("second", "fourth")),
        (2, ("third",), ("third", "fourth")),
        (0, NAMES, ("fourth",)),
    ],
)
def test_room_is_made_by_whoever_waits_for_nothing(
    pool: Pool, most: int, wanted: Sequence[str], left: Sequence[str]
) -> None:
    """Then by those that started first; never by a participant."""
    pool.pool.start(0, WORKERS)
    pool.pool.make_room(WORKERS[3:], most, wanted)
    assert pool.waiting() == list(left)
    assert len(pool.backend.alive) == len(left)


def test_a_worker_that_does_not_run_yet_counts(pool: Pool) -> None:
    """Room is made before it starts."""
    pool.pool.start(0, WORKERS[:3])
    pool.pool.make_room(WORKERS[3:], 3, ())
    pool.pool.start(1, WORKERS[3:])
    assert pool.waiting() == ["second", "third", "fourth"]


def test_only_what_is_missing_starts(pool: Pool) -> None:
    """Two at a time; one that was ended starts anew."""
    assert pool.pool.start(0, WORKERS[:3]) == list(WORKERS[:3])
    pool.pool.end(["second"])
    assert pool.pool.start(1, WORKERS[:3]) == list(WORKERS[:3])
    assert [launch for _, _, launch in pool.backend.started] == [0, 0, 0, 1]
    assert pool.said == ["starting first, second", "starting third", "starting second"]


def test_who_has_no_worker_is_left_out(pool: Pool) -> None:
    """The others start."""
    pool.backend.greeting_faults["stock"] = WorkerError(Status.CRASHED, "planted")
    assert pool.pool.start(0, WORKERS[:2]) == []
    assert set(pool.failures) == {"first", "second"}
    assert not pool.backend.alive
