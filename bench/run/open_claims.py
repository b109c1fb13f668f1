"""Find what a run has not decided yet, and whose further processes would decide it. Pure.

A run looks at its results again and again, so an early look needs more confidence than the last
one (`early_error_share`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.analysis.claims import Claims
from bench.plan.scenario import BaselineKind, Task, Verdict, group_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bench.analysis.claims import Claim
    from bench.analysis.judge import Judge
    from bench.analysis.speedups import RunAnalysis
    from bench.plan.profiles import Profile
    from bench.plan.scenario import Group, Scenario
    from bench.plan.thresholds import Policy

_UNKNOWN_PROCESSES = 50
"""Stands for the processes of a question that no number is known of."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Something open, and the scenarios whose processes would decide it, its two sides first."""

    scenarios: tuple[str, ...]
    processes: int
    """About how many further processes of each it needs."""


def decided_claims(analysis: RunAnalysis, policy: Policy) -> set[str]:
    """Return the ids of the claims that an early look calls decided."""
    claims = Claims(analysis)
    confidence = _early(policy, claims.confidence)
    return {
        claim.id
        for claim in claims.all
        if (found := claims.compare(claim, confidence=confidence)) and found.is_decided
    }


def open_claims(
    analysis: RunAnalysis, groups: Collection[Group], policy: Policy
) -> Iterator[Question]:
    """Yield a question for each open claim of these groups."""
    labels = {group_name(group) for group in groups}
    claims = Claims(analysis)
    for claim in claims.all:
        if claim.group in labels and (question := _question(analysis, claims, claim, policy)):
            yield question


def _question(
    analysis: RunAnalysis, claims: Claims, claim: Claim, policy: Policy
) -> Question | None:
    """Return the best of both families and their close rivals; None where it is decided."""
    judge, confidence = analysis.judge, _early(policy, claims.confidence)
    found = claims.compare(claim, confidence=confidence)
    if found is None or found.is_decided or not found.is_valid:
        return None
    pairs = {one: (one, found.baseline) for one in claim.candidates if one != found.scenario}
    pairs |= {one: (found.scenario, one) for one in claim.opponents if one != found.baseline}
    rivals = {one: judge.compare(*pair, confidence=confidence) for one, pair in pairs.items()}
    close = [
        one
        for one, rival in rivals.items()
        # without a ratio: not measured yet; invalid: `open_rows` measures it once more
        if rival.ratio is not None and rival.is_valid and not rival.is_decided
    ]

    def slowness(name: str) -> float:
        ratio = judge.compare(name, found.baseline).ratio
        return -ratio.estimate if ratio else 0.0

    nearest = sorted(close, key=slowness)[: policy.budget.rivals]
    unknown = 1 if found.ratio is None else _UNKNOWN_PROCESSES
    return Question(
        scenarios=(found.scenario, found.baseline, *nearest),
        processes=found.processes_to_decide or unknown,
    )


def open_rows(
    analysis: RunAnalysis,
    visits: Mapping[str, int],
    hopeless: Collection[str],
    profile: Profile,
    policy: Policy,
) -> Iterator[Question]:
    """Yield a question for each open row of speedups.csv, and for scenarios with few processes.

    An implausible result (refused by the model's check, the placebo or the peak) is measured once
    more.
    """
    confidence = _early(policy, policy.verdict.confidence)
    for row in analysis.rows():
        names = (row.scenario, row.baseline)
        measured = visits.get(row.scenario, 0) and visits.get(row.baseline, 0)
        if row.baseline_kind == BaselineKind.CONTROL or not measured or {*names} & {*hopeless}:
            continue
        if row.verdict == Verdict.INVALID:
            if row.speedup is not None and visits.get(row.scenario, 0) == 1:
                yield Question(scenarios=names, processes=1)
            continue
        found = analysis.judge.compare(*names, confidence=confidence)
        few = visits.get(row.scenario, 0) < profile.processes
        if few or not found.is_decided:
            needed = found.processes_to_decide or (1 if few else _UNKNOWN_PROCESSES)
            yield Question(scenarios=names, processes=needed)


def contenders(
    analysis: RunAnalysis,
    new: Sequence[Scenario],
    first_group: Sequence[Scenario],
    policy: Policy,
) -> list[Scenario]:
    """Return the new scenarios that the first group did not show to be much slower than the best.

    The fastest come first, so that these are measured where not all fit the budget. A scenario is
    looked up by its equal at the first group's batch size. Stock default stays, and so does a
    scenario without such an equal. Training groups are not comparable in this way.
    """
    leading = first_group[0].group
    if {first_group[0].task, new[0].task} != {Task.INFERENCE}:
        return list(new)
    equals = {replace(one, batch_size=new[0].batch_size): one.id for one in first_group}
    claims = [claim for claim in Claims(analysis).all if claim.group == group_name(leading)]
    families = [family for claim in claims for family in (claim.candidates, claim.opponents)]
    confidence = policy.budget.race_confidence
    found = [
        one
        for one in new
        if one.is_stock_default
        or (equal := equals.get(one)) is None
        or any(
            may_be_best(analysis.judge, equal, family, confidence, policy.budget.race_margin)
            for family in families
            if equal in family
        )
    ]
    fastest = analysis.judge.fastest_first([equals[one] for one in found if one in equals])
    places = {name: place for place, name in enumerate(fastest)}
    # what has no equal, and so no place, is new here: it stays in front
    return sorted(found, key=lambda one: places.get(equals.get(one, ""), -1))


def may_be_best(
    judge: Judge, name: str, family: Sequence[str], confidence: float, margin: float = 0.0
) -> bool:
    """Return whether a scenario may be the fastest of its family.

    It may not where it was shown to take more than `1 + margin` times as long as the fastest.
    """
    best = judge.fastest(family)
    if best is None or best == name:
        return best is not None
    found = judge.compare(name, best, confidence=confidence)
    if not found.is_valid or found.ratio is None:
        return False
    return not found.found or found.ratio.high * (1 + margin) > 1


def _early(policy: Policy, confidence: float) -> float:
    return 1 - policy.budget.early_error_share * (1 - confidence)
