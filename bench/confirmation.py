"""Which results deserve a further launch: those that surprise, and those that it would decide.

A result that cannot be right (refused by the model's check, the placebo or the peak), and one that
is open but for one process of both sides, are measured in one further launch, if the budget has
room.
Whatever comes out is judged on all launches together. Pure.
"""

from __future__ import annotations

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
    """Whether one further launch would decide it, if its estimate stays."""
    is_open = row.verdict == Verdict.INCONCLUSIVE and row.processes_to_decide is not None
    return is_open and (row.processes_to_decide or 0) <= policy.close_processes
