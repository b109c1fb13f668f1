"""Find the fastest supported scenario beside one that is not supported. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.claims import SUPPORTED, Claim
from bench.analysis.winners import ways
from bench.plan.scenario import DEFAULT_ENVIRONMENT, Mode, Verdict
from bench.recommend.recipes import recipe_of
from bench.text.wording import percent, spoken, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.run_facts import Comparison, Facts, Group
    from bench.store.records import ScenarioRow


@dataclass(frozen=True, kw_only=True)
class SupportedWay:
    """The fastest supported way beside a recommended one that is not supported."""

    row: ScenarioRow
    code: str | None
    comparison: Comparison | None
    """Over the recommended way: below 1 it is slower."""
    sentence: str
    """How far it is from the recommended way."""


def beside(
    facts: Facts,
    group: Group,
    recommended: ScenarioRow,
    supported: ScenarioRow,
    fitting: Sequence[ScenarioRow],
) -> SupportedWay:
    """Compare the fastest supported way with the recommended one of the same group.

    The data choose both from `fitting`, so the interval is that of the best supported way over the
    best of the others, as for the page's claim.
    """
    choices = [row for row in fitting if facts.is_supported(row)]
    others = [row for row in fitting if row not in choices]
    claim = Claim(
        kind=SUPPORTED,
        group=group.noise_name,
        dtype="",
        environment=DEFAULT_ENVIRONMENT,
        candidates=tuple(row.scenario for row in choices),
        opponents=tuple(row.scenario for row in others),
    )
    found = facts.claims.compare(claim, named=supported.scenario)
    distance = how_far(found, spoken(recommended), facts.policy.verdict.same_within)
    return SupportedWay(
        row=supported,
        code=recipe_of(facts, supported),
        comparison=found if found is not None and found.ratio is not None else None,
        sentence=f"The fastest supported way is {spoken(supported)}: {distance}."
        + _without_compile(facts, group, recommended.dtype),
    )


def _without_compile(facts: Facts, group: Group, dtype: str) -> str:
    """Say so where stock `torch.compile` in the dtype of the fastest way has no result."""
    compiled = ("stock", Mode.COMPILE, dtype)
    measured = ways(facts, group, int8=True)
    if any((row.backend, row.mode, row.dtype) == compiled for row in measured):
        return ""
    return f" torch.compile in {dtype}, which may be faster, has no result here."


def is_within(found: Comparison, same_within: float) -> bool:
    """Return whether a decided comparison shows that a way is slower by no more than that share."""
    return found.low >= 1 / (1 + same_within)


def how_far(found: Comparison | None, other: str, same_within: float) -> str:
    """Say how much slower than `other` a way is: `within 3 % of`, or by how much not."""
    if found is None or found.ratio is None:
        return f"no round has both it and {other}"
    if not found.is_valid:
        return f"not compared with {other}: {(found.reason or '').rstrip('.')}"
    within, ratio = percent(same_within), with_interval(found)
    if not found.is_decided:
        return f"not shown to be within {within} of {other}, {ratio}"
    if found.verdict == Verdict.FASTER:
        return f"faster than {other}, {ratio}"
    if is_within(found, same_within):
        return f"within {within} of {other}, {ratio}"
    return f"{percent(1 - found.high)} to {percent(1 - found.low)} slower than {other}, {ratio}"
