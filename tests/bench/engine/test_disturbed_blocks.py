"""Blocks that other work disturbs are measured again, and kept; an execution's own stalls count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements, block_medians, disturbance
from bench.engine.execution import Execution
from bench.engine.participants import Participant, control_of
from bench.engine.rounds import Rounds
from bench.machine import noise
from bench.plan.scenario import CONTROL_SUFFIX, Scenario, Task, stock_default
from bench.plan.thresholds import DEFAULT
from bench.store.records import NoiseRow
from bench.store.rows import blank
from tests.bench.calls import timed_call

if TYPE_CHECKING:
    from bench.store.records import IterationRow
    from tests.bench.conftest import FakeBackend, FakeWorker

STOCK = stock_default(Task.INFERENCE, 1)
OTHER = replace(STOCK, backend="ipex")
ROUNDS = 8

Stalls = Callable[[int, int], bool]
"""Whether a block of a worker stalls; worker 1 is stock default, 2 its control, 3 the other."""
Play = Callable[..., "Machine"]


class Machine:
    """Rounds of stock default, its control and another scenario, where some blocks stall.

    A block that stalls takes half as long again without more CPU time; `busy` says whether the
    kernel sees other work in such blocks.
    """

    def __init__(
        self,
        backend: FakeBackend,
        monkeypatch: pytest.MonkeyPatch,
        stalls: Stalls,
        *,
        busy: bool,
    ) -> None:
        self.calls: list[IterationRow] = []
        self.noise: list[NoiseRow] = []
        self.waits: list[float] = []
        self._blocks: dict[int, int] = {}
        self._stalled = False

        def call(worker: FakeWorker, fields: Mapping[str, Any]) -> dict[str, Any]:
            reply = worker.answer_call(**fields)
            self._stalled = False
            if fields["phase"] == "timed":
                block = self._blocks[worker.number] = self._blocks.get(worker.number, -1) + 1
                self._stalled = stalls(worker.number, block)
                longer = 1.5 if self._stalled else 1.0
                reply["wall_ns"] = [int(ns * longer) for ns in reply["wall_ns"]]
            return reply

        for scenario in (STOCK, OTHER):
            backend.faults[scenario.id, "call"] = call
        monkeypatch.setattr(noise, "saw_other_work", lambda *_: busy and self._stalled)
        monkeypatch.setattr(noise, "is_quiet", lambda *_: True)
        executions = [
            self._execution(backend, STOCK),
            self._execution(backend, STOCK, is_control=True),
            self._execution(backend, OTHER),
        ]
        rounds = Rounds(
            run_id="run",
            policy=DEFAULT,
            record=self.noise.append,
            failed=lambda *_: None,
            record_event=lambda _: None,
            say=lambda _: None,
            clock=backend.clock,
            wait_for_idle=self.waits.append,
        )
        rounds.run("g", 0, executions, ROUNDS)

    def _execution(
        self, backend: FakeBackend, scenario: Scenario, *, is_control: bool = False
    ) -> Execution:
        participant = Participant(name=scenario.id, scenario=scenario)
        execution = Execution(
            run_id="run",
            participant=control_of(participant) if is_control else participant,
            launch=0,
            worker=backend.launch(scenario, is_control, 0),
            policy=DEFAULT,
            record=self.calls.append,
        )
        execution.prepare()
        execution.warm_up()
        return execution

    def timed(self, scenario: str) -> list[IterationRow]:
        """The timed calls of a scenario."""
        return [one for one in self.calls if one.phase == "timed" and one.scenario == scenario]

    def judge(self) -> Judge:
        """Who judges these calls, as a run's."""
        labels = {STOCK.id: "g", OTHER.id: "g"}
        found = disturbance(self.calls, self.noise, labels, DEFAULT.noise)
        return Judge(
            Measurements(
                groups={"g": block_medians(self.calls)},
                lost=found.lost,
                disturbed_shares=found.shares,
            ),
            DEFAULT,
        )


@pytest.fixture
def play(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Plays the rounds in which these blocks stall."""

    def make(stalls: Stalls, *, busy: bool = True) -> Machine:
        return Machine(backend, monkeypatch, stalls, busy=busy)

    return make


def test_disturbed_blocks_are_repeated(play: Play) -> None:
    """After waiting for idle CPUs; its first calls stand in the file and count for nothing."""
    machine = play(lambda worker, block: worker == 3 and block == 3)
    rows = machine.timed(OTHER.id)
    marked = [row for row in rows if row.disturbed]
    again = [row for row in rows if row.round == marked[0].round and not row.disturbed]
    assert len(marked) == len(again) == 1
    assert marked[0].iteration < again[0].iteration
    assert machine.waits == [DEFAULT.noise.idle_wait_s]
    assert block_medians(machine.calls)[OTHER.id][0, marked[0].round or 0] == pytest.approx(
        again[0].wall_ns / 1e6
    )
    assert machine.judge().compare(OTHER.id, STOCK.id).estimate == pytest.approx(1.0, abs=0.01)


def test_own_stalls_count(play: Play) -> None:
    """Every other block takes half as long again, and the kernel saw no other work."""
    machine = play(lambda worker, block: worker == 3 and block % 2 == 1, busy=False)
    assert not any(row.disturbed for row in machine.calls)
    assert machine.waits == []
    found = machine.judge().compare(OTHER.id, STOCK.id)
    assert found.estimate < 0.9


def test_an_execution_without_its_cpus_is_given_up_after_a_few_tries(play: Play) -> None:
    """Each block so often and no more; with fewer than three clean blocks it has no verdict."""
    machine = play(lambda worker, block: worker == 3 and block > 1)
    rows = machine.timed(OTHER.id)
    tries = 1 + DEFAULT.noise.max_repeats
    assert len([row for row in rows if row.round == 4]) == tries
    assert len([row for row in rows if not row.disturbed]) == 2
    found = machine.judge().compare(OTHER.id, STOCK.id)
    assert found.verdict == "invalid"
    assert "clean ones are needed" in (found.reason or "")


def test_much_more_disturbed_than_its_baseline_is_inconclusive(play: Play) -> None:
    """What looks like other work may be its own: the shares are compared."""
    machine = play(lambda worker, block: worker == 3 and block % 2 == 1)
    assert machine.judge().compare(OTHER.id, STOCK.id).verdict == "inconclusive"


def test_rows_of_the_first_version_are_judged_by_their_rounds() -> None:
    """They carry no mark: a block had less CPU time, in a round in which the kernel saw work."""
    cpu_ns = {1: 150, 2: 150}
    calls = [
        timed_call(STOCK.id, 0, number, 1e-4, cpu_ns=cpu_ns.get(number, 200)) for number in range(6)
    ]
    pressure = {2: 0.9, 3: 0.9}
    rounds = [
        blank(
            NoiseRow,
            run_id="run",
            launch=0,
            group="g",
            round=number,
            quiet=True,
            cpu_pressure=pressure.get(number, 0.0),
        )
        for number in range(6)
    ]
    found = disturbance(calls, rounds, {STOCK.id: "g"}, DEFAULT.noise)
    assert found.lost[STOCK.id] == {(0, 2)}
    assert found.shares[STOCK.id] == pytest.approx(1 / 6)


@pytest.mark.parametrize(("busy_for_s", "idle"), [(0.0, True), (0.5, True), (5.0, False)])
def test_waiting_for_idle_cpus_ends(busy_for_s: float, idle: bool) -> None:
    """When they are, or when it has waited long enough."""
    now = [0.0]

    def busy() -> bool:
        now[0] += 0.05
        return now[0] <= busy_for_s

    assert noise.wait_for_idle(2.0, busy=busy, clock=lambda: now[0]) is idle
    assert now[0] <= 2.2


def test_a_control_is_its_own_worker(play: Play) -> None:
    """The blocks of its own worker are marked, and no others."""
    machine = play(lambda worker, block: worker == 2 and block == 1)
    assert sum(bool(row.disturbed) for row in machine.timed(STOCK.id + CONTROL_SUFFIX)) == 1
    assert not any(row.disturbed for row in machine.timed(STOCK.id))
