"""Which results deserve fresh processes before they are told: those that surprise, and close calls.

A result that cannot be right (refused by the control, the placebo or the peak) and one that a hair
would turn into another verdict are measured in one further launch, if the budget has room. The
choice looks at how near an interval's end lies to the margin and not at which side of it, so it
favours no verdict; whatever comes out is judged on all launches together. Pure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.scenarios import BaselineKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bench.policy import VerdictPolicy
    from bench.records import SpeedupRow


def to_confirm(
    rows: Sequence[SpeedupRow], policy: VerdictPolicy, *, hopeless: Collection[str] = ()
) -> frozenset[str]:
    """The scenarios to measure once more, with the baselines that they need.

    `hopeless` are scenarios whose trouble fresh processes would only repeat.
    """
    chosen: set[str] = set()
    for row in rows:
        if row.baseline_kind == BaselineKind.CONTROL or {row.scenario, row.baseline} & {*hopeless}:
            continue
        if _surprises(row) or is_close(row, policy):
            chosen |= {row.scenario, row.baseline}
    return frozenset(chosen)


def _surprises(row: SpeedupRow) -> bool:
    """Measured, and yet refused."""
    return row.speedup is not None and row.verdict == Verdict.INVALID


def is_close(row: SpeedupRow, policy: VerdictPolicy) -> bool:
    """Whether an end of the interval lies so near the margin that a little more could turn it."""
    if row.speedup_low is None or row.speedup_high is None or row.margin is None:
        return False
    if row.speedup_low <= 0:
        return False
    limit = math.log1p(row.margin)
    ends = (math.log(row.speedup_low), math.log(row.speedup_high))
    nearest = min(abs(end - side) for end in ends for side in (limit, -limit))
    return nearest < math.log1p(policy.close_call)
