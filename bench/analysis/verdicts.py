"""Give an interval its verdict, and say what would decide one that is open. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.plan.scenario import Verdict
from bench.text.numbers import spell_seconds
from bench.text.wording import count, percent

if TYPE_CHECKING:
    from bench.analysis.comparison import Ratio
    from bench.analysis.measurements import Measurements
    from bench.plan.thresholds import VerdictPolicy

NO_ROUND = "no round has both it and its baseline: raise the budget or measure fewer scenarios"
_MOST_PROCESSES = 50
"""More further processes than this would take longer than anybody waits."""


def by_interval(ratio: Ratio, rule: VerdictPolicy) -> Verdict:
    """Return the verdict of an interval that nothing speaks against."""
    if ratio.low > 1 + rule.minimal_effect:
        return Verdict.FASTER
    if ratio.high < 1 / (1 + rule.minimal_effect):
        return Verdict.SLOWER
    if 1 / (1 + rule.same_within) <= ratio.low and ratio.high <= 1 + rule.same_within:
        return Verdict.SAME
    return Verdict.INCONCLUSIVE


def further_processes(ratio: Ratio, rule: VerdictPolicy) -> int | None:
    """Return how many more processes of each side decide it if the estimate stays.

    None for more than `_MOST_PROCESSES`.
    """
    if ratio.low <= 0 or not math.isfinite(ratio.high):
        return 1
    centre = abs(math.log(ratio.estimate))
    wanted = max(centre - math.log1p(rule.minimal_effect), math.log1p(rule.same_within) - centre)
    reach = max(math.log(ratio.high / ratio.estimate), math.log(ratio.estimate / ratio.low))
    more = max(1, math.ceil(max(1, ratio.processes) * ((reach / wanted) ** 2 - 1)))
    return more if more <= _MOST_PROCESSES else None


def why_open(ratio: Ratio, more: int | None, seconds: float | None) -> str:
    """Say why an interval decides nothing, and what would: the reason of an open comparison."""
    remedy = "only a quieter machine would tell"
    if more is not None:
        remedy = f"{count(more, 'further process', 'further processes')} of each"
        remedy += f", about {spell_seconds(seconds)}, would tell" if seconds else " would tell"
    return (
        f"the interval {ratio.low:.3g} to {ratio.high:.3g} allows both no difference and one that "
        f"matters: {remedy}"
    )


def too_few_rounds(ratio: Ratio | None, rule: VerdictPolicy) -> str | None:
    """Return why the common rounds are too few for a verdict, or None."""
    if ratio is None:
        return NO_ROUND
    if ratio.rounds >= rule.min_rounds:
        return None
    return (
        f"{count(ratio.rounds, 'paired round')}, {rule.min_rounds} are needed: "
        "raise the budget or measure fewer scenarios"
    )


def too_noisy(measured: Measurements, group: str, participant: str, least: int) -> str | None:
    """Return why other work left too few clean blocks of a participant, or None."""
    blocks, clean = measured.blocks(group, participant), measured.clean(group, participant)
    if not len(clean) < least <= len(blocks):
        return None
    return (
        f"other work disturbed {len(blocks) - len(clean)} of the {count(len(blocks), 'block')} of "
        f"{participant}, and {least} clean ones are needed: stop what else runs on this machine"
    )


def unlike_disturbed(
    measured: Measurements, candidate: str, baseline: str, max_gap: float
) -> str | None:
    """Return why leaving out disturbed blocks would favour one side, or None."""
    shares = measured.disturbed_shares
    one, other = shares.get(candidate, 0.0), shares.get(baseline, 0.0)
    if abs(one - other) <= max_gap:
        return None
    return (
        f"other work disturbed {percent(one)} of its calls and {percent(other)} of its "
        "baseline's, so that leaving them out would favour one: stop what else runs here"
    )
