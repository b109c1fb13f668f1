"""Measure groups of participants, launch by launch, for every kind of experiment.

    engine = Engine(run_id=..., policy=..., start=start, checks=checks)
    try:
        engine.launch(0, group, 12, until=clock() + 60)     # one launch of one group
    finally:
        engine.end()

A launch starts the missing workers, prepares each scenario, makes its first call, warms it up,
compares the workers' conditions, and runs rounds (`bench.engine.rounds`). The caller decides how
many launches there are and who takes part; `bench.engine.checks` are the steps at which it may look
at more than times. A participant that fails takes no further part; the others go on.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bench.engine.checks import Checks
from bench.engine.execution import Execution
from bench.engine.pool import WorkerPool
from bench.engine.rounds import Rounds
from bench.engine.time_use import MEASURING, TimeUse
from bench.engine.worker_process import AccountedWorker
from bench.errors import RefusalError, WorkerError
from bench.plan import variables
from bench.store.events import Event, EventKind
from bench.worker import conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bench.analysis.measurements import Key
    from bench.engine.execution import Turn
    from bench.engine.participants import Group, Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy
    from bench.store.records import IterationRow, NoiseRow
    from bench.worker.protocol import PrepareReply

_Answer = TypeVar("_Answer")


def _ignore(*_: object) -> None:
    """Do nothing: the default of every callback."""


@dataclass(kw_only=True)
class Engine:
    """Measures groups of participants, and keeps their blocks, calls and failures.

    `start(participant, launch)` starts a worker without waiting for it. `record_call` and
    `record_noise` write a row to disk before it counts; `record_event` takes what happened beside
    the rows. More fields than a class should have: they are the one interface of four experiments.
    """

    run_id: str
    policy: Policy
    start: Callable[[Participant, int], WorkerHandle]
    checks: Checks = field(default_factory=Checks)
    turn: Turn | None = None
    record_call: Callable[[IterationRow], None] = _ignore
    record_noise: Callable[[NoiseRow], None] = _ignore
    record_event: Callable[[Event], None] = _ignore
    say: Callable[[str], None] = _ignore
    at_once: int = 1
    """How many workers start, prepare or compile at the same time."""
    needed: bool = False
    """Whether no round is run once a participant has failed."""
    same_packages: bool = True
    """Whether all workers run on the same packages, and so on the same OpenMP runtimes."""
    clock: Callable[[], float] = time.monotonic
    use: TimeUse = field(default_factory=TimeUse)

    blocks: dict[str, dict[str, dict[Key, float]]] = field(default_factory=dict)
    """ms by group, participant and (launch, round): a participant may be in several groups."""
    calls: list[IterationRow] = field(default_factory=list)
    noise: list[NoiseRow] = field(default_factory=list)
    failures: dict[str, WorkerError] = field(default_factory=dict)
    """By participant: why it has no further blocks."""
    prepared: dict[str, PrepareReply] = field(default_factory=dict)
    """By participant: its worker's first reply to `prepare`."""
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By participant: the conditions of its first worker."""
    differences: dict[str, list[str]] = field(default_factory=dict)
    """By participant: how its workers' conditions differed from its base's, in sentences."""
    rounds_s: float = 0.0
    """How long the rounds of the last launch took."""
    pool: WorkerPool = field(init=False)
    rounds: Rounds = field(init=False)
    _calls_before_level: dict[str, int] = field(default_factory=dict)
    """By participant: warm-up calls of its first launch before their times were level."""

    def __post_init__(self) -> None:
        self.pool = WorkerPool(
            launch=self.start,
            failed=self._fail,
            checks=self.checks,
            at_once=self.at_once,
            timeout_s=self.policy.start_timeout_s,
            say=self.say,
        )
        self.rounds = Rounds(
            run_id=self.run_id,
            policy=self.policy,
            record=self._record_noise,
            record_event=self.record_event,
            failed=lambda execution, error: self._fail(
                execution.participant, execution.launch, error
            ),
            say=self.say,
            clock=self.clock,
            blocks_ms=self.blocks,
            after_block=self.checks.after_block,
        )

    # ---- a launch --------------------------------------------------------------------------

    def launch(
        self, number: int, group: Group, limit: int, *, until: float, at_least: int = 0
    ) -> int:
        """Run one launch of a group and return how many rounds it had.

        Rounds are run up to `limit` until the time `until`, the first `at_least` in any case. The
        workers stay alive for a further group.
        """
        executions = self.open(number, group)
        done = self.measure(
            number, group, executions, limit, within_s=until - self.clock(), at_least=at_least
        )
        self.close(executions)
        return done

    def open(self, number: int, group: Group) -> list[Execution]:
        """Start, prepare, check and warm up the group; return the executions that are left."""
        participants = [one for one in group.participants if one.name not in self.failures]
        with self.use.during("starting"):
            started = self.pool.start(number, participants)
        executions = [
            self._execute(number, one) for one in started if one.name not in self.failures
        ]
        with self.use.during("preparing"):
            built = self._ask_all(executions, "preparing", Execution.build)
            executions = [one for one, _ in built if self._passes(one, self.checks.after_prepare)]
        with self.use.during("first calls"):
            first_calls = self._ask_all(executions, "first call of", Execution.ask_first_call)
            for execution, reply in first_calls:
                execution.record_first_call(reply)
            base = next((execution for execution, _ in first_calls if execution.is_base), None)
            executions = [
                execution
                for execution, _ in first_calls
                if self._passes(execution, lambda one: self.checks.after_first_call(one, base))
            ]
        with self.use.during(MEASURING):
            executions = [one for one in executions if self._passes(one, self._warm_up)]
        self._compare_conditions(executions)
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
        """Run up to `limit` rounds within that time; return how many were run."""
        started, done = self.clock(), 0
        if not (self.needed and self.failures):
            with self.use.during(MEASURING):
                done = self.rounds.run(
                    group.name, number, executions, limit, within_s=within_s, at_least=at_least
                )
        self.rounds_s = self.clock() - started
        return done

    def close(self, executions: Sequence[Execution]) -> None:
        """Read the conditions again, run the checks after the rounds, and free the models."""
        with self.use.during("evidence"):
            for execution in executions:
                if execution.worker.alive:
                    self._close(execution)

    def end(self, processes: Collection[str] | None = None) -> None:
        """End these workers, or all."""
        self.pool.end(processes)

    def _execute(self, number: int, participant: Participant) -> Execution:
        first_launch_of = participant.base if participant.is_control else participant.name
        execution = Execution(
            run_id=self.run_id,
            participant=participant,
            launch=number,
            worker=AccountedWorker(self.pool.worker(participant), self.use.parent),
            policy=self.policy,
            record=self._record_call,
            turn=self.turn,
            known_trend_calls=self._calls_before_level.get(first_launch_of),
            conditions=self.pool.greeting(participant).get("conditions", {}),
        )
        self.checks.after_start(execution)
        return execution

    # ---- until they are warm ---------------------------------------------------------------

    def _ask_all(
        self, executions: Sequence[Execution], what: str, ask: Callable[[Execution], _Answer]
    ) -> list[tuple[Execution, _Answer]]:
        """Return each execution whose worker answered, with the answer, in the given order.

        Executions whose cost is not known yet are asked one after the other; the others side by
        side, since loading, tracing and compiling use one core for the most part. No timing is
        active then.
        """

        def answer_of(execution: Execution) -> _Answer | WorkerError:
            self.say(f"{what} {execution.name}")
            try:
                return ask(execution)
            except WorkerError as error:
                return error

        def is_new(execution: Execution) -> bool:
            return not execution.is_control and execution.name not in self.prepared

        alone = [one for one in executions if self.at_once < 2 or is_new(one)]
        answers = {execution.name: answer_of(execution) for execution in alone}
        others = [execution for execution in executions if execution.name not in answers]
        if others:
            answers |= self._ask_together(others, answer_of)
        answered = []
        for execution in executions:
            answer = answers[execution.name]
            if isinstance(answer, WorkerError):
                self._fail(execution.participant, execution.launch, answer)
            else:
                answered.append((execution, answer))
        return answered

    def _ask_together(
        self, executions: Sequence[Execution], ask: Callable[[Execution], _Answer]
    ) -> dict[str, _Answer]:
        """Return the answers by name; what ends the waiting, as Ctrl-C does, ends the workers.

        A thread would go on waiting for a live worker for minutes.
        """
        threads = ThreadPoolExecutor(self.at_once)
        try:
            found = list(threads.map(ask, executions))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            self.end([execution.participant.process for execution in executions])
            raise
        threads.shutdown()
        return dict(zip([execution.name for execution in executions], found, strict=True))

    def _warm_up(self, execution: Execution) -> None:
        self.say(f"warming up {execution.name}")
        self.checks.before_warm_up(execution)
        execution.warm_up()
        execution.read_conditions()
        variables.check(execution.scenario, execution.conditions)
        if not execution.steady:
            if self.checks.without_steady_state(execution):
                self._report(EventKind.NO_STEADY_STATE, execution)
        elif execution.trend_calls is not None and not execution.is_control:
            self._calls_before_level.setdefault(execution.name, execution.trend_calls)
        self.checks.after_warm_up(execution)
        if execution.name not in self.prepared:
            self.prepared[execution.name] = execution.prepared
            self.conditions[execution.name] = dict(execution.conditions)
            self.checks.after_first_warm_up(execution)
        execution.rest()

    def _passes(self, execution: Execution, step: Callable[[Execution], None]) -> bool:
        """Take an execution one step further; return False where it takes no further part."""
        try:
            step(execution)
        except WorkerError as error:
            self._fail(execution.participant, execution.launch, error)
            if isinstance(error, RefusalError):
                self._release(execution)
            return False
        return True

    # ---- after the rounds ------------------------------------------------------------------

    def _close(self, execution: Execution) -> None:
        try:
            before = execution.conditions
            execution.read_conditions()
            if before and execution.conditions:
                changed = conditions.differences(before, execution.conditions)
                self._note_differences(
                    execution,
                    [f"conditions changed while it was measured: {one}" for one in changed],
                )
            if execution.name not in self.failures:
                self.checks.after_rounds(execution)
        except RefusalError as refusal:
            self._fail(execution.participant, execution.launch, refusal)
        except WorkerError as error:
            self._report(EventKind.EVIDENCE_MISSING, execution, error)
            return
        self._release(execution)

    def _release(self, execution: Execution) -> None:
        try:
            execution.release()
        except WorkerError as error:
            self._report(EventKind.RELEASE_FAILED, execution, error)

    # ---- conditions, failures and rows -----------------------------------------------------

    def _compare_conditions(self, executions: Sequence[Execution]) -> None:
        """Compare each execution's conditions with its base's; an old commit's worker has none."""
        by_name = {execution.name: execution for execution in executions}
        for execution in executions:
            base = by_name.get(execution.participant.base)
            if base is None or not (base.conditions and execution.conditions):
                continue
            varied = variables.may_differ(execution.scenario) | variables.may_differ(base.scenario)
            same_environment = execution.scenario.environment == base.scenario.environment
            found = conditions.differences(
                base.conditions,
                execution.conditions,
                allowed={*varied, *execution.participant.details.get("differs", ())},
                same_packages=self.same_packages and same_environment,
            )
            self._note_differences(execution, found)

    def _note_differences(self, execution: Execution, sentences: Sequence[str]) -> None:
        if sentences:
            known = self.differences.setdefault(execution.name, [])
            known += [sentence for sentence in sentences if sentence not in known]
            self.checks.on_differences(execution, sentences)

    def _fail(self, participant: Participant, launch: int, error: WorkerError) -> None:
        self.failures.setdefault(participant.name, error)
        self.checks.on_failure(participant, launch, error)

    def _report(
        self, kind: EventKind, execution: Execution, error: WorkerError | None = None
    ) -> None:
        reason = error.reason if error else None
        event = Event(kind=kind, subject=execution.name, launch=execution.launch, reason=reason)
        self.record_event(event)

    def _record_call(self, row: IterationRow) -> None:
        self.record_call(row)
        self.calls.append(row)
        self.use.count(row)

    def _record_noise(self, row: NoiseRow) -> None:
        self.record_noise(row)
        self.noise.append(row)
