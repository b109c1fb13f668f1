"""The engine: groups of seats measured launch by launch. Runs, studies, gate and selfcheck use it.

    engine = Engine(run_id=..., policy=..., start=start, checks=checks)
    try:
        engine.launch(0, group, 12, until=clock() + 60)     # one launch of one group
    finally:
        engine.end()

A launch starts the workers that are missing, has them prepare their scenario and make its first
call, warms them up, compares what they run under, and runs rounds (`bench.rounds`). How many
launches there are, and who takes part, is the caller's; what is looked at beside the times is
`Checks`. A seat that fails takes no further part and costs itself only.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bench import conditions, variables
from bench.client import AccountedWorker
from bench.errors import RefusalError, WorkerError
from bench.lane import Lane
from bench.rounds import Rounds
from bench.scenarios import Status
from bench.time_use import MEASURING, TimeUse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bench.analysis.measurements import Key
    from bench.client import WorkerHandle
    from bench.lane import Turn
    from bench.policy import Policy
    from bench.protocol import Message
    from bench.records import IterationRow, NoiseRow
    from bench.scenarios import Scenario
    from bench.seats import Group, Seat

_Answer = TypeVar("_Answer")


class Checks:
    """What an experiment looks at beside the times, in the order of a launch; here nothing.

    Any of them may leave its seat out with a `RefusalError`.
    """

    def starts_alone(self, _seat: Seat) -> bool:
        """Whether what starting its worker takes is a result, so that nothing runs beside it."""
        return False

    def greeted(self, seat: Seat, hello: Message) -> None:
        """A fresh worker said what it is."""

    def seated(self, lane: Lane) -> None:
        """A seat has a live worker."""

    def prepared(self, lane: Lane) -> None:
        """Its scenario was set up; no call was made."""

    def begun(self, lane: Lane, base: Lane | None) -> None:
        """Its first call was made, and that of its group's base."""

    def warming(self, lane: Lane) -> None:
        """It is about to be warmed up."""

    def unsettled(self, lane: Lane) -> list[str]:
        """It would not settle; the notes that readers get of it."""
        return [f"{lane.name} did not settle in launch {lane.launch + 1}; measured all the same."]

    def warm(self, lane: Lane) -> None:
        """It is warm, and its conditions are read."""

    def opened(self, lane: Lane) -> None:
        """It is warm for the first time."""

    def unlike(self, lane: Lane, sentences: Sequence[str]) -> None:
        """What it runs under is not what its base does, or not what it was at the start."""

    def closing(self, lane: Lane) -> None:
        """Its rounds are over and its model is still there."""

    def failed(self, seat: Seat, launch: int, error: WorkerError) -> None:
        """It takes no further part."""


def _nothing(*_: object) -> None:
    """What a caller does that has nothing to do."""


@dataclass(kw_only=True)
class Engine:
    """Measures groups of seats, launch by launch, and keeps what it found.

    `start(seat, number)` starts the worker of a seat without waiting for it, `at_once` side by
    side. Where all seats are `needed`, there are no rounds without one. `record_call` and
    `record_noise` put a row on disk before it counts.
    """

    run_id: str
    policy: Policy
    start: Callable[[Seat, int], WorkerHandle]
    checks: Checks = field(default_factory=Checks)
    turn: Turn | None = None
    record_call: Callable[[IterationRow], None] = _nothing
    record_noise: Callable[[NoiseRow], None] = _nothing
    say: Callable[[str], None] = _nothing
    at_once: int = 1
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
    descriptions: dict[str, Message] = field(default_factory=dict)
    """By seat: what `prepare` said the first time."""
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By seat: what its first worker ran under."""
    unlike: dict[str, list[str]] = field(default_factory=dict)
    """By seat: how its workers' conditions differed from its base's, or changed; sentences."""
    notes: list[str] = field(default_factory=list)
    rounds_s: float = 0.0
    """What the last launch spent in rounds."""
    rounds: Rounds = field(init=False)
    _workers: dict[str, WorkerHandle] = field(default_factory=dict)
    _greetings: dict[str, Message] = field(default_factory=dict)
    _lacking: dict[object, WorkerError] = field(default_factory=dict)
    """By what a worker needs: why no worker can have it here."""
    _level_after: dict[str, int] = field(default_factory=dict)
    """By seat: warm-up calls before its first launch was level."""

    def __post_init__(self) -> None:
        self.rounds = Rounds(
            run_id=self.run_id,
            policy=self.policy,
            record=self._note_noise,
            failed=lambda lane, error: self._fail(lane.seat, lane.launch, error),
            note=self.notes.append,
            say=self.say,
            clock=self.clock,
            blocks_ms=self.blocks,
        )

    # ---- a launch --------------------------------------------------------------------------

    def launch(
        self, number: int, group: Group, limit: int, *, until: float, at_least: int = 0
    ) -> int:
        """One launch of a group: up to `limit` rounds until that time; returns how many were run.

        The first `at_least` are run whatever they take. Workers stay for a further group.
        """
        lanes = self.open(number, group)
        done = self.measure(
            number, group, lanes, limit, within_s=until - self.clock(), at_least=at_least
        )
        self.close(lanes)
        return done

    def open(self, number: int, group: Group) -> list[Lane]:
        """Lanes of all seats that can take part: prepared, checked and warm."""
        seats = [seat for seat in group.seats if seat.name not in self.failures]
        with self.use.during("starting"):
            self._start(number, seats)
        lanes = [lane for seat in seats if (lane := self._seat(number, seat))]
        with self.use.during("preparing"):
            answers = self._answers(lanes, "preparing", Lane.build)
            lanes = [lane for lane, _ in answers if self._goes_well(lane, self.checks.prepared)]
        with self.use.during("first calls"):
            lanes = self._begin(lanes)
        with self.use.during(MEASURING):
            lanes = [lane for lane in lanes if self._goes_well(lane, self._warm_up)]
        self._compare(lanes)
        return lanes

    def measure(
        self,
        number: int,
        group: Group,
        lanes: Sequence[Lane],
        limit: int,
        *,
        within_s: float,
        at_least: int = 0,
    ) -> int:
        """Up to `limit` rounds of these lanes, `within_s`; returns how many were run."""
        begun, done = self.clock(), 0
        if not (self.needed and self.failures):
            with self.use.during(MEASURING):
                done = self.rounds.run(
                    group.name, number, lanes, limit, within_s=within_s, at_least=at_least
                )
        self.rounds_s = self.clock() - begun
        return done

    def close(self, lanes: Sequence[Lane]) -> None:
        """See whether what they ran under still holds, look at what is to be, free the models."""
        with self.use.during("evidence"):
            for lane in lanes:
                self._close(lane)

    def end(self, processes: Collection[str] | None = None) -> None:
        """End these workers, or all."""
        for name in list(self._workers) if processes is None else processes:
            worker = self._workers.pop(name, None)
            if worker is not None:
                worker.stop()

    def pids(self) -> set[int]:
        """The processes that are alive."""
        return {worker.pid for worker in self._workers.values() if worker.alive}

    # ---- workers ---------------------------------------------------------------------------

    def _start(self, number: int, seats: Sequence[Seat]) -> None:
        missing = list({s.process: s for s in seats if not self._is_alive(s)}.values())
        together = []
        for seat in missing:
            if self.checks.starts_alone(seat):
                self._start_batch(number, [seat])
            else:
                together.append(seat)
        for first in range(0, len(together), self.at_once):
            self._start_batch(number, together[first : first + self.at_once])

    def _is_alive(self, seat: Seat) -> bool:
        worker = self._workers.get(seat.process)
        return worker is not None and worker.alive

    def _start_batch(self, number: int, seats: Sequence[Seat]) -> None:
        self.say(f"starting {', '.join(seat.name for seat in seats)}")
        for seat in seats:
            self.end([seat.process])  # a dead one has pipes to close
            try:
                if (lacking := self._lacking.get(_needs(seat.scenario))) is not None:
                    raise lacking
                self._workers[seat.process] = self.start(seat, number)
            except WorkerError as error:
                self._fail(seat, number, error)
        for seat in seats:
            if seat.name not in self.failures:
                self._greet(number, seat)

    def _greet(self, number: int, seat: Seat) -> None:
        try:
            greeting = self._workers[seat.process].greet(self.policy.start_timeout_s)
        except WorkerError as error:
            if error.status is Status.UNAVAILABLE:
                self._lacking[_needs(seat.scenario)] = error  # no other one will have it: ask once
            self._fail(seat, number, error)
            return
        self._greetings[seat.process] = dict(greeting.get("hello", {}))
        self.checks.greeted(seat, self._greetings[seat.process])

    def _seat(self, number: int, seat: Seat) -> Lane | None:
        """The seat's lane in this launch; None where it failed."""
        worker = self._workers.get(seat.process)
        if seat.name in self.failures or worker is None:
            return None
        lane = Lane(
            run_id=self.run_id,
            seat=seat,
            launch=number,
            worker=AccountedWorker(worker, self.use.parent),
            policy=self.policy,
            record=self._note_call,
            turn=self.turn,
            known_trend_calls=self._level_after.get(_known_as(seat)),
            conditions=self._greetings[seat.process].get("conditions", {}),
        )
        self.checks.seated(lane)
        return lane

    # ---- until they are warm ---------------------------------------------------------------

    def _answers(
        self, lanes: Sequence[Lane], what: str, ask: Callable[[Lane], _Answer]
    ) -> list[tuple[Lane, _Answer]]:
        """What each lane's worker answered, of those that did, in the lanes' order.

        One after the other while what it takes is still to be learnt, else side by side: loading,
        tracing, packing and compiling use one core for the most part. Nothing counts meanwhile.
        """

        def answered(lane: Lane) -> _Answer | WorkerError:
            self.say(f"{what} {lane.name}")
            try:
                return ask(lane)
            except WorkerError as error:
                return error

        alone = [lane for lane in lanes if self.at_once < 2 or self._is_new(lane.seat)]
        found = {lane.name: answered(lane) for lane in alone}
        known = [lane for lane in lanes if lane.name not in found]
        if known:
            with ThreadPoolExecutor(self.at_once) as threads:
                names = [lane.name for lane in known]
                found.update(zip(names, threads.map(answered, known), strict=True))
        fine = []
        for lane in lanes:
            answer = found[lane.name]
            if isinstance(answer, WorkerError):
                self._fail(lane.seat, lane.launch, answer)
            else:
                fine.append((lane, answer))
        return fine

    def _is_new(self, seat: Seat) -> bool:
        """Whether the seat's worker is the first to tell of its scenario."""
        return not seat.is_control and seat.name not in self.descriptions

    def _begin(self, lanes: Sequence[Lane]) -> list[Lane]:
        """The lanes that made their first call and may go on."""
        answers = self._answers(lanes, "first call of", Lane.ask_first_call)
        for lane, reply in answers:
            lane.count_first_call(reply)
        base = next((lane for lane, _ in answers if lane.is_base), None)
        return [
            lane
            for lane, _ in answers
            if self._goes_well(lane, lambda one: self.checks.begun(one, base))
        ]

    def _warm_up(self, lane: Lane) -> None:
        seat = lane.seat
        self.say(f"warming up {lane.name}")
        self.checks.warming(lane)
        lane.warm_up()
        lane.read_conditions()
        variables.check(seat.scenario, lane.conditions)
        if not lane.steady:
            self.notes += self.checks.unsettled(lane)
        elif lane.trend_calls is not None and not seat.is_control:
            self._level_after.setdefault(seat.name, lane.trend_calls)
        self.checks.warm(lane)
        if seat.name not in self.descriptions:
            self.descriptions[seat.name] = lane.prepared
            self.conditions[seat.name] = dict(lane.conditions)
            self.checks.opened(lane)

    def _goes_well(self, lane: Lane, step: Callable[[Lane], None]) -> bool:
        """Take a lane one step further; False where it takes no further part."""
        try:
            step(lane)
        except WorkerError as error:
            self._fail(lane.seat, lane.launch, error)
            if isinstance(error, RefusalError):
                self._release(lane)
            return False
        return True

    # ---- afterwards ------------------------------------------------------------------------

    def _close(self, lane: Lane) -> None:
        if not lane.worker.alive:
            return
        try:
            opening = lane.conditions
            lane.read_conditions()
            if opening and lane.conditions:
                changed = conditions.differences(opening, lane.conditions)
                self._note_unlike(
                    lane, [f"conditions changed while it was measured: {one}" for one in changed]
                )
            if lane.name not in self.failures:
                self.checks.closing(lane)
        except RefusalError as refusal:
            self._fail(lane.seat, lane.launch, refusal)
        except WorkerError as error:
            self.notes.append(
                f"{lane.name} was measured, but its evidence is missing: {error.reason}."
            )
            return
        self._release(lane)

    def _release(self, lane: Lane) -> None:
        try:
            lane.release()
        except WorkerError as error:
            self.notes.append(f"{lane.name} could not be released: {error.reason}.")

    def _fail(self, seat: Seat, launch: int, error: WorkerError) -> None:
        self.failures.setdefault(seat.name, error)
        self.checks.failed(seat, launch, error)

    # ---- conditions and rows ---------------------------------------------------------------

    def _compare(self, lanes: Sequence[Lane]) -> None:
        """Hold each seat's conditions against its base's. A worker of an old commit has none."""
        by_name = {lane.name: lane for lane in lanes}
        for lane in lanes:
            base = by_name.get(lane.seat.base)
            if base is None or not (base.conditions and lane.conditions):
                continue
            varied = variables.may_differ(lane.scenario) | variables.may_differ(base.scenario)
            same_packages = lane.scenario.environment == base.scenario.environment
            found = conditions.differences(
                base.conditions,
                lane.conditions,
                allowed={*varied, *lane.seat.details.get("differs", ())},
                same_packages=self.same_packages and same_packages,
            )
            self._note_unlike(lane, found)

    def _note_unlike(self, lane: Lane, sentences: Sequence[str]) -> None:
        if sentences:
            known = self.unlike.setdefault(lane.name, [])
            known += [sentence for sentence in sentences if sentence not in known]
            self.checks.unlike(lane, sentences)

    def _note_call(self, row: IterationRow) -> None:
        self.record_call(row)
        self.calls.append(row)
        self.use.count(row)

    def _note_noise(self, row: NoiseRow) -> None:
        self.record_noise(row)
        self.noise.append(row)


def _known_as(seat: Seat) -> str:
    """Whose warm-up tells of this seat's: a control's that of its base."""
    return seat.base if seat.is_control else seat.name


def _needs(scenario: Scenario) -> object:
    """What must be there for its worker to start."""
    return (scenario.backend, scenario.environment, *variables.of(scenario).items())
