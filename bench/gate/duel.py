"""One scenario, base against head: paired rounds with a control, and what they show.

Launch by launch three fresh workers (base, base again as the control, head) share every round, in
the run's own balanced orders, with its blocks, warm-up, noise readings and statistics. What
`bench run` does for scenarios against their baseline happens here for one scenario's two versions.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench import statistics
from bench.errors import WorkerError
from bench.gate.result import Interval, Outcome, weigh
from bench.gate.side import Side
from bench.lane import Lane
from bench.rounds import Rounds
from bench.scenarios import Verdict, worker_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.client import WorkerHandle
    from bench.gate.thresholds import Effort, GatePolicy
    from bench.policy import Policy
    from bench.protocol import Message
    from bench.records import IterationRow, NoiseRow
    from bench.scenarios import Scenario
    from bench.statistics import Ratio

    Launch = Callable[[Side, Scenario, int], WorkerHandle]


@dataclass(kw_only=True)
class DuelLane(Lane):
    """One side of the scenario."""

    side: Side

    @property
    def name(self) -> str:
        """The scenario's id with the side behind it."""
        return f"{self.scenario.id}#{self.side}"

    @property
    def is_default(self) -> bool:
        """The base is what the others are divided by."""
        return self.side is Side.BASE


@dataclass(frozen=True)
class OtherVersion:
    """A worker of another commit: what its replies do not have yet, the rounds do not miss."""

    worker: WorkerHandle

    @property
    def alive(self) -> bool:
        """As the worker's own."""
        return self.worker.alive

    @property
    def pid(self) -> int:
        """As the worker's own."""
        return self.worker.pid

    def greet(self, timeout_s: float) -> Message:
        """As the worker's own."""
        return self.worker.greet(timeout_s)

    def stop(self) -> None:
        """As the worker's own."""
        self.worker.stop()

    def ask(self, op: str, timeout_s: float, **fields: object) -> Message:
        """As the worker's own; an older probe has no arithmetic rate."""
        reply = self.worker.ask(op, timeout_s, **fields)
        return {"gflop_per_s": 0.0, **reply} if op == "probe" else reply


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one measurement of a scenario gave."""

    ratio: Ratio | None = None
    """Head's speed over base's."""
    control: Ratio | None = None
    """The base's second worker over its first: how far identical code came out apart."""
    noisy_share: float | None = None
    failure: str | None = None
    """Why it was not measured to its end."""


@dataclass(kw_only=True)
class Duel:
    """Measures one scenario once.

    `launch(side, worker key, number)` starts a worker; `first_launch` numbers the launches, so that
    a confirmation's rows and orders are its own. Nothing here imports torch.
    """

    run_id: str
    scenario: Scenario
    launch: Launch
    effort: Effort
    thresholds: GatePolicy
    policy: Policy
    record: Callable[[IterationRow], None]
    record_noise: Callable[[NoiseRow], None]
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    first_launch: int = 0
    notes: list[str] = field(default_factory=list)
    _blocks: dict[Side, dict[tuple[int, int], float]] = field(init=False)
    _quiet: list[bool] = field(init=False, default_factory=list)
    _failure: str | None = field(init=False, default=None)
    _started: float = field(init=False)

    def measure(self) -> Evidence:
        """All launches that the budget allows."""
        self._blocks = {side: {} for side in Side}
        self._started = self.clock()
        rounds = Rounds(
            run_id=self.run_id,
            policy=self.policy,
            target_half_width=self.thresholds.target_half_width,
            min_rounds=self.effort.min_rounds,
            record=self._note_noise,
            failed=self._lane_failed,
            note=self.notes.append,
            say=self.say,
            left_s=self._left,
            clock=self.clock,
        )
        for number in range(self.effort.launches):
            begun = self.clock()
            self._launch(self.first_launch + number, rounds)
            if self._failure or self.clock() - begun > self._left():
                break
        return self._evidence()

    def _launch(self, number: int, rounds: Rounds) -> None:
        sides = list(Side)
        random.Random(f"{self.scenario.id}/{number}").shuffle(sides)  # noqa: S311 - an order
        workers: list[tuple[Side, WorkerHandle]] = []
        try:
            self.say(f"starting {len(sides)} workers")
            key = worker_key(self.scenario)
            workers += [(side, self.launch(side, key, number)) for side in sides]
            lanes = [self._lane(side, worker, number) for side, worker in workers]
            rounds.run(self.scenario.id, number, lanes, self.effort.max_rounds)
            for lane in lanes:
                self._blocks[lane.side].update(lane.blocks_ms)
        except _SideFailedError as error:
            self._failure = str(error)
        finally:
            for _, worker in workers:
                worker.stop()

    def _lane(self, side: Side, worker: WorkerHandle, number: int) -> DuelLane:
        lane = DuelLane(
            run_id=self.run_id,
            scenario=self.scenario,
            launch=number,
            worker=OtherVersion(worker),
            policy=self.policy,
            record=self.record,
            side=side,
        )
        self.say(f"preparing {side}")
        try:
            worker.greet(self.policy.start_timeout_s)
            lane.prepare()
            lane.warm_up()
        except WorkerError as error:
            raise _SideFailedError(_failed(side, error)) from error
        if not lane.steady:
            self.notes.append(
                f"{self.scenario.id}: {side} did not settle in launch {number + 1}; measured all "
                "the same."
            )
        return lane

    def _lane_failed(self, lane: Lane, error: WorkerError) -> None:
        side = lane.side if isinstance(lane, DuelLane) else Side.BASE
        self._failure = _failed(side, error)

    def _note_noise(self, row: NoiseRow) -> None:
        self._quiet.append(row.quiet)
        self.record_noise(row)

    def _left(self) -> float:
        return self.effort.budget_s - (self.clock() - self._started)

    def _evidence(self) -> Evidence:
        return Evidence(
            ratio=self._ratio(Side.HEAD),
            control=self._ratio(Side.CONTROL),
            noisy_share=1 - sum(self._quiet) / len(self._quiet) if self._quiet else None,
            failure=self._failure,
        )

    def _ratio(self, side: Side) -> Ratio | None:
        pairs = statistics.paired_log_ratios(self._blocks[Side.BASE], self._blocks[side])
        if not pairs:
            return None
        rule = self.policy.verdict
        return statistics.speedup(
            pairs, draws=rule.bootstrap_draws, seed=rule.seed, confidence=rule.confidence
        )


class _SideFailedError(Exception):
    """A side could not be measured; the sentence says which and why."""


def _failed(side: Side, error: WorkerError) -> str:
    return f"the {side} worker failed ({error.status}): {error.reason}"


def read_evidence(
    found: Evidence, *, thresholds: GatePolicy, policy: Policy
) -> tuple[Outcome, str, float | None]:
    """What one measurement shows, in a sentence, and the margin that it was held to."""
    if found.failure:
        return Outcome.NO_VERDICT, found.failure, None
    if found.ratio is None:
        return Outcome.NO_VERDICT, "no round has both sides: raise the budget", None
    rule = replace(policy.verdict, margin_floor=thresholds.margin)
    margin = statistics.margin(found.control, found.ratio.launches, rule)
    verdict, reason = statistics.judge(
        found.ratio,
        control=found.control,
        margin=margin,
        noisy_share=found.noisy_share,
        invalid_reason=None,
        policy=rule,
    )
    if verdict is Verdict.INVALID or found.control is None:
        return Outcome.NO_VERDICT, reason or "no control was measured", margin
    if found.ratio.launches < thresholds.min_launches or found.ratio.rounds < rule.min_rounds:
        return (
            Outcome.NO_VERDICT,
            (
                f"{found.ratio.launches} launches with {found.ratio.rounds} rounds in all show too "
                "little: the machine is too slow for the gate's budget"
            ),
            margin,
        )
    outcome, sentence = weigh(interval(found.ratio), margin=margin, ruled_out=thresholds.ruled_out)
    return outcome, sentence, margin


def interval(ratio: Ratio) -> Interval:
    """The part of a ratio that the gate shows."""
    return Interval(estimate=ratio.estimate, low=ratio.low, high=ratio.high)
