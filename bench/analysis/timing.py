"""Summarise the times of one scenario from its calls. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.analysis.steady import steady_after
from bench.plan.scenario import MEASURED, Phase, Status
from bench.plan.thresholds import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.analysis.steady import Floats
    from bench.store.records import IterationRow, ScenarioRow

ENDED_BEFORE = "not measured: the run ended before"
"""How the reason of a scenario begins that an interrupted run did not come to."""
_CALLS_FOR_P90 = 10
_CALLS_FOR_P99 = 100


@dataclass(frozen=True, kw_only=True)
class TimingSummary:
    """The timing fields of a scenario's row, by their names there."""

    rounds: int
    launches: int
    median_ms: float | None
    """Over all timed calls; for reading, as speedups come from paired blocks."""
    p90_ms: float | None
    """Empty for fewer than 10 timed calls: it would be the maximum under another name."""
    p99_ms: float | None
    """Empty for fewer than 100 timed calls."""
    first_call_ms: float | None
    """Of the first launch: only that one finds caches cold."""
    warmup_iterations: int | None
    """Warm-up calls of the first launch, without the first call, until it was steady, or all if it
    never was. Comparing outputs may have needed more."""
    page_faults: float | None
    """The median over all timed calls that have it."""

    def images_per_s(self, batch_size: int) -> float | None:
        """Return images a second of one call after another, at inference or training."""
        return 1000 * batch_size / self.median_ms if self.median_ms else None


def timing_summary(iterations: Iterable[IterationRow]) -> TimingSummary:
    """Summarise the calls of one scenario; all None without timed calls."""
    rows = list(iterations)
    timed = [row for row in rows if row.phase == Phase.TIMED and row.round is not None]
    timed = [row for row in timed if not row.disturbed]
    wall_ms = np.array([row.wall_ns for row in timed]) / 1e6
    first_launch = min((row.launch for row in rows), default=0)
    warmup = [row for row in rows if row.phase == Phase.WARMUP and row.round is None]
    cold = [row for row in rows if row.phase == Phase.FIRST_CALL and row.launch == first_launch]
    pages = np.array([row.page_faults for row in timed if row.page_faults is not None], dtype=float)
    return TimingSummary(
        rounds=len({(row.launch, row.round) for row in timed}),
        launches=len({row.launch for row in timed}),
        median_ms=_quantile(wall_ms, 0.5, at_least=1),
        p90_ms=_quantile(wall_ms, 0.9, at_least=_CALLS_FOR_P90),
        p99_ms=_quantile(wall_ms, 0.99, at_least=_CALLS_FOR_P99),
        first_call_ms=cold[0].wall_ns / 1e6 if cold else None,
        warmup_iterations=_until_steady(warmup, first_launch) if rows else None,
        page_faults=_quantile(pages, 0.5, at_least=1),
    )


def with_timing(row: ScenarioRow, calls: Iterable[IterationRow]) -> ScenarioRow:
    """Return the row of a scenario with its times made again from all its calls."""
    timing = timing_summary(calls)
    had, has = row.median_ms, timing.median_ms
    pace = had / has if had and has else None
    return replace(
        row,
        **vars(timing),
        images_per_s=timing.images_per_s(row.batch_size),
        gflop_per_s=row.gflop_per_s * pace if row.gflop_per_s and pace else None,
        percent_of_peak=row.percent_of_peak * pace if row.percent_of_peak and pace else None,
    )


def as_ended(row: ScenarioRow, calls: Iterable[IterationRow] = ()) -> ScenarioRow:
    """Return the row at the end of a run: a scenario without a clean round was not measured."""
    if row.status not in MEASURED or row.rounds:
        return row
    reason = f"{ENDED_BEFORE} its first round (raise BUDGET)"
    if any(call.disturbed for call in calls):
        reason = "other work disturbed all of its rounds: stop what else runs on this machine"
    return replace(row, status=str(Status.UNAVAILABLE), reason=reason)


def _until_steady(warmup: Sequence[IterationRow], launch: int) -> int:
    calls_ms = [row.wall_ns / 1e6 for row in warmup if row.launch == launch]
    return steady_after(calls_ms, DEFAULT.steady_state) or len(calls_ms)


def _quantile(values: Floats, share: float, *, at_least: int) -> float | None:
    return float(np.quantile(values, share)) if len(values) >= at_least else None
