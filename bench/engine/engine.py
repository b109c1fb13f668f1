"""The engine measures groups of participants, launch by launch, for every kind of experiment.

    engine = Engine(run_id=..., policy=..., start=start, checks=checks)
    try:
        engine.launch(0, group, 12, until=clock() + 60)     # one launch of one group
    finally:
        engine.end()

A launch starts the workers that are missing, has them prepare their scenario and make its first
call, warms them up, compares what they run under, and runs rounds (`bench.engine.rounds`). How many
launches there are, and who takes part, is the caller's; what is looked at beside the times is
`Checks`. A participant that fails takes no further part and costs itself only.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bench.engine.execution import Execution
from bench.engine.rounds import Rounds
from bench.engine.time_use import MEASURING, TimeUse
from bench.engine.worker_process import AccountedWorker
from bench.errors import RefusalError, WorkerError
from bench.plan import variables
from bench.plan.scenario import Status
from bench.worker import conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bench.analysis.measurements import Key
    from bench.engine.execution import Turn
    from bench.engine.participants import Group, Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import Policy
    from bench.store.records import IterationRow, NoiseRow
    from bench.worker.protocol import Hello, PrepareReply

_Answer = TypeVar("_Answer")


class Checks:
    """What an experiment looks at beside the times, in the order of a launch; here nothing.

    Any of them may leave its participant out with a `RefusalError`.
    """

    def starts_alone(self, _participant: Participant) -> bool:
        """Whether what starting its worker takes is a result, so that nothing runs beside it."""
        return False

    def greeted(self, participant: Participant, hello: Hello) -> None:
        """A fresh worker said what it is."""

    def started(self, execution: Execution) -> None:
        """A participant has a live worker."""

    def prepared(self, execution: Execution) -> None:
        """Its scenario was set up; no call was made."""

    def begun(self, execution: Execution, base: Execution | None) -> None:
        """Its first call was made, and that of its group's base."""

    def warming(self, execution: Execution) -> None:
        """It is about to be warmed up."""

    def unsettled(self, execution: Execution) -> list[str]:
        """It would not settle; the notes that readers get of it."""
        return [
            (
                f"{execution.name} did not settle in launch {execution.launch + 1}; "
                "measured all the same."
            )
        ]

    def warm(self, execution: Execution) -> None:
        """It is warm, and its conditions are read."""

    def opened(self, execution: Execution) -> None:
        """It is warm for the first time."""

    def unlike(self, execution: Execution, sentences: Sequence[str]) -> None:
        """What it runs under is not what its base does, or not what it was at the start."""

    def closing(self, execution: Execution) -> None:
        """Its rounds are over and its model is still there."""

    def failed(self, participant: Participant, launch: int, error: WorkerError) -> None:
        """It takes no further part."""


def _nothing(*_: object) -> None:
    """What a caller does that has nothing to do."""


@dataclass(kw_only=True)
class Engine:
    """Measures groups of participants, launch by launch, and keeps what it found.

    `start(participant, number)` starts the worker of a participant without waiting for it,
    `at_once` side by side. Where all participants are `needed`, there are no rounds without one.
    `record_call` and `record_noise` put a row on disk before it counts.
    """

    run_id: str
    policy: Policy
    start: Callable[[Participant, int], WorkerHandle]
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
    """By group and participant, since a participant may stand in several: ms by (launch, round)."""
    calls: list[IterationRow] = field(default_factory=list)
    noise: list[NoiseRow] = field(default_factory=list)
    failures: dict[str, WorkerError] = field(default_factory=dict)
    """By participant: why it has no, or no further, blocks."""
    descriptions: dict[str, PrepareReply] = field(default_factory=dict)
    """By participant: what `prepare` said the first time."""
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By participant: what its first worker ran under."""
    unlike: dict[str, list[str]] = field(default_factory=dict)
    """By participant: how its workers' conditions differed from its base's, in sentences."""
    notes: list[str] = field(default_factory=list)
    rounds_s: float = 0.0
    """What the last launch spent in rounds."""
    rounds: Rounds = field(init=False)
    _workers: dict[str, WorkerHandle] = field(default_factory=dict)
    _greetings: dict[str, Hello] = field(default_factory=dict)
    _lacking: dict[object, WorkerError] = field(default_factory=dict)
    """By what a worker needs: why no worker can have it here."""
    _level_after: dict[str, int] = field(default_factory=dict)
    """By participant: warm-up calls before its first launch was level."""

    def __post_init__(self) -> None:
        self.rounds = Rounds(
            run_id=self.run_id,
            policy=self.policy,
            record=self._note_noise,
            failed=lambda execution, error: self._fail(
                execution.participant, execution.launch, error
            ),
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
        executions = self.open(number, group)
        done = self.measure(
            number, group, executions, limit, within_s=until - self.clock(), at_least=at_least
        )
        self.close(executions)
        return done

    def open(self, number: int, group: Group) -> list[Execution]:
        """Executions of all participants that can take part: prepared, checked and warm."""
        participants = [
            participant
            for participant in group.participants
            if participant.name not in self.failures
        ]
        with self.use.during("starting"):
            self._start(number, participants)
        executions = [
            execution
            for participant in participants
            if (execution := self._participant(number, participant))
        ]
        with self.use.during("preparing"):
            answers = self._answers(executions, "preparing", Execution.build)
            executions = [
                execution
                for execution, _ in answers
                if self._goes_well(execution, self.checks.prepared)
            ]
        with self.use.during("first calls"):
            executions = self._begin(executions)
        with self.use.during(MEASURING):
            executions = [
                execution for execution in executions if self._goes_well(execution, self._warm_up)
            ]
        self._compare(executions)
        return executions

    def measure(
        self,
        number: int,
        group: Group,
        executions: Sequence[Execution],
        limit: int,
        *,
        within_s: float,
        at_least: int = 0,
    ) -> int:
        """Up to `limit` rounds of these executions, `within_s`; returns how many were run."""
        begun, done = self.clock(), 0
        if not (self.needed and self.failures):
            with self.use.during(MEASURING):
                done = self.rounds.run(
                    group.name, number, executions, limit, within_s=within_s, at_least=at_least
                )
        self.rounds_s = self.clock() - begun
        return done

    def close(self, executions: Sequence[Execution]) -> None:
        """See whether what they ran under still holds, look at what is to be, free the models."""
        with self.use.during("evidence"):
            for execution in executions:
                self._close(execution)

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

    def _start(self, number: int, participants: Sequence[Participant]) -> None:
        missing = list({s.process: s for s in participants if not self._is_alive(s)}.values())
        together = []
        for participant in missing:
            if self.checks.starts_alone(participant):
                self._start_batch(number, [participant])
            else:
                together.append(participant)
        for first in range(0, len(together), self.at_once):
            self._start_batch(number, together[first : first + self.at_once])

    def _is_alive(self, participant: Participant) -> bool:
        worker = self._workers.get(participant.process)
        return worker is not None and worker.alive

    def _start_batch(self, number: int, participants: Sequence[Participant]) -> None:
        self.say(f"starting {', '.join(participant.name for participant in participants)}")
        for participant in participants:
            self.end([participant.process])  # a dead one has pipes to close
            try:
                if (lacking := self._lacking.get(_needs(participant.scenario))) is not None:
                    raise lacking
                self._workers[participant.process] = self.start(participant, number)
            except WorkerError as error:
                self._fail(participant, number, error)
        for participant in participants:
            if participant.name not in self.failures:
                self._greet(number, participant)

    def _greet(self, number: int, participant: Participant) -> None:
        try:
            greeting = self._workers[participant.process].greet(self.policy.start_timeout_s)
        except WorkerError as error:
            if error.status is Status.UNAVAILABLE:
                self._lacking[_needs(participant.scenario)] = (
                    error  # no other one will have it: ask once
                )
            self._fail(participant, number, error)
            return
        self._greetings[participant.process] = greeting.get("hello", {})
        self.checks.greeted(participant, self._greetings[participant.process])

    def _participant(self, number: int, participant: Participant) -> Execution | None:
        """The participant's execution in this launch; None where it failed."""
        worker = self._workers.get(participant.process)
        if participant.name in self.failures or worker is None:
            return None
        execution = Execution(
            run_id=self.run_id,
            participant=participant,
            launch=number,
            worker=AccountedWorker(worker, self.use.parent),
            policy=self.policy,
            record=self._note_call,
            turn=self.turn,
            known_trend_calls=self._level_after.get(_known_as(participant)),
            conditions=self._greetings[participant.process].get("conditions", {}),
        )
        self.checks.started(execution)
        return execution

    # ---- until they are warm ---------------------------------------------------------------

    def _answers(
        self, executions: Sequence[Execution], what: str, ask: Callable[[Execution], _Answer]
    ) -> list[tuple[Execution, _Answer]]:
        """What each execution's worker answered, of those that did, in the executions' order.

        One after the other while what it takes is still to be learnt, else side by side: loading,
        tracing, packing and compiling use one core for the most part. Nothing counts meanwhile.
        """

        def answered(execution: Execution) -> _Answer | WorkerError:
            self.say(f"{what} {execution.name}")
            try:
                return ask(execution)
            except WorkerError as error:
                return error

        alone = [
            execution
            for execution in executions
            if self.at_once < 2 or self._is_new(execution.participant)
        ]
        found = {execution.name: answered(execution) for execution in alone}
        known = [execution for execution in executions if execution.name not in found]
        if known:
            with ThreadPoolExecutor(self.at_once) as threads:
                names = [execution.name for execution in known]
                found.update(zip(names, threads.map(answered, known), strict=True))
        fine = []
        for execution in executions:
            answer = found[execution.name]
            if isinstance(answer, WorkerError):
                self._fail(execution.participant, execution.launch, answer)
            else:
                fine.append((execution, answer))
        return fine

    def _is_new(self, participant: Participant) -> bool:
        """Whether the participant's worker is the first to tell of its scenario."""
        return not participant.is_control and participant.name not in self.descriptions

    def _begin(self, executions: Sequence[Execution]) -> list[Execution]:
        """The executions that made their first call and may go on."""
        answers = self._answers(executions, "first call of", Execution.ask_first_call)
        for execution, reply in answers:
            execution.count_first_call(reply)
        base = next((execution for execution, _ in answers if execution.is_base), None)
        return [
            execution
            for execution, _ in answers
            if self._goes_well(execution, lambda one: self.checks.begun(one, base))
        ]

    def _warm_up(self, execution: Execution) -> None:
        participant = execution.participant
        self.say(f"warming up {execution.name}")
        self.checks.warming(execution)
        execution.warm_up()
        execution.read_conditions()
        variables.check(participant.scenario, execution.conditions)
        if not execution.steady:
            self.notes += self.checks.unsettled(execution)
        elif execution.trend_calls is not None and not participant.is_control:
            self._level_after.setdefault(participant.name, execution.trend_calls)
        self.checks.warm(execution)
        if participant.name not in self.descriptions:
            self.descriptions[participant.name] = execution.prepared
            self.conditions[participant.name] = dict(execution.conditions)
            self.checks.opened(execution)

    def _goes_well(self, execution: Execution, step: Callable[[Execution], None]) -> bool:
        """Take an execution one step further; False where it takes no further part."""
        try:
            step(execution)
        except WorkerError as error:
            self._fail(execution.participant, execution.launch, error)
            if isinstance(error, RefusalError):
                self._release(execution)
            return False
        return True

    # ---- afterwards ------------------------------------------------------------------------

    def _close(self, execution: Execution) -> None:
        if not execution.worker.alive:
            return
        try:
            opening = execution.conditions
            execution.read_conditions()
            if opening and execution.conditions:
                changed = conditions.differences(opening, execution.conditions)
                self._note_unlike(
                    execution,
                    [f"conditions changed while it was measured: {one}" for one in changed],
                )
            if execution.name not in self.failures:
                self.checks.closing(execution)
        except RefusalError as refusal:
            self._fail(execution.participant, execution.launch, refusal)
        except WorkerError as error:
            self.notes.append(
                f"{execution.name} was measured, but its evidence is missing: {error.reason}."
            )
            return
        self._release(execution)

    def _release(self, execution: Execution) -> None:
        try:
            execution.release()
        except WorkerError as error:
            self.notes.append(f"{execution.name} could not be released: {error.reason}.")

    def _fail(self, participant: Participant, launch: int, error: WorkerError) -> None:
        self.failures.setdefault(participant.name, error)
        self.checks.failed(participant, launch, error)

    # ---- conditions and rows ---------------------------------------------------------------

    def _compare(self, executions: Sequence[Execution]) -> None:
        """Compare each participant's conditions with its base's; an old commit's has none."""
        by_name = {execution.name: execution for execution in executions}
        for execution in executions:
            base = by_name.get(execution.participant.base)
            if base is None or not (base.conditions and execution.conditions):
                continue
            varied = variables.may_differ(execution.scenario) | variables.may_differ(base.scenario)
            same_packages = execution.scenario.environment == base.scenario.environment
            found = conditions.differences(
                base.conditions,
                execution.conditions,
                allowed={*varied, *execution.participant.details.get("differs", ())},
                same_packages=self.same_packages and same_packages,
            )
            self._note_unlike(execution, found)

    def _note_unlike(self, execution: Execution, sentences: Sequence[str]) -> None:
        if sentences:
            known = self.unlike.setdefault(execution.name, [])
            known += [sentence for sentence in sentences if sentence not in known]
            self.checks.unlike(execution, sentences)

    def _note_call(self, row: IterationRow) -> None:
        self.record_call(row)
        self.calls.append(row)
        self.use.count(row)

    def _note_noise(self, row: NoiseRow) -> None:
        self.record_noise(row)
        self.noise.append(row)


def _known_as(participant: Participant) -> str:
    """Whose warm-up tells of this participant's: a control's that of its base."""
    return participant.base if participant.is_control else participant.name


def _needs(scenario: Scenario) -> object:
    """What must be there for its worker to start."""
    return (scenario.backend, scenario.environment, *variables.of(scenario).items())
