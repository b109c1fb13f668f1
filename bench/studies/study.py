"""Seats measured together, launch by launch, in balanced rounds: what every study has in common.

A seat is one worker's place in every round of its group. What a turn of it does is the study's own:
by default a block of timed calls, as in a run. Orders, warm-up, stopping, noise and pairing are a
run's (`Lane`, `Rounds`, `statistics`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import conditions, variables
from bench.client import AccountedWorker, ParentUse
from bench.errors import WorkerError
from bench.lane import Block
from bench.rounds import Rounds
from bench.scenarios import CONTROL_SUFFIX
from bench.seated import SeatedLane

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Turn = Callable[["SeatLane", int, int], float]
    from bench.client import WorkerHandle
    from bench.lane import Lane
    from bench.policy import Policy
    from bench.records import IterationRow, NoiseRow
    from bench.scenarios import Profile, Scenario


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One worker's place in every round of its group.

    Seats of one `worker` take turns inside one process, group after group. `base` is the seat whose
    time a speedup divides by; a control repeats its base.
    """

    name: str
    scenario: Scenario
    worker: str
    base: str = ""
    is_control: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the study itself must know of it."""


def control_of(seat: Seat) -> Seat:
    """A second process of the same seat; it should come out as 1."""
    return Seat(
        name=seat.name + CONTROL_SUFFIX,
        scenario=seat.scenario,
        worker=seat.worker + CONTROL_SUFFIX,
        base=seat.name,
        is_control=True,
        details=seat.details,
    )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Seats that share rounds; the first one is what the stopping rule divides by."""

    name: str
    seats: tuple[Seat, ...]


@dataclass(kw_only=True)
class SeatLane(SeatedLane):
    """A seat's lane, whose turn may be the study's own.

    `turn(lane, round, position)` returns the block's time in ms: what a speedup is made of.
    """

    seat: Seat
    turn: Turn | None = None

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


@dataclass(kw_only=True)
class Measured:
    """What a study found out."""

    groups: dict[str, dict[str, dict[tuple[int, int], float]]] = field(default_factory=dict)
    """By group and seat, since a seat may stand in several: ms by (launch, round)."""
    noise: list[NoiseRow] = field(default_factory=list)
    failures: dict[str, WorkerError] = field(default_factory=dict)
    """By seat: why it has no, or no further, blocks."""
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By seat: the conditions its worker said it ran under, and what differed."""
    prepared: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By seat: what `prepare` said."""
    notes: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Study:
    """Measures groups of seats.

    `launch(seat, number)` starts the worker of a seat. `opened(lane)` is called once for every
    seat, in the first launch, when it is prepared and warm. `record_call` and `record_noise` take
    rows as they come. The first launch gives every group its minimum of rounds; later ones run
    while there is budget. A seat that fails costs itself only.
    """

    run_id: str
    profile: Profile
    policy: Policy
    budget_s: float
    groups: Sequence[Group]
    launch: Callable[[Seat, int], WorkerHandle]
    turn: Turn | None = None
    opened: Callable[[SeatLane], None] = lambda _: None
    record_call: Callable[[IterationRow], None] = lambda _: None
    record_noise: Callable[[NoiseRow], None] = lambda _: None
    say: Callable[[str, float], None] = lambda _what, _left: None
    begin_group: Callable[[Group], None] = lambda _: None
    keep_workers: bool = True
    """Whether a worker serves the next group too; else each group has fresh ones."""
    clock: Callable[[], float] = time.monotonic
    measured: Measured = field(default_factory=Measured)
    use: ParentUse = field(default_factory=ParentUse)
    _ends: float = field(init=False, default=float("inf"))
    _part_ends: float = field(init=False, default=float("inf"))
    _where: str = field(init=False, default="")

    def measure(self) -> Measured:
        """All launches that fit."""
        self._ends = self.clock() + self.budget_s
        for number in range(self.profile.launches):
            if number and self.clock() >= self._ends:
                break
            self._launch(number)
        self._note_launches()
        return self.measured

    def _note_launches(self) -> None:
        """Say which groups the budget gave fewer launches than the profile asks for."""
        had = {
            name: len({launch for blocks in seats.values() for launch, _ in blocks})
            for name, seats in self.measured.groups.items()
        }
        wanted = self.profile.launches
        fewer = [f"{name} ({count})" for name, count in had.items() if 0 < count < wanted]
        if fewer:
            self.measured.notes.append(
                f"The budget allowed fewer than {wanted} launches of {', '.join(fewer)}: "
                "differences between processes are seen less well (raise --budget)."
            )

    def _launch(self, number: int) -> None:
        workers: dict[str, WorkerHandle] = {}
        try:
            for place, group in enumerate(self.groups):
                launches_left = self.profile.launches - number
                share = (self._ends - self.clock()) / launches_left / (len(self.groups) - place)
                self._part_ends = self.clock() + share
                if number and share <= 0:
                    return
                self.begin_group(group)
                self._group(number, group, workers)
                if not self.keep_workers:
                    _end(workers)
        finally:
            _end(workers)

    def _group(self, number: int, group: Group, workers: dict[str, WorkerHandle]) -> None:
        self._where = f"launch {number + 1}/{self.profile.launches} · {group.name}"
        lanes = [
            lane
            for seat in group.seats
            if seat.name not in self.measured.failures
            and (lane := self._open(number, group, seat, workers)) is not None
        ]
        self._compare_conditions(lanes)
        rounds = Rounds(
            run_id=self.run_id,
            policy=self.policy,
            record=self._note_noise,
            failed=self._failed,
            note=self.measured.notes.append,
            say=self._say,
            clock=self.clock,
            blocks_ms=self.measured.groups.setdefault(group.name, {}),
        )
        limit = self.profile.max_rounds if number else self.profile.min_rounds
        if self.profile.launches == 1:
            limit = self.profile.max_rounds
        if lanes:
            rounds.run(
                group.name,
                number,
                lanes,
                limit,
                within_s=self._part_ends - self.clock(),
                at_least=0 if number else limit,
            )
        for lane in lanes:
            if lane.worker.alive:
                self._release(lane)

    def _open(
        self, number: int, group: Group, seat: Seat, workers: dict[str, WorkerHandle]
    ) -> SeatLane | None:
        """The seat's worker, prepared and warm; None where it failed."""
        self._say(f"preparing {seat.name}")
        try:
            lane = SeatLane(
                run_id=self.run_id,
                scenario=seat.scenario,
                launch=number,
                worker=AccountedWorker(self._worker(number, seat, workers), self.use),
                policy=self.policy,
                record=self.record_call,
                seat_name=seat.name,
                seat=seat,
                is_first=seat is group.seats[0],
                is_control=seat.is_control,
                turn=self.turn,
            )
            lane.prepare()
            lane.warm_up()
            lane.read_conditions()
            variables.check(seat.scenario, lane.conditions)
            if seat.name not in self.measured.prepared:
                self.measured.prepared[seat.name] = lane.prepared
                self.measured.workers[seat.name] = dict(lane.conditions)
                self.opened(lane)
        except WorkerError as error:
            self.measured.failures[seat.name] = error
            return None
        return lane

    def _worker(self, number: int, seat: Seat, workers: dict[str, WorkerHandle]) -> WorkerHandle:
        worker = workers.get(seat.worker)
        if worker is None or not worker.alive:
            worker = self.launch(seat, number)
            workers[seat.worker] = worker
            worker.greet(self.policy.start_timeout_s)
        return worker

    def _compare_conditions(self, lanes: Sequence[SeatLane]) -> None:
        """Each seat's conditions against those of the seat it is divided by."""
        by_name = {lane.name: lane for lane in lanes}
        for lane in lanes:
            base = by_name.get(lane.seat.base)
            if base is None:
                continue
            varied = variables.may_differ(lane.scenario) | variables.may_differ(base.scenario)
            found = conditions.differences(
                base.conditions,
                lane.conditions,
                allowed={*varied, *lane.seat.details.get("differs", ())},
            )
            if not found:
                continue
            kept = self.measured.workers.setdefault(lane.name, {})
            known = kept.setdefault(conditions.DIFFERS, [])
            known += [sentence for sentence in found if sentence not in known]

    def _failed(self, lane: Lane, error: WorkerError) -> None:
        self.measured.failures[lane.name] = error

    def _release(self, lane: SeatLane) -> None:
        try:
            lane.release()
        except WorkerError as error:
            self.measured.notes.append(f"{lane.name} could not be released: {error.reason}.")

    def _note_noise(self, row: NoiseRow) -> None:
        self.measured.noise.append(row)
        self.record_noise(row)

    def _say(self, what: str) -> None:
        self.say(f"{self._where} · {what}", max(0.0, self._ends - self.clock()))


def _end(workers: dict[str, WorkerHandle]) -> None:
    for worker in workers.values():
        worker.stop()
    workers.clear()
