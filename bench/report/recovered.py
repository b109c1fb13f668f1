"""Scenario rows from raw calls, for a run that was killed before it wrote its summaries. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.records import ScenarioRow
from bench.scenarios import CONTROL_SUFFIX, DEFAULT_ENVIRONMENT, Status, Task
from bench.speedups import timing_summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.records import IterationRow

_ID = re.compile(
    r"(?P<task>\w+)/(?P<backend>[^/]+)/(?P<mode>[^/+]+)(?P<fusion>\+fusion)?/(?P<dtype>\w+)/"
    r"(?P<layout>\w+)/b(?P<batch>\d+)(?:/(?P<options>[^/@]+))?(?:@(?P<environment>.+))?"
)


def scenario_rows(run_id: str, calls: Sequence[IterationRow]) -> tuple[ScenarioRow, ...]:
    """One row for every scenario that has a timed call; what only the summary knew is empty."""
    by_name: dict[str, list[IterationRow]] = {}
    for call in calls:
        if not call.scenario.endswith(CONTROL_SUFFIX):
            by_name.setdefault(call.scenario, []).append(call)
    rows = (_row(run_id, name, found) for name, found in by_name.items())
    return tuple(row for row in rows if row is not None)


def _row(run_id: str, name: str, calls: Sequence[IterationRow]) -> ScenarioRow | None:
    parts = _ID.fullmatch(name)
    timing = timing_summary(calls)
    if parts is None or not timing.median_ms:
        return None
    batch = int(parts["batch"])
    inference = parts["task"] == Task.INFERENCE
    fusion = "on" if parts["fusion"] else "off"
    return ScenarioRow(
        run_id=run_id,
        scenario=name,
        task=parts["task"],
        backend=parts["backend"],
        mode=parts["mode"],
        fusion=fusion if parts["mode"] == "torchscript" else None,
        dtype=parts["dtype"],
        layout=parts["layout"],
        batch_size=batch,
        options=parts["options"],
        environment=parts["environment"] or DEFAULT_ENVIRONMENT,
        threads=None,
        status=str(Status.OK),
        reason=None,
        rounds=timing.rounds,
        launches=timing.launches,
        median_ms=timing.median_ms,
        p90_ms=timing.p90_ms,
        p99_ms=timing.p99_ms,
        images_per_s=1000 * batch / timing.median_ms if inference else None,
        import_s=None,
        prepare_s=None,
        first_call_ms=timing.first_call_ms,
        warmup_iterations=timing.warmup_iterations,
        peak_rss_mb=None,
        gflop_per_s=None,
        percent_of_peak=None,
        native_dtype=None,
        isa=None,
        fused_ops=None,
        layers_replaced=None,
    )
