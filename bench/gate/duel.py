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

from bench import conditions
from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements, disturbance
from bench.errors import WorkerError
from bench.gate.result import Interval, Outcome, weigh
from bench.gate.side import Side
from bench.rounds import Rounds
from bench.scenarios import CONTROL_SUFFIX, Status, part_of, worker_key
from bench.seated import SeatedLane

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.analysis.comparison import Ratio
    from bench.analysis.measurements import BlockTimes, Key
    from bench.client import WorkerHandle
    from bench.gate.thresholds import Effort, GatePolicy
    from bench.lane import Lane
    from bench.policy import Policy
    from bench.protocol import Message
    from bench.records import IterationRow, NoiseRow
    from bench.scenarios import Scenario

    Launch = Callable[[Side, Scenario, int], WorkerHandle]


_UNKNOWN = Outcome.NO_VERDICT
_BASE, _HEAD = "base", "head"
_LANES = {Side.BASE: _BASE, Side.CONTROL: _BASE + CONTROL_SUFFIX, Side.HEAD: _HEAD}
"""How the judge knows the sides: the control belongs to the base."""
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

    blocks: Mapping[Side, BlockTimes]
    lost: Mapping[Side, frozenset[Key]] = field(default_factory=dict)
    """Blocks that other work disturbed and left nothing clean of."""
    disturbed_shares: Mapping[Side, float] = field(default_factory=dict)
    """Share of a side's calls that other work disturbed."""
    unlike: tuple[str, ...] = ()
    """How the conditions of a side's worker differed from the base's."""
    failure: str | None = None
    """Why it was not measured to its end."""

    def judge(self, policy: Policy) -> Judge:
        """Who judges it. The base's second worker is its control, so it counts with the base.

        Both have the same code: head is held against the mean of them, with a quarter less of the
        noise in the quotient.
        """
        found = Measurements(
            groups={"": {_LANES[side]: self.blocks[side] for side in Side}},
            lost={_LANES[side]: keys for side, keys in self.lost.items()},
            disturbed_shares={_LANES[side]: one for side, one in self.disturbed_shares.items()},
        )
        return Judge(found, policy)

    @property
    def disturbed_share(self) -> float | None:
        """Share of the calls that other work disturbed, of the side that had most."""
        return max(self.disturbed_shares.values(), default=None)

    def and_then(self, later: Evidence) -> Evidence:
        """This and a later measurement as one; their launches are numbered apart."""
        none: frozenset[Key] = frozenset()
        return Evidence(
            blocks={side: {**self.blocks[side], **later.blocks[side]} for side in Side},
            lost={side: self.lost.get(side, none) | later.lost.get(side, none) for side in Side},
            disturbed_shares={
                side: (self.disturbed_shares.get(side, 0.0) + later.disturbed_shares.get(side, 0.0))
                / 2
                for side in Side
            },
            unlike=tuple(dict.fromkeys((*self.unlike, *later.unlike))),
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
    same_packages: bool = True
    """Whether both commits run on the same packages, and so on the same OpenMP runtimes."""
    decided: Callable[[Evidence], bool] = lambda _: False
    """Whether what is there is enough; asked after each launch from the effort's first look on."""
    notes: list[str] = field(default_factory=list)
    _blocks: dict[Side, dict[tuple[int, int], float]] = field(init=False)
    _calls: list[IterationRow] = field(init=False, default_factory=list)
    _noise: list[NoiseRow] = field(init=False, default_factory=list)
    _unlike: list[str] = field(init=False, default_factory=list)
    _failure: str | None = field(init=False, default=None)
    _started: float = field(init=False)
    _rounds_s: float = field(init=False, default=0.0)
    """What the last launch spent in rounds."""

    def measure(self) -> Evidence:
        """All launches that the budget allows."""
        self._blocks = {side: {} for side in Side}
        self._started = self.clock()
        rounds = Rounds(
            run_id=self.run_id,
            policy=self.policy,
            record=self._note_noise,
            failed=self._lane_failed,
            note=self.notes.append,
            say=self.say,
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
        names = {side: self._lane_name(side) for side in Side}
        labels = dict.fromkeys(names.values(), self.scenario.id)
        found = disturbance(self._calls, self._noise, labels, self.policy.noise)
        return Evidence(
            blocks=self._blocks,
            lost={side: found.lost.get(name, frozenset()) for side, name in names.items()},
            disturbed_shares={side: found.shares.get(name, 0.0) for side, name in names.items()},
            unlike=tuple(self._unlike),
            failure=self._failure,
        )

    def _lane_name(self, side: Side) -> str:
        return f"{self.scenario.id}#{side}"

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
            self._compare_conditions(lanes)
            begun = self.clock()
            most = self.effort.max_rounds
            # A confirmation, whose numbers go on, has no launch that may pass its budget.
            count = rounds.run(
                self.scenario.id,
                number,
                lanes,
                most,
                within_s=self._left(),
                at_least=0 if number else most,
            )
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
            record=self._note_call,
            seat_name=self._lane_name(side),
            is_first=side is Side.BASE,
            side=side,
        )
        self.say(f"preparing {side}")
        try:
            lane.prepare()
            _check_part(lane)
            lane.warm_up()
            lane.read_conditions()
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

    def _compare_conditions(self, lanes: Sequence[DuelLane]) -> None:
        """Hold every worker's conditions against the base's.

        A worker of an old commit may not tell them: what is unknown is not compared.
        """
        base = next(lane for lane in lanes if lane.side is Side.BASE)
        for lane in lanes:
            if not (base.conditions and lane.conditions):
                continue
            found = conditions.differences(
                base.conditions, lane.conditions, same_packages=self.same_packages
            )
            sentences = [f"{lane.side} against base: {sentence}" for sentence in found]
            self._unlike += [one for one in sentences if one not in self._unlike]

    def _note_call(self, row: IterationRow) -> None:
        self._calls.append(row)
        self.record(row)

    def _note_noise(self, row: NoiseRow) -> None:
        self._noise.append(row)
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
    judge = found.judge(policy)
    confidence = thresholds.look_confidence if early else policy.verdict.confidence
    head = judge.compare(_HEAD, _BASE, confidence=confidence)
    control = judge.check("", _BASE)
    facts = {
        "ratio": _facts(head.ratio),
        "control": _facts(control.ratio if control else None),
        "disturbed_share": found.disturbed_share,
        "failure": found.failure,
    }
    unlike = "; ".join(found.unlike)
    if found.failure or unlike:
        reason = found.failure or f"the workers ran under other conditions: {unlike}"
        return Finding(outcome=_UNKNOWN, reason=reason, final=True, facts=facts)
    ratio = head.ratio
    if ratio is None or control is None:
        reason = "no round has all sides: the machine is too slow for the gate's budget"
        return Finding(outcome=_UNKNOWN, reason=reason, final=True, facts=facts)
    seen = Interval(estimate=ratio.estimate, low=ratio.low, high=ratio.high)
    outcome, reason = weigh(seen, margin=thresholds.margin, ruled_out=thresholds.ruled_out)
    if ratio.launches < thresholds.min_launches or ratio.rounds < policy.verdict.min_rounds:
        outcome = _UNKNOWN
        reason = (
            f"{ratio.launches} launches with {ratio.rounds} rounds in all are too few: the machine "
            "is too slow for the gate's budget"
        )
    if objection := judge.objection(_HEAD, _BASE):
        outcome, reason = _UNKNOWN, objection
    return Finding(
        outcome=outcome,
        reason=reason,
        ratio=seen if seen.sound else None,
        margin=thresholds.margin,
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
