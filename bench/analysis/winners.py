"""Find the fastest scenario of a comparison group, and those level with it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.analysis.claims import BEST, IPEX
from bench.analysis.comparison_groups import group_of
from bench.analysis.scenario_kinds import is_a_choice, is_stock_default, may_be_tuned
from bench.plan.scenario import Mode, Status, Verdict
from bench.text.wording import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.run_facts import Comparison, Facts, Group
    from bench.store.records import ScenarioRow


class Winner(NamedTuple):
    """The fastest valid scenario of a group."""

    group: Group
    row: ScenarioRow
    comparison: Comparison | None
    """With stock default; None if stock default itself is the fastest."""
    level: tuple[tuple[ScenarioRow, Comparison], ...]
    """Others that were not shown to be slower than it; fastest first."""
    unjudged: tuple[tuple[ScenarioRow, str], ...]
    """Others that ran and may not be compared with it, because of noise or too few rounds; why."""

    @property
    def is_alone(self) -> bool:
        """Whether every other way that ran was shown to be slower than it."""
        return not self.level and not self.unjudged

    @property
    def is_shown(self) -> bool:
        """Whether it was shown to be faster than stock default."""
        return self.comparison is not None and self.comparison.verdict == Verdict.FASTER


def candidates(
    facts: Facts, group: Group, *, int8: bool = False
) -> list[tuple[ScenarioRow, Comparison]]:
    """Return the valid ways of running the model, fastest first.

    Those that may not be compared with stock default, because of noise or too few rounds, come
    after all others. Without `int8` those in int8 are left out: they run another model, with
    rounded weights.
    """
    found = []
    for row in facts.groups.get(group, ()):
        comparison = facts.against_default(row.scenario)
        if not (is_a_choice(row) or (row.dtype == "int8" and int8)):
            continue
        if comparison is None or not comparison.is_valid:
            continue
        if facts.is_measured(row):
            found.append((row, comparison))

    def place(item: tuple[ScenarioRow, Comparison]) -> tuple[bool, float]:
        row, comparison = item
        objection = facts.analysis.judge.objection(row.scenario, comparison.baseline)
        return objection is not None, -comparison.estimate

    return sorted(found, key=place)


def ways(facts: Facts, group: Group, *, int8: bool = False) -> list[ScenarioRow]:
    """Return the group's candidates, fastest first, and stock default."""
    default = facts.default_of(group)
    rows = [row for row, _ in candidates(facts, group, int8=int8)]
    return [*rows, *([default] if default is not None and facts.is_measured(default) else [])]


def winner(facts: Facts, group: Group) -> Winner | None:
    """Return the fastest valid scenario of the group and those level with it, or None.

    If any was shown to be faster than stock default, one of these wins: a higher estimate without a
    verdict must not hide them, and is level with the winner instead. The comparison with stock
    default allows for the choice among all that could have won.
    """
    ranked = candidates(facts, group)
    if not ranked:
        return None
    default = facts.default_of(group)
    usable = [default] if default and facts.is_measured(default) and default.rounds else []
    shown = [item for item in ranked if item[1].verdict == Verdict.FASTER]
    fastest, alone = (shown or ranked)[0]
    rows = [row for row, _ in ranked]
    if alone.estimate > 1 or not usable:
        best, others = fastest, [*(row for row in rows if row is not fastest), *usable]
        comparison = facts.claims.answer(BEST, group.noise_name, named=best.scenario) or alone
    else:
        best, others, comparison = usable[0], rows, None
    return Winner(group, best, comparison, level_with(facts, best, others), _unjudged(facts, best))


def shown_row(facts: Facts, best: Winner) -> ScenarioRow:
    """Return the row that stands for the group: stock default's unless the best was shown faster.

    Stock default needs times for it.
    """
    default = facts.default_of(best.group)
    has_times = default is not None and default.median_ms is not None
    return default if default is not None and has_times and not best.is_shown else best.row


def _unjudged(facts: Facts, best: ScenarioRow) -> tuple[tuple[ScenarioRow, str], ...]:
    """Return the other ways that ran and may not be compared with the best, with the reasons.

    These are noise or too few rounds.
    """
    judge = facts.analysis.judge
    return tuple(
        (row, why)
        for row in facts.groups[group_of(best)]
        if row is not best and facts.is_measured(row)
        if row.scenario not in judge.measurements.unusable
        if is_a_choice(row) or is_stock_default(row)
        if (why := judge.objection(row.scenario, best.scenario)) is not None
    )


def level_with(
    facts: Facts, best: ScenarioRow, others: Sequence[ScenarioRow]
) -> tuple[tuple[ScenarioRow, Comparison], ...]:
    """Return the others that were not shown to be slower than the best; fastest first.

    The data chose the best from all of them, so each comparison is surer (Bonferroni).
    """
    confidence = _surer(facts, len(others))
    found = [
        (row, comparison)
        for row in others
        if (comparison := facts.compare(row.scenario, best.scenario, confidence=confidence))
        is not None
        and comparison.verdict != Verdict.SLOWER
        and facts.analysis.judge.objection(row.scenario, best.scenario) is None
    ]
    return tuple(sorted(found, key=lambda item: -item[1].estimate))


def _surer(facts: Facts, rivals: int) -> float:
    """Return the confidence of each comparison of the best with so many rivals."""
    return 1 - (1 - facts.policy.verdict.confidence) / max(1, rivals)


def runner_up(facts: Facts, best: Winner) -> tuple[ScenarioRow, Comparison] | None:
    """Return the second fastest and the fastest's speedup over it, or None.

    With the confidence of `level_with`, so that nothing is both level and shown to be slower.
    """
    out = (best.row, *(row for row, _ in best.unjudged))
    others = [row for row in ways(facts, best.group) if row not in out]
    if not others:
        return None
    second = best.level[0][0] if best.level else others[0]
    confidence = _surer(facts, len(others))
    comparison = facts.compare(best.row.scenario, second.scenario, confidence=confidence)
    return (second, comparison) if comparison is not None and comparison.is_valid else None


def best_ipex(facts: Facts, group: Group, dtype: str = "fp32") -> ScenarioRow | None:
    """Return the fastest valid IPEX scenario of a group in that dtype."""
    ranked = candidates(facts, group)
    mine = (row for row, _ in ranked if row.backend == "ipex" and row.dtype == dtype)
    return next(mine, None)


def ipex_over_tuned(facts: Facts, row: ScenarioRow) -> Comparison | None:
    """Return the best of IPEX, which is `row`, over the best of stock in its group and dtype."""
    group = group_of(row).noise_name
    return facts.claims.answer(IPEX, group, row.dtype, named=row.scenario)


def tuned_is_eager_only(facts: Facts, row: ScenarioRow) -> bool:
    """Return whether the best of IPEX, which is `row` and no eager one, met eager stock alone."""
    rivals = [
        other
        for other in facts.groups[group_of(row)]
        if may_be_tuned(other, row.dtype) and facts.is_measured(other)
    ]
    return row.mode != Mode.EAGER and all(other.mode == Mode.EAGER for other in rivals)


def why_nothing(facts: Facts, group: Group) -> str:
    """Return why a group has no valid comparison, and what would help: a sentence."""
    rows = facts.groups.get(group, [])
    if facts.default_of(group) is None:
        return "Stock default was not measured, so there is nothing to divide by."
    if len(rows) == 1:
        return "Only stock default was measured: measure something to compare it with."
    control = facts.control_of(group)
    if control is not None and not control.is_valid:
        return _sentence("The control failed", control.reason or "identical workers differed")
    reasons = [
        comparison.reason
        for row in rows
        if (comparison := facts.against_default(row.scenario)) is not None and comparison.reason
    ]
    if reasons:
        return _sentence("No comparison is valid", reasons[0])
    failed = [row for row in rows if row.status not in (Status.OK, Status.NO_STEADY_STATE)]
    if failed:
        start = f"{count(len(failed), 'scenario')} of {len(rows)} gave no usable times"
        return _sentence(start, failed[0].reason or failed[0].status)
    return "No paired rounds were measured: raise the budget and run again."


def _sentence(start: str, reason: str) -> str:
    return f"{start}: {reason.rstrip('.')}."


def bf16_pairs(facts: Facts) -> list[tuple[ScenarioRow, ScenarioRow]]:
    """Return (bf16, fp32) of every bf16 scenario whose fp32 twin is in the run."""
    return _twins(facts, "/bf16/", "/fp32/")


def fusion_pairs(facts: Facts) -> list[tuple[ScenarioRow, ScenarioRow]]:
    """Return (fusion on, fusion off) of every scenario whose twin is in the run."""
    return _twins(facts, "+fusion/", "/")


def _twins(facts: Facts, part: str, other: str) -> list[tuple[ScenarioRow, ScenarioRow]]:
    """Return each scenario with `part` in its id, and the one with `other` in its place."""
    every = facts.scenarios
    return [
        (row, twin)
        for name, row in every.items()
        if part in name and (twin := every.get(name.replace(part, other))) is not None
    ]
