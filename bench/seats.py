"""Seats measured together: the engine of the studies, the gate and the selfcheck.

    engine = SeatEngine(run_id=..., policy=..., start=start)
    try:
        engine.launch(0, group, 12, until=clock() + 60)     # one launch of one group
    finally:
        engine.end()

A seat is one worker's place in every round of its group: several may run the same scenario. A
launch starts the workers that are missing, prepares and warms them up, compares what they run
under, and runs rounds. Orders, blocks, warm-up and noise are a run's own (`bench.lane`,
`bench.rounds`). How many launches there are, and what is asked of them, is the caller's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import conditions, variables
from bench.client import AccountedWorker
from bench.errors import WorkerError
from bench.lane import Block, Lane
from bench.rounds import Rounds
from bench.scenarios import CONTROL_SUFFIX
from bench.time_use import MEASURING, TimeUse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.analysis.measurements import Key
    from bench.client import WorkerHandle
    from bench.policy import Policy
    from bench.records import IterationRow, NoiseRow
    from bench.scenarios import Scenario

    Turn = Callable[["SeatLane", int, int], float]


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One worker's place in every round of its group.

    Seats of one `worker` take turns inside one process, group after group; by default a seat has
    its own. `base` is the seat whose conditions it must share, and whose time a speedup divides by;
    a control repeats its base.
    """

    name: str
    scenario: Scenario
    worker: str = ""
    base: str = ""
    is_control: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the study itself must know of it."""

    @property
    def process(self) -> str:
        """The name of its process."""
        return self.worker or self.name


def control_of(seat: Seat) -> Seat:
    """A second process of the same seat; it should come out as 1."""
    return Seat(
        name=seat.name + CONTROL_SUFFIX,
        scenario=seat.scenario,
        worker=seat.process + CONTROL_SUFFIX,
        base=seat.name,
        is_control=True,
        details=seat.details,
    )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Seats that share rounds, in the order in which their workers are started."""

    name: str
    seats: tuple[Seat, ...]


@dataclass(kw_only=True)
class SeatLane(Lane):
    """A seat's lane in one launch, whose turn may be the caller's own.

    `turn(lane, round, position)` returns the block's time in ms: what a speedup is made of.
    """

    seat: Seat
    is_first: bool
    turn: Turn | None = None

    @property
    def name(self) -> str:
        """The seat's, because several may run the same scenario."""
        return self.seat.name

    @property
    def is_default(self) -> bool:
        """Whether emulated seats are held against its time."""
        return self.is_first

    def run_block(
        self,
        round_number: int,
        position: int,
        *,
        settle: int,
        saw_other_work: Callable[[], bool] = lambda: False,
    ) -> Block:
        """One turn."""
        if self.turn is None:
            return super().run_block(
                round_number, position, settle=settle, saw_other_work=saw_other_work
            )
        self.blocks_ms[(self.launch, round_number)] = self.turn(self, round_number, position)
        return Block()


def _nothing(*_: object) -> None:
    """What a caller does that has nothing to do."""


@dataclass(kw_only=True)
class SeatEngine:
    """Measures groups of seats, launch by launch, and keeps what it found.

    `start(seat, number)` starts the worker of a seat without waiting for it, `starts_at_once` side
    by side. `prepared(lane)` is called when a worker has prepared its scenario and may refuse it
    with a `WorkerError`; `opened(lane)` when a seat is warm for the first time. A seat that fails
    takes no further part; where all are `needed`, there are no rounds without it.
    """

    run_id: str
    policy: Policy
    start: Callable[[Seat, int], WorkerHandle]
    turn: Turn | None = None
    prepared: Callable[[SeatLane], None] = _nothing
    opened: Callable[[SeatLane], None] = _nothing
    record_call: Callable[[IterationRow], None] = _nothing
    record_noise: Callable[[NoiseRow], None] = _nothing
    say: Callable[[str], None] = _nothing
    starts_at_once: int = 1
    needed: bool = False
    same_packages: bool = True
    """Whether all workers run on the same packages, and so on the same OpenMP runtimes."""
    clock: Callable[[], float] = time.monotonic
    use: TimeUse = field(default_factory=TimeUse)

    blocks: dict[str, dict[str, dict[Key, float]]] = field(default_factory=dict)
    """By group and seat, since a seat may stand in several: ms by (launch, round)."""
    calls: list[IterationRow] = field(default_factory=list)
    noise: list[NoiseRow] = field(default_factory=list)
    failures: dict[str, WorkerError] = field(default_factory=dict)
    """By seat: why it has no, or no further, blocks."""
    descriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By seat: what `prepare` said the first time."""
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By seat: what its first worker ran under."""
    unlike: dict[str, list[str]] = field(default_factory=dict)
    """By seat: how its workers' conditions differed from its base's, or changed; sentences."""
    notes: list[str] = field(default_factory=list)
    rounds_s: float = 0.0
    """What the last launch spent in rounds."""
    _workers: dict[str, WorkerHandle] = field(default_factory=dict)

    def launch(
        self, number: int, group: Group, limit: int, *, until: float, at_least: int = 0
    ) -> int:
        """One launch of a group: up to `limit` rounds until that time; returns how many were run.

        The first `at_least` are run whatever they take. Workers stay for a further group.
        """
        seats = [seat for seat in group.seats if seat.name not in self.failures]
        self._start([seat for seat in seats if not self._is_alive(seat)], number)
        lanes = [lane for seat in seats if (lane := self._prepare(number, group, seat))]
        with self.use.during(MEASURING):
            lanes = [lane for lane in lanes if self._warm_up(lane)]
            self._compare(lanes)
            begun = self.clock()
            done = 0
            if lanes and not (self.needed and self.failures):
                done = self._rounds(group).run(
                    group.name, number, lanes, limit, within_s=until - begun, at_least=at_least
                )
            self.rounds_s = self.clock() - begun
        for lane in lanes:
            self._close(lane)
        return done

    def end(self) -> None:
        """End every worker."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()

    # ---- workers ---------------------------------------------------------------------------

    def _is_alive(self, seat: Seat) -> bool:
        worker = self._workers.get(seat.process)
        return worker is not None and worker.alive

    def _start(self, seats: Sequence[Seat], number: int) -> None:
        missing = list({seat.process: seat for seat in seats}.values())
        for first in range(0, len(missing), self.starts_at_once):
            batch = missing[first : first + self.starts_at_once]
            self.say(f"starting {', '.join(seat.name for seat in batch)}")
            started = [one for one in batch if self._goes_well(one, self._start_one, one, number)]
            for seat in started:
                self._goes_well(seat, self._greet, seat)

    def _start_one(self, seat: Seat, number: int) -> None:
        self._workers[seat.process] = self.start(seat, number)

    def _greet(self, seat: Seat) -> None:
        self._workers[seat.process].greet(self.policy.start_timeout_s)

    def _prepare(self, number: int, group: Group, seat: Seat) -> SeatLane | None:
        """The seat's lane, prepared; None where it failed."""
        if seat.name in self.failures:
            return None
        self.say(f"preparing {seat.name}")
        bases = [one for one in group.seats if not one.base]
        lane = SeatLane(
            run_id=self.run_id,
            scenario=seat.scenario,
            launch=number,
            worker=AccountedWorker(self._workers[seat.process], self.use.parent),
            policy=self.policy,
            record=self._note_call,
            seat=seat,
            is_first=seat is bases[0] if bases else seat is group.seats[0],
            is_control=seat.is_control,
            turn=self.turn,
        )

        def prepare() -> None:
            lane.prepare()
            self.prepared(lane)

        return lane if self._goes_well(seat, prepare) else None

    def _warm_up(self, lane: SeatLane) -> bool:
        seat = lane.seat

        def warm_up() -> None:
            lane.warm_up()
            lane.read_conditions()
            variables.check(seat.scenario, lane.conditions)
            if seat.name not in self.descriptions:
                self.descriptions[seat.name] = lane.prepared
                self.conditions[seat.name] = dict(lane.conditions)
                self.opened(lane)

        if not self._goes_well(seat, warm_up):
            return False
        if not lane.steady:
            self.notes.append(
                f"{seat.name} did not settle in launch {lane.launch + 1}; measured all the same."
            )
        return True

    def _goes_well(self, seat: Seat, step: Callable[..., None], *arguments: object) -> bool:
        """Whether a step of a seat succeeds; if not, it takes no further part."""
        try:
            step(*arguments)
        except WorkerError as error:
            self.failures[seat.name] = error
            return False
        return True

    def _close(self, lane: SeatLane) -> None:
        """See whether what it ran under still holds, and free its model."""
        if not lane.worker.alive:
            return
        opening = lane.conditions
        try:
            lane.read_conditions()
            lane.release()
        except WorkerError as error:
            self.notes.append(f"{lane.name} could not be released: {error.reason}.")
            return
        if opening and lane.conditions:
            changed = conditions.differences(opening, lane.conditions)
            self._note_unlike(
                lane, [f"conditions changed while it was measured: {one}" for one in changed]
            )

    # ---- conditions, rounds and rows -------------------------------------------------------

    def _compare(self, lanes: Sequence[SeatLane]) -> None:
        """Hold each seat's conditions against its base's. A worker of an old commit has none."""
        by_name = {lane.name: lane for lane in lanes}
        for lane in lanes:
            base = by_name.get(lane.seat.base)
            if base is None or not (base.conditions and lane.conditions):
                continue
            varied = variables.may_differ(lane.scenario) | variables.may_differ(base.scenario)
            found = conditions.differences(
                base.conditions,
                lane.conditions,
                allowed={*varied, *lane.seat.details.get("differs", ())},
                same_packages=self.same_packages,
            )
            self._note_unlike(lane, found)

    def _note_unlike(self, lane: SeatLane, sentences: Sequence[str]) -> None:
        if sentences:
            known = self.unlike.setdefault(lane.name, [])
            known += [sentence for sentence in sentences if sentence not in known]

    def _rounds(self, group: Group) -> Rounds:
        return Rounds(
            run_id=self.run_id,
            policy=self.policy,
            record=self._note_noise,
            failed=self._lane_failed,
            note=self.notes.append,
            say=self.say,
            clock=self.clock,
            blocks_ms=self.blocks.setdefault(group.name, {}),
        )

    def _lane_failed(self, lane: Lane, error: WorkerError) -> None:
        self.failures[lane.name] = error

    def _note_call(self, row: IterationRow) -> None:
        self.calls.append(row)
        self.use.count(row)
        self.record_call(row)

    def _note_noise(self, row: NoiseRow) -> None:
        self.noise.append(row)
        self.record_noise(row)
