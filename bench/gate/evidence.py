"""Hold the blocks of a scenario's two versions, and find the outcome that they show. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements
from bench.gate.result import Outcome, weigh
from bench.gate.side import Side
from bench.plan.scenario import CONTROL_SUFFIX
from bench.text.wording import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.analysis.comparison import Ratio
    from bench.analysis.measurements import BlockTimes, Key
    from bench.gate.thresholds import GatePolicy
    from bench.plan.thresholds import Policy

_BASE, _HEAD = "base", "head"
_NAMES = {Side.BASE: _BASE, Side.CONTROL: _BASE + CONTROL_SUFFIX, Side.HEAD: _HEAD}
"""The judge's names of the sides. Base and control run the same code, so the judge compares head
with the mean of both, which has a quarter less noise than base alone."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The measurements of one scenario."""

    blocks: Mapping[Side, BlockTimes]
    """Disturbed ones included."""
    lost: Mapping[Side, frozenset[Key]] = field(default_factory=dict)
    """Blocks without any call that other work left undisturbed."""
    disturbed_shares: Mapping[Side, float] = field(default_factory=dict)
    """Share of a side's calls that other work disturbed."""
    unlike: tuple[str, ...] = ()
    """How the conditions of a side's worker differed from the base's."""
    failure: str | None = None
    """Why measuring ended early."""

    def judge(self, policy: Policy) -> Judge:
        """Return a judge of these measurements."""
        found = Measurements(
            groups={"": {_NAMES[side]: self.blocks[side] for side in Side}},
            lost={_NAMES[side]: keys for side, keys in self.lost.items()},
            disturbed_shares={_NAMES[side]: one for side, one in self.disturbed_shares.items()},
        )
        return Judge(found, policy)

    def and_then(self, later: Evidence) -> Evidence:
        """Return this and a later measurement, whose launches have other numbers, as one."""
        none: frozenset[Key] = frozenset()
        shares = {}
        for side in Side:
            first, second = len(self.blocks[side]), len(later.blocks[side])
            disturbed = first * self.disturbed_shares.get(side, 0.0)
            disturbed += second * later.disturbed_shares.get(side, 0.0)
            shares[side] = disturbed / max(1, first + second)
        return Evidence(
            blocks={side: {**self.blocks[side], **later.blocks[side]} for side in Side},
            lost={side: self.lost.get(side, none) | later.lost.get(side, none) for side in Side},
            disturbed_shares=shares,
            unlike=tuple(dict.fromkeys((*self.unlike, *later.unlike))),
            failure=self.failure or later.failure,
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome that some evidence shows."""

    outcome: Outcome
    reason: str
    ratio: Ratio | None = None
    """Head's speed over base's; None where it has no interval."""
    limit: float = 0.0
    """A regression lies wholly below this."""
    final: bool = False
    """Whether measuring again would not help: a worker failed, or none of its blocks counts."""
    facts: dict[str, Any] = field(default_factory=dict)


def read_evidence(
    found: Evidence, *, thresholds: GatePolicy, policy: Policy, early: bool = False
) -> Finding:
    """Judge one measurement, or several together; `early` requires more certainty."""
    judge = found.judge(policy)
    confidence = thresholds.look_confidence if early else policy.verdict.confidence
    ratio = judge.compare(_HEAD, _BASE, confidence=confidence).ratio
    check = judge.check("", _BASE)
    facts = {
        "ratio": _facts(ratio),
        "control": _facts(check.ratio if check else None),
        "disturbed_share": max(found.disturbed_shares.values(), default=None),
        "failure": found.failure,
    }
    reason = found.failure
    if reason is None and found.unlike:
        reason = f"the workers ran under other conditions: {'; '.join(found.unlike)}"
    if reason is None and not all(found.blocks.values()):
        reason = (
            "no round counts: the notes say why, or the machine is too slow for the gate's budget"
        )
    if reason is not None:
        return Finding(outcome=Outcome.NO_VERDICT, reason=reason, final=True, facts=facts)
    objection = judge.objection(_HEAD, _BASE)
    if objection is None and ratio is not None and ratio.launches < thresholds.min_launches:
        objection = (
            f"{count(ratio.launches, 'launch', 'launches')} with {count(ratio.rounds, 'round')} in "
            "all confirms nothing: the machine is too slow for the gate's budget"
        )
    if objection is not None or ratio is None:
        return Finding(outcome=Outcome.NO_VERDICT, reason=str(objection), facts=facts)
    outcome, reason = weigh(ratio, margin=thresholds.margin, ruled_out=thresholds.ruled_out)
    limit = 1 / (1 + thresholds.margin)
    return Finding(outcome=outcome, reason=reason, ratio=ratio, limit=limit, facts=facts)


def settle(second: Finding, together: Finding) -> Finding:
    """Decide on a scenario that was measured a second time.

    The second measurement did not raise the suspicion, so it may clear the scenario alone. A
    regression takes both: the whole interval of the two together beyond the margin, and the second
    one's own estimate beyond it too, which is free of the chance that raised the suspicion.
    """
    if second.final or second.outcome is Outcome.PASSED:
        return second
    confirmed = second.ratio is not None and second.ratio.estimate < second.limit
    if together.outcome is Outcome.REGRESSION and not confirmed:
        reason = f"{together.reason}, but fresh processes alone do not show it"
        return replace(together, outcome=Outcome.NO_VERDICT, reason=reason)
    return together


def _facts(ratio: Ratio | None) -> dict[str, float] | None:
    """Return the ratio for JSON, which has no infinity for an interval without an end."""
    return dict(vars(ratio)) if ratio and math.isfinite(ratio.high) else None
