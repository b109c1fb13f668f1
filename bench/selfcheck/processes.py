"""Measure which part of the variance between fresh processes a cheaper process would miss.

Processes of the same code differ, so a run starts fresh ones (exec), which takes seconds each.
Cheaper are, from most to least renewed: a fork of a zygote, preparing again in a live process, and
other pages for its heap. Each level is renewed many times within the one above it, in all
participants side by side, and `bench.selfcheck.process_result` computes what each adds to the
variance. Every block is divided by the block of a reference worker, which is never renewed, in the
same round.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from bench.analysis import parity
from bench.engine import schedule
from bench.engine.execution import Execution
from bench.engine.launcher import without_log
from bench.engine.participants import Participant, control_of
from bench.engine.rounds import Rounds
from bench.errors import WorkerError
from bench.plan.scenario import Dtype, Layout, Mode, Status, Task, stock_default
from bench.plan.thresholds import DEFAULT, SELFCHECK
from bench.selfcheck.process_result import ProcessResult
from bench.worker import conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bench.analysis.nested_variance import Floats
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import Policy, SelfcheckPolicy

_REFERENCE = stock_default(Task.INFERENCE, 1)
_NO_HEAP = "This system gives no heap back: `heap` shows what repeating blocks does."


@dataclass(frozen=True, kw_only=True)
class Design:
    """The number of units of each level in one unit of the level above."""

    execs: int
    """Also the number of zygotes."""
    prepares: int
    heaps: int
    blocks: int
    forks: int
    """Of each zygote."""
    fork_blocks: int
    budget_s: float
    """Where nothing else is measured; fewer replicates fit into it where calls are long."""


FULL = Design(execs=6, prepares=4, heaps=4, blocks=3, forks=4, fork_blocks=6, budget_s=900)
QUICK = Design(execs=2, prepares=2, heaps=2, blocks=2, forks=2, fork_blocks=2, budget_s=240)


def scenarios_for(*, native_bf16: bool) -> tuple[Scenario, ...]:
    """Return what a run's headlines compare: stock and IPEX, eager and TorchScript, at batch 1."""
    script = replace(_REFERENCE, mode=Mode.TORCHSCRIPT, fusion=True, layout=Layout.CHANNELS_LAST)
    dtype = Dtype.BF16 if native_bf16 else Dtype.FP32
    eager = replace(_REFERENCE, backend="ipex", dtype=dtype, layout=Layout.CHANNELS_LAST)
    return (_REFERENCE, script, replace(script, backend="ipex"), eager)


@dataclass(kw_only=True)
class Processes:  # more than 15 fields: settings, and the state of a replicate
    """Measures replicate after replicate; `result` has what was measured so far at any moment.

    `start(scenario)` starts a worker, `zygote(scenario)` a zygote, and `fork(zygote)` a worker from
    it. `folder` receives outputs, and workers' logs. A participant without its backend is left out
    with a note.
    """

    start: Callable[[Scenario], WorkerHandle]
    zygote: Callable[[Scenario], WorkerHandle]
    fork: Callable[[Any], WorkerHandle]
    folder: Path
    scenarios: Sequence[Scenario]
    design: Design = FULL
    policy: Policy = DEFAULT
    limits: SelfcheckPolicy = SELFCHECK
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    result: ProcessResult = field(init=False)
    _rounds: Rounds = field(init=False)
    _reference: Execution | None = field(init=False, default=None)
    _known: dict[str, Mapping[str, object]] = field(init=False, default_factory=dict)
    """The conditions of each participant's first fresh worker."""
    _numbers: Iterator[int] = field(init=False, default_factory=count)
    _orders: Iterator[tuple[str, ...]] = field(init=False, default_factory=lambda: iter(()))

    def __post_init__(self) -> None:
        self.result = ProcessResult(max_missed_share=self.limits.max_missed_share)
        self._rounds = Rounds(
            run_id="selfcheck",
            policy=self.policy,
            record=lambda _: None,
            failed=_give_up,
            record_event=lambda event: self.result.notes.append(event.sentence),
            say=lambda _: None,
            clock=self.clock,
        )

    def replicate(self, name: str) -> int:
        """Measure one fresh process and one zygote of each participant, with all levels in them.

        A forked worker that fails, computes something else or runs under other conditions ends the
        measuring of forks, and the result keeps the reason.

        Returns:
            The number of replicates so far.

        Raises:
            WorkerError: a fresh worker failed.
        """
        if self._reference is None:
            self._open()
        fresh = self._fresh(name)
        forked: Floats = np.empty(0)
        if self.result.forks_refused is None:
            try:
                forked = self._forked(name)
            except WorkerError as error:
                self.result.forks_refused = without_log(error.reason, self.folder)
        self.result.replicates.append((fresh, forked))
        return len(self.result.replicates)

    def end(self) -> None:
        """Stop the reference worker."""
        if self._reference is not None:
            self._reference.worker.stop()

    def _open(self) -> None:
        """Start the reference, and find which participants can run and what they compute."""
        reference = self.start(_REFERENCE)
        self._reference = self._participant(_REFERENCE, reference, is_control=True)
        reference.greet(self.policy.start_timeout_s)
        self._reference.prepare()
        self._reference.warm_up()
        for scenario in self.scenarios:
            self._learn(scenario)
        self.scenarios = [one for one in self.scenarios if one.id in self._known]
        self.result.participants += self._known
        names = [self._reference.name, *self._known]
        self._orders = schedule.round_orders(names, seed=self.policy.order_seed)

    def _learn(self, scenario: Scenario) -> None:
        """Keep the outputs and the conditions of a participant's fresh worker."""
        try:
            with self._workers("exec", [partial(self.start, scenario)]) as workers:
                (participant,) = self._prepare([scenario], workers)
                participant.outputs(self._outputs(scenario), within_s=0)
                participant.read_conditions()
        except WorkerError as error:
            if error.status not in (Status.UNAVAILABLE, Status.UNSUPPORTED):
                raise
            self.result.notes.append(f"{scenario.id} is left out: {error.reason}.")
        else:
            self._known[scenario.id] = participant.conditions

    def _fresh(self, name: str) -> Floats:
        """Return log ratios of fresh processes: participants x prepares x heaps x blocks."""
        starts = [partial(self.start, scenario) for scenario in self.scenarios]
        prepares = []
        with self._workers("exec", starts) as workers:
            for turn in range(self.design.prepares):
                self.say(f"{name}: prepared {turn + 1} of {self.design.prepares} times")
                participants = self._prepare(self.scenarios, workers)
                self._compare_conditions(participants)
                heaps = [self._blocks(participants, self.design.blocks)]
                for _ in range(1, self.design.heaps):
                    self._renew(participants)
                    heaps.append(self._blocks(participants, self.design.blocks))
                prepares.append(heaps)
        return np.moveaxis(np.array(prepares), 2, 0)

    def _forked(self, name: str) -> Floats:
        """Return log ratios of forked processes: participants x forks x blocks."""
        starts = [partial(self.zygote, scenario) for scenario in self.scenarios]
        forks = []
        with self._workers("zygote", starts) as zygotes:
            for turn in range(self.design.forks):
                self.say(f"{name}: forked {turn + 1} of {self.design.forks} times")
                with self._workers("fork", [partial(self.fork, one) for one in zygotes]) as workers:
                    participants = self._prepare(self.scenarios, workers)
                    self._compare_conditions(participants)
                    forks.append(self._blocks(participants, self.design.fork_blocks))
                    if turn == 0:
                        self._compare_outputs(participants)
        return np.moveaxis(np.array(forks), 1, 0)

    @contextmanager
    def _workers(
        self, kind: str, starts: Sequence[Callable[[], WorkerHandle]]
    ) -> Iterator[list[WorkerHandle]]:
        """Start these workers one after the other, and stop them afterwards."""
        workers: list[WorkerHandle] = []
        try:
            for start in starts:
                with self._timed(kind):
                    workers.append(start())
                    workers[-1].greet(self.policy.start_timeout_s)
            yield workers
        finally:
            for worker in workers:
                worker.stop()

    def _prepare(
        self, scenarios: Sequence[Scenario], workers: Sequence[WorkerHandle]
    ) -> list[Execution]:
        """Build the scenarios in their workers, and warm them up."""
        participants = [self._participant(*pair) for pair in zip(scenarios, workers, strict=True)]
        for participant in participants:
            with self._timed("prepare"):
                participant.prepare()
                participant.warm_up()
                participant.rest()
        return participants

    def _participant(
        self, scenario: Scenario, worker: WorkerHandle, *, is_control: bool = False
    ) -> Execution:
        participant = Participant(name=scenario.id, scenario=scenario)
        return Execution(
            run_id="selfcheck",
            participant=control_of(participant) if is_control else participant,
            launch=0,
            worker=worker,
            policy=self.policy,
            record=lambda _: None,
            known_trend_calls=0,  # as long as a later launch of a run warms up
        )

    def _renew(self, participants: Sequence[Execution]) -> None:
        for participant in participants:
            with self._timed("heap"):
                renewed = participant.worker.ask("renew", self.policy.call_timeout_s)["renewed"]
            if not renewed and _NO_HEAP not in self.result.notes:
                self.result.notes.append(_NO_HEAP)

    def _blocks(self, participants: Sequence[Execution], blocks: int) -> Floats:
        """Return log ratios to the reference, participants x blocks; NaN where too few are clean.

        A round that lost a block is repeated, up to twice as many rounds as blocks.
        """
        assert self._reference is not None  # noqa: S101 - `replicate` has started it
        everyone = [self._reference, *participants]
        rounds: list[Floats] = []
        for _ in range(2 * blocks):
            if len(rounds) < blocks and all(times := self._round(everyone)):
                logs: Floats = np.log(times)
                rounds.append(logs[1:] - logs[0])
        rounds += [np.full(len(participants), math.nan)] * (blocks - len(rounds))
        return np.array(rounds).T

    def _round(self, participants: list[Execution]) -> list[float]:
        """Return each participant's block in ms; zero where other work disturbed it."""
        number = next(self._numbers)
        for participant in participants:
            participant.launch = number
        self._rounds.run("processes", number, participants, 1, at_least=1, orders=self._orders)
        return [participant.blocks_ms.get((number, 0), 0.0) for participant in participants]

    def _compare_conditions(self, participants: Sequence[Execution]) -> None:
        """Raise WorkerError where a worker's conditions are not those of its scenario's first."""
        for participant in participants:
            participant.read_conditions()
            found = conditions.differences(self._known[participant.name], participant.conditions)
            if found:
                reason = (
                    f"a worker of {participant.name} ran under other conditions: {'; '.join(found)}"
                )
                raise WorkerError(Status.UNSUPPORTED, reason)

    def _compare_outputs(self, participants: Sequence[Execution]) -> None:
        """Raise WorkerError where a worker computes something else than the participant's first."""
        for participant in participants:
            path = self.folder / "forked.npz"
            participant.outputs(path, within_s=0)
            scenario = participant.scenario
            found = parity.compare(
                self._outputs(scenario),
                path,
                task=scenario.task,
                dtype=scenario.dtype,
                tolerance=self.policy.parity,
            )
            if not found.within_tolerance:
                reason = (
                    f"a forked worker of {participant.name} gave other outputs than a fresh one"
                )
                raise WorkerError(Status.WRONG_OUTPUT, reason)

    def _outputs(self, scenario: Scenario) -> Path:
        return self.folder / f"{scenario.id.replace('/', '-')}.npz"

    @contextmanager
    def _timed(self, kind: str) -> Iterator[None]:
        began = self.clock()
        yield
        self.result.seconds.setdefault(kind, []).append(self.clock() - began)


def _give_up(_: Execution, error: WorkerError) -> NoReturn:
    raise error
