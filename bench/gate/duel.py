"""One scenario, base against head: paired rounds with a control, and what they show.

Launch by launch three fresh workers (base, base again as the control, head) share every round, in
the run's own balanced orders, with its blocks, warm-up, noise readings and statistics. What
`bench run` does for scenarios against their baseline happens here for one scenario's two versions.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench import statistics
from bench.errors import WorkerError
from bench.gate.result import Interval, Outcome, weigh
from bench.gate.side import Side
from bench.rounds import Rounds
from bench.scenarios import Status, Verdict, part_of, worker_key
from bench.seated import SeatedLane

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.client import WorkerHandle
    from bench.gate.thresholds import Effort, GatePolicy
    from bench.lane import Lane
    from bench.policy import Policy, VerdictPolicy
    from bench.protocol import Message
    from bench.records import IterationRow, NoiseRow
    from bench.scenarios import Scenario
    from bench.statistics import BlockMedians, Ratio

    Launch = Callable[[Side, Scenario, int], WorkerHandle]


_UNKNOWN = Outcome.NO_VERDICT
_NEEDED = {"call": ("wall_ns", "cpu_ns"), "probe": ("compute_ns", "memory_ns")}


@dataclass(kw_only=True)
class DuelLane(SeatedLane):
    """One side of the scenario; the base is what the others are divided by."""

    side: Side


@dataclass(frozen=True)
class OtherVersion:
    """A worker of another commit, whose replies may have fewer fields than this commit's.

    What the rounds need must be there; what they merely note may be missing.
    """

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
        """As the worker's own, with defaults.

        Raises:
            WorkerError: as the worker's own, or a field is missing that no default can stand for.
        """
        reply = self.worker.ask(op, timeout_s, **fields)
        missing = [name for name in _NEEDED.get(op, ()) if name not in reply]
        if missing:
            raise WorkerError(
                Status.UNSUPPORTED,
                f"its reply to `{op}` has no {', '.join(missing)}: that commit's worker speaks "
                "another protocol",
            )
        return {"gflop_per_s": 0.0, **reply} if op == "probe" else reply


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What measuring a scenario gave."""

    blocks: Mapping[Side, BlockMedians]
    quiet: tuple[bool, ...]
    """For each round, whether the machine was."""
    failure: str | None = None
    """Why it was not measured to its end."""

    @property
    def noisy_share(self) -> float | None:
        """Share of the rounds that were not quiet."""
        return 1 - sum(self.quiet) / len(self.quiet) if self.quiet else None

    def ratio(self, side: Side, rule: VerdictPolicy) -> Ratio | None:
        """A side's speed over the base's; None without a shared round.

        Head is held against the geometric mean of both workers of the base, which have the same
        code: a quarter less of the noise is in the quotient then, for nothing.
        """
        base: BlockMedians = self.blocks[Side.BASE]
        if side is Side.HEAD:
            control = self.blocks[Side.CONTROL]
            base = {key: math.sqrt(ms * control[key]) for key, ms in base.items() if key in control}
        pairs = statistics.paired_log_ratios(base, self.blocks[side])
        if not pairs:
            return None
        return statistics.speedup(
            pairs, draws=rule.bootstrap_draws, seed=rule.seed, confidence=rule.confidence
        )

    def and_then(self, later: Evidence) -> Evidence:
        """This and a later measurement as one; their launches are numbered apart."""
        return Evidence(
            blocks={side: {**self.blocks[side], **later.blocks[side]} for side in Side},
            quiet=self.quiet + later.quiet,
            failure=self.failure or later.failure,
        )


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
    decided: Callable[[Evidence], bool] = lambda _: False
    """Whether what is there is enough; asked after each launch from the effort's first look on."""
    notes: list[str] = field(default_factory=list)
    _blocks: dict[Side, dict[tuple[int, int], float]] = field(init=False)
    _quiet: list[bool] = field(init=False, default_factory=list)
    _failure: str | None = field(init=False, default=None)
    _started: float = field(init=False)
    _rounds_s: float = field(init=False, default=0.0)
    """What the last launch spent in rounds."""

    def measure(self) -> Evidence:
        """All launches that the budget allows."""
        self._blocks = {side: {} for side in Side}
        self._started = self.clock()
        # Its `first_launch` stays 0: a confirmation has no launch that may pass its budget.
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
            count = self._launch(self.first_launch + number, rounds)
            least = self._least_s(self.clock() - begun, count)
            if self._failure or least > self._left():
                break
            if number + 1 >= self.effort.first_look and self.decided(self._evidence()):
                break
        return self._evidence()

    def _evidence(self) -> Evidence:
        return Evidence(blocks=self._blocks, quiet=tuple(self._quiet), failure=self._failure)

    def _least_s(self, took_s: float, count: int) -> float:
        """What one more launch takes with its fewest rounds, after one of `count` rounds."""
        in_rounds = self._rounds_s / count if count else 0.0
        return took_s - self._rounds_s + in_rounds * self.effort.min_rounds

    def _launch(self, number: int, rounds: Rounds) -> int:
        """One launch; returns its rounds."""
        count = 0
        sides = list(Side)
        random.Random(f"{self.scenario.id}/{number}").shuffle(sides)  # noqa: S311 - an order
        workers: list[tuple[Side, WorkerHandle]] = []
        try:
            self.say(f"starting {len(sides)} workers")
            key = worker_key(self.scenario)
            for side in sides:
                workers.append((side, self.launch(side, key, number)))  # noqa: PERF401 - see finally
            for side, worker in workers:  # all at once, so that none warms up beside an import
                _greet(side, worker, self.policy.start_timeout_s)
            lanes = [self._lane(side, worker, number) for side, worker in workers]
            begun = self.clock()
            count = rounds.run(self.scenario.id, number, lanes, self.effort.max_rounds)
            self._rounds_s = self.clock() - begun
            for lane in lanes:
                self._blocks[lane.side].update(lane.blocks_ms)
        except _SideFailedError as error:
            self._failure = str(error)
        finally:
            for _, worker in workers:
                worker.stop()
        return count

    def _lane(self, side: Side, worker: WorkerHandle, number: int) -> DuelLane:
        lane = DuelLane(
            run_id=self.run_id,
            scenario=self.scenario,
            launch=number,
            worker=OtherVersion(worker),
            policy=self.policy,
            record=self.record,
            seat_name=f"{self.scenario.id}#{side}",
            is_first=side is Side.BASE,
            side=side,
        )
        self.say(f"preparing {side}")
        try:
            lane.prepare()
            _check_part(lane)
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


def _greet(side: Side, worker: WorkerHandle, timeout_s: float) -> None:
    try:
        worker.greet(timeout_s)
    except WorkerError as error:
        raise _SideFailedError(_failed(side, error)) from error


def _check_part(lane: Lane) -> None:
    """A commit from before a part was known would run the whole model, and look fast or slow.

    Raises:
        WorkerError: the worker times something else than the scenario's part.
    """
    wanted = part_of(lane.scenario)
    if lane.prepared.get("part") != wanted:
        raise WorkerError(
            Status.UNSUPPORTED, f"that commit's worker does not time {wanted} on its own"
        )


class _SideFailedError(Exception):
    """A side could not be measured; the sentence says which and why."""


def _failed(side: Side, error: WorkerError) -> str:
    return f"the {side} worker failed ({error.status}): {error.reason}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What some evidence shows, and on what grounds."""

    outcome: Outcome
    reason: str
    ratio: Interval | None = None
    """Head's speed over base's."""
    margin: float | None = None
    final: bool = False
    """Whether measuring more of the same would not help: a worker failed, or the noise is known."""
    facts: dict[str, Any] = field(default_factory=dict)


def read_evidence(
    found: Evidence, *, thresholds: GatePolicy, policy: Policy, early: bool = False
) -> Finding:
    """What one measurement, or several together, show; `early` asks for more certainty."""
    rule = replace(policy.verdict, margin_floor=thresholds.margin)
    if early:
        rule = replace(rule, confidence=thresholds.look_confidence)
    ratio, control = found.ratio(Side.HEAD, rule), found.ratio(Side.CONTROL, rule)
    facts = {
        "ratio": _facts(ratio),
        "control": _facts(control),
        "noisy_share": found.noisy_share,
        "failure": found.failure,
    }
    if found.failure:
        return Finding(outcome=_UNKNOWN, reason=found.failure, final=True, facts=facts)
    if ratio is None or control is None:
        reason = "no round has all sides: the machine is too slow for the gate's budget"
        return Finding(outcome=_UNKNOWN, reason=reason, final=True, facts=facts)
    margin = statistics.margin(control, ratio.launches, rule)
    verdict, why = statistics.judge(
        ratio,
        control=control,
        margin=margin,
        noisy_share=found.noisy_share,
        invalid_reason=None,
        policy=rule,
    )
    seen = Interval(estimate=ratio.estimate, low=ratio.low, high=ratio.high)
    outcome, reason = weigh(seen, margin=margin, ruled_out=thresholds.ruled_out)
    if ratio.launches < thresholds.min_launches or ratio.rounds < rule.min_rounds:
        outcome = _UNKNOWN
        reason = (
            f"{ratio.launches} launches with {ratio.rounds} rounds in all are too few: the machine "
            "is too slow for the gate's budget"
        )
    if verdict is Verdict.INVALID:
        outcome, reason = _UNKNOWN, why or "the measurement is invalid"
    return Finding(
        outcome=outcome,
        reason=reason,
        ratio=seen if seen.sound else None,
        margin=margin,
        final=verdict is Verdict.INVALID,
        facts=facts,
    )


def settle(second: Finding, together: Finding) -> Finding:
    """The last word on what was measured a second time.

    The second measurement had no part in raising the suspicion, so it may clear it alone. To
    confirm it, both together must lie beyond the margin with their whole interval, and the second
    one's own estimate beyond the margin too: luck that raised the suspicion is not in that one.
    """
    if second.final or second.outcome is Outcome.PASSED:
        return second
    confirmed = (
        second.ratio is not None
        and second.margin is not None
        and second.ratio.estimate < 1 / (1 + second.margin)
    )
    if together.outcome is Outcome.REGRESSION and not confirmed:
        reason = f"{together.reason}, but fresh processes alone do not show it: {second.reason}"
        return replace(together, outcome=_UNKNOWN, reason=reason)
    return together


def _facts(ratio: Ratio | None) -> dict[str, float] | None:
    """The ratio as JSON can say it: an interval without an end is not a number."""
    if ratio is None or not math.isfinite(ratio.high):
        return None
    return dict(vars(ratio))
