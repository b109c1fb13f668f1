"""One experiment: seats of known speed measured together, launch by launch, as a run would.

A run's groups are scenarios and a control; here a seat is a worker whose true speed is known, and
any three identical seats can be scenario, baseline and control. What is timed, when, in which
order, and when it stops is the run's own code (`Lane`, `Rounds`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import statistics
from bench.client import AccountedWorker
from bench.rounds import Rounds
from bench.seated import SeatedLane
from bench.time_use import MEASURING, TimeUse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.client import WorkerHandle
    from bench.errors import WorkerError
    from bench.lane import Lane
    from bench.policy import Policy
    from bench.records import NoiseRow
    from bench.scenarios import Scenario
    from bench.statistics import BlockMedians, Ratio


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
    target_half_width: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What an experiment gave: block medians by seat, how quiet it was, and when launches ended."""

    blocks: dict[str, dict[tuple[int, int], float]]
    quiet: tuple[tuple[int, bool], ...]
    """For each round its launch, and whether the machine was quiet."""
    ends_s: tuple[float, ...]
    """For each launch, the seconds from the experiment's start to its end."""

    @property
    def noisy_share(self) -> float | None:
        """Share of the rounds that were not quiet."""
        return 1 - sum(quiet for _, quiet in self.quiet) / len(self.quiet) if self.quiet else None

    def until(self, launches: int) -> Measured:
        """What was known after so many launches."""
        return Measured(
            blocks={
                name: {key: ms for key, ms in blocks.items() if key[0] < launches}
                for name, blocks in self.blocks.items()
            },
            quiet=tuple(one for one in self.quiet if one[0] < launches),
            ends_s=self.ends_s[:launches],
        )

    def ratio(self, scenario: Seat, baseline: Seat, policy: Policy) -> Ratio | None:
        """The speedup of one seat over another."""
        pairs = statistics.paired_log_ratios(self._of(baseline), self._of(scenario))
        if not pairs:
            return None
        rule = policy.verdict
        return statistics.speedup(
            pairs, draws=rule.bootstrap_draws, seed=rule.seed, confidence=rule.confidence
        )

    def _of(self, seat: Seat) -> BlockMedians:
        return self.blocks.get(seat.name, {})


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
    _quiet: list[tuple[int, bool]] = field(init=False, default_factory=list)

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
        return Measured(blocks=self._blocks, quiet=tuple(self._quiet), ends_s=tuple(ends_s))

    def _rounds(self) -> Rounds:
        return Rounds(
            run_id="selfcheck",
            policy=self.policy,
            target_half_width=self.effort.target_half_width,
            min_rounds=self.effort.min_rounds,
            record=self._note_noise,
            failed=_raise,
            note=lambda _: None,
            say=self.say,
            left_s=lambda: float("inf"),  # its part is a launch's own: `_launch` tells it
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
                limit, within_s = self.effort.max_rounds, ends - self.clock()
                rounds.run(self.name, number, lanes, limit, within_s=within_s)
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
            record=self.use.count,
            seat_name=seat.name,
            is_first=seat is self.seats[0],
        )
        lane.prepare()
        return lane

    def _note_noise(self, row: NoiseRow) -> None:
        self._quiet.append((row.launch, row.quiet))


def _raise(_: Lane, error: WorkerError) -> None:
    raise error
