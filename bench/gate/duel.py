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

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements, disturbance
from bench.engine.checks import Checks
from bench.engine.engine import Engine
from bench.engine.participants import Group, Participant
from bench.errors import RefusalError, WorkerError
from bench.gate.result import Interval, Outcome, weigh
from bench.gate.side import Side
from bench.plan.scenario import CONTROL_SUFFIX, Status, part_of, worker_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.analysis.comparison import Ratio
    from bench.analysis.measurements import BlockTimes, Key
    from bench.engine.execution import Execution
    from bench.engine.worker_process import WorkerHandle
    from bench.gate.thresholds import Effort, GatePolicy
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import Policy
    from bench.store.records import IterationRow, NoiseRow
    from bench.worker.protocol import Message

    Launch = Callable[[Side, Scenario, int], WorkerHandle]


_UNKNOWN = Outcome.NO_VERDICT
_BASE, _HEAD = "base", "head"
_LANES = {Side.BASE: _BASE, Side.CONTROL: _BASE + CONTROL_SUFFIX, Side.HEAD: _HEAD}
"""How the judge knows the sides: the control belongs to the base."""
_SIDE = "side"
_NEEDED = {"call": ("wall_ns", "cpu_ns")}


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
        return reply


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
        first = {side: len(self.blocks[side]) for side in Side}
        second = {side: len(later.blocks[side]) for side in Side}
        return Evidence(
            blocks={side: {**self.blocks[side], **later.blocks[side]} for side in Side},
            lost={side: self.lost.get(side, none) | later.lost.get(side, none) for side in Side},
            disturbed_shares={
                side: (
                    first[side] * self.disturbed_shares.get(side, 0.0)
                    + second[side] * later.disturbed_shares.get(side, 0.0)
                )
                / max(1, first[side] + second[side])
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
    _started: float = field(init=False, default=0.0)

    def measure(self) -> Evidence:
        """All launches that the budget allows."""
        self._started = self.clock()
        engine = self._engine()
        try:
            for number in range(self.effort.launches):
                begun = self.clock()
                count = self._launch(self.first_launch + number, engine)
                least = self._least_s(self.clock() - begun, engine.rounds_s, count)
                if engine.failures or least > self._left():
                    break
                if number + 1 >= self.effort.first_look and self.decided(self._evidence(engine)):
                    break
        finally:
            engine.end()
        return self._evidence(engine)

    def _engine(self) -> Engine:
        key = worker_key(self.scenario)
        return Engine(
            run_id=self.run_id,
            policy=self.policy,
            start=lambda participant, number: OtherVersion(
                self.launch(_side(participant), key, number)
            ),
            checks=_SamePart(),
            record_call=self.record,
            record_noise=self.record_noise,
            record_event=lambda event: self.notes.append(event.sentence),
            say=self.say,
            at_once=len(Side),  # so that none warms up beside an import
            needed=True,
            same_packages=self.same_packages,
            clock=self.clock,
        )

    def _participants(self) -> dict[Side, Participant]:
        names = {side: f"{self.scenario.id}#{side}" for side in Side}
        return {
            side: Participant(
                name=names[side],
                scenario=self.scenario,
                base="" if side is Side.BASE else names[Side.BASE],
                details={_SIDE: side},
            )
            for side in Side
        }

    def _launch(self, number: int, engine: Engine) -> int:
        """One launch; returns its rounds. A confirmation, whose numbers go on, keeps its budget."""
        participants = list(self._participants().values())
        random.Random(f"{self.scenario.id}/{number}").shuffle(participants)  # noqa: S311 - an order
        most = self.effort.max_rounds
        try:
            return engine.launch(
                number,
                Group(name=self.scenario.id, participants=tuple(participants)),
                most,
                until=self._started + self.effort.budget_s,
                at_least=0 if number else most,
            )
        finally:
            engine.end()

    def _evidence(self, engine: Engine) -> Evidence:
        sides = {participant.name: side for side, participant in self._participants().items()}
        labels = dict.fromkeys(sides, self.scenario.id)
        found = disturbance(engine.calls, engine.noise, labels, self.policy.noise)
        blocks = engine.blocks.get(self.scenario.id, {})
        failed = [_failed(sides[name], error) for name, error in engine.failures.items()]
        return Evidence(
            blocks={side: blocks.get(name, {}) for name, side in sides.items()},
            lost={side: found.lost.get(name, frozenset()) for name, side in sides.items()},
            disturbed_shares={side: found.shares.get(name, 0.0) for name, side in sides.items()},
            unlike=tuple(
                f"{sides[name]} against base: {sentence}"
                for name, sentences in engine.differences.items()
                for sentence in sentences
            ),
            failure=failed[0] if failed else None,
        )

    def _least_s(self, took_s: float, rounds_s: float, count: int) -> float:
        """What one more launch takes with its fewest rounds, after one of `count` rounds."""
        in_rounds = rounds_s / count if count else 0.0
        return took_s - rounds_s + in_rounds * self.effort.min_rounds

    def _left(self) -> float:
        return self.effort.budget_s - (self.clock() - self._started)


def _side(participant: Participant) -> Side:
    return Side(participant.details[_SIDE])


class _SamePart(Checks):
    """A commit from before a part was known would run the whole model, and look fast or slow."""

    def after_prepare(self, execution: Execution) -> None:
        """Refuse a worker that times something else than the scenario's part."""
        wanted = part_of(execution.scenario)
        if execution.prepared.get("part") != wanted:
            raise RefusalError(
                Status.UNSUPPORTED, f"that commit's worker does not time {wanted} on its own"
            )


def _failed(side: Side, error: WorkerError) -> str:
    """A side could not be measured; the sentence says which and why."""
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
