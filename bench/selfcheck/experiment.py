"""One experiment: seats of known speed measured together, launch by launch, as a run would.

A run's groups are scenarios and a control; here a seat is a worker whose true speed is known, and
any three identical seats can be scenario, baseline and control. What is timed, when, in which
order, and when it stops is the run's own code (`Lane`, `Rounds`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench import conditions
from bench.analysis.judge import Judge
from bench.analysis.measurements import Disturbance, Measurements, disturbance
from bench.client import AccountedWorker
from bench.rounds import Rounds
from bench.scenarios import CONTROL_SUFFIX
from bench.seated import SeatedLane
from bench.time_use import MEASURING, TimeUse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.analysis.measurements import Key
    from bench.client import WorkerHandle
    from bench.errors import WorkerError
    from bench.lane import Lane
    from bench.policy import Policy
    from bench.records import IterationRow, NoiseRow
    from bench.scenarios import Scenario


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One worker's place in every round."""

    name: str
    scenario: Scenario


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much one experiment may measure."""

    launches: int
    min_rounds: int
    max_rounds: int
    """Per launch."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What an experiment gave: blocks by seat, what disturbed them, and when launches ended."""

    blocks: Mapping[str, Mapping[Key, float]]
    disturbed: Disturbance = field(default_factory=Disturbance)
    unlike: Mapping[str, str] = field(default_factory=dict)
    """Seats whose worker's conditions differed from the first one's, and how."""
    ends_s: tuple[float, ...] = ()
    """For each launch, the seconds from the experiment's start to its end."""

    def until(self, launches: int) -> Measured:
        """What was known after so many launches."""
        return replace(
            self,
            blocks={
                name: {key: ms for key, ms in blocks.items() if key[0] < launches}
                for name, blocks in self.blocks.items()
            },
            ends_s=self.ends_s[:launches],
        )

    def judge(self, baseline: Seat, control: Seat, policy: Policy) -> Judge:
        """Who judges the seats, with two of them as baseline and control."""
        renamed = {control.name: baseline.name + CONTROL_SUFFIX}

        def lane(name: str) -> str:
            return renamed.get(name, name)

        found = Measurements(
            groups={"": {lane(name): blocks for name, blocks in self.blocks.items()}},
            lost={lane(name): keys for name, keys in self.disturbed.lost.items()},
            disturbed_shares={lane(name): one for name, one in self.disturbed.shares.items()},
            unusable={lane(name): why for name, why in self.unlike.items()},
        )
        return Judge(found, policy)


@dataclass(kw_only=True)
class Experiment:
    """Measures the seats once.

    `launch(seat)` starts a worker. Every launch has its minimum of rounds; more of them only within
    its part of `allowed_s`, so that a noisy machine makes intervals wide and not the check endless.
    A worker that fails ends the experiment: something is wrong with
    the machine, and a rate of wrong verdicts must not depend on it.

    Raises (from `measure`):
        WorkerError: a worker failed.
    """

    name: str
    seats: Sequence[Seat]
    effort: Effort
    policy: Policy
    launch: Callable[[Seat], WorkerHandle]
    starts_at_once: int = 1
    allowed_s: float = float("inf")
    use: TimeUse = field(default_factory=TimeUse)
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    _blocks: dict[str, dict[tuple[int, int], float]] = field(init=False, default_factory=dict)
    _calls: list[IterationRow] = field(init=False, default_factory=list)
    _noise: list[NoiseRow] = field(init=False, default_factory=list)
    _unlike: dict[str, str] = field(init=False, default_factory=dict)

    def measure(self) -> Measured:
        """All launches."""
        began, ends_s = self.clock(), []
        rounds = self._rounds()
        try:
            for number in range(self.effort.launches):
                left = self.allowed_s - (self.clock() - began)
                ends = self.clock() + left / (self.effort.launches - number)
                self._launch(number, rounds, ends)
                ends_s.append(self.clock() - began)
        finally:
            self.use.total_s += self.clock() - began
        labels = {seat.name: self.name for seat in self.seats}
        return Measured(
            blocks=self._blocks,
            disturbed=disturbance(self._calls, self._noise, labels, self.policy.noise),
            unlike=self._unlike,
            ends_s=tuple(ends_s),
        )

    def _rounds(self) -> Rounds:
        return Rounds(
            run_id="selfcheck",
            policy=self.policy,
            record=self._note_noise,
            failed=_raise,
            note=lambda _: None,
            say=self.say,
            clock=self.clock,
        )

    def _launch(self, number: int, rounds: Rounds, ends: float) -> None:
        workers: list[WorkerHandle] = []
        try:
            self._start(workers)
            lanes = [
                self._lane(number, seat, worker)
                for seat, worker in zip(self.seats, workers, strict=True)
            ]
            with self.use.during(MEASURING):
                for lane in lanes:
                    lane.warm_up()
                    lane.read_conditions()
                    self._compare_conditions(lanes[0], lane)
                limit, within_s = self.effort.max_rounds, ends - self.clock()
                rounds.run(
                    self.name,
                    number,
                    lanes,
                    limit,
                    within_s=within_s,
                    at_least=self.effort.min_rounds,
                )
            for lane in lanes:
                self._blocks.setdefault(lane.name, {}).update(lane.blocks_ms)
        finally:
            for worker in workers:
                worker.stop()

    def _start(self, workers: list[WorkerHandle]) -> None:
        """A greeted worker for every seat; those that run are in `workers` whatever happens."""
        for first in range(0, len(self.seats), self.starts_at_once):
            self.say(f"starting worker {first + 1} of {len(self.seats)}")
            batch = self.seats[first : first + self.starts_at_once]
            workers.extend(self.launch(seat) for seat in batch)
            for worker in workers[first:]:
                worker.greet(self.policy.start_timeout_s)

    def _lane(self, number: int, seat: Seat, worker: WorkerHandle) -> SeatedLane:
        lane = SeatedLane(
            run_id="selfcheck",
            scenario=seat.scenario,
            launch=number,
            worker=AccountedWorker(worker, self.use.parent),
            policy=self.policy,
            record=self._note_call,
            seat_name=seat.name,
            is_first=seat is self.seats[0],
        )
        lane.prepare()
        return lane

    def _compare_conditions(self, first: Lane, lane: Lane) -> None:
        """Seats must be alike but for what was planted."""
        found = conditions.differences(first.conditions, lane.conditions)
        if found:
            self._unlike[lane.name] = f"its worker ran under other conditions: {'; '.join(found)}"

    def _note_call(self, row: IterationRow) -> None:
        self._calls.append(row)
        self.use.count(row)

    def _note_noise(self, row: NoiseRow) -> None:
        self._noise.append(row)


def _raise(_: Lane, error: WorkerError) -> None:
    raise error
