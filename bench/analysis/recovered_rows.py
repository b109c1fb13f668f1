"""Make or update the scenario rows of a run that was killed, from its calls. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.analysis.timing import as_ended, with_timing
from bench.plan.scenario import CONTROL_SUFFIX, DEFAULT_ENVIRONMENT, Status
from bench.store import rows
from bench.store.records import ScenarioRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.records import IterationRow, Run

_ID = re.compile(
    r"(?P<task>\w+)/(?P<backend>[^/]+)/(?P<mode>[^/+]+)(?P<fusion>\+fusion)?/(?P<dtype>\w+)/"
    r"(?P<layout>\w+)/b(?P<batch>\d+)(?:/(?P<options>[^/@]+))?(?:@(?P<environment>.+))?"
)


def scenario_rows(run: Run) -> tuple[ScenarioRow, ...]:
    """Return the rows of scenarios.csv as a run that ended at its last call would have them.

    A run with a speedups.csv wrote its rows at its end. Otherwise calls may have followed them:
    times are made again from all calls, and a scenario without a row gets one from its id. It
    counts as unchecked, so it has no verdict.
    """
    if run.speedups:
        return run.scenarios
    calls: dict[str, list[IterationRow]] = {}
    for call in run.iterations:
        if not call.scenario.endswith(CONTROL_SUFFIX):
            calls.setdefault(call.scenario, []).append(call)
    known = [
        as_ended(with_timing(row, found), found)
        if (found := calls.get(row.scenario))
        else as_ended(row)
        for row in run.scenarios
    ]
    run_id = run.iterations[0].run_id if run.iterations else ""
    missing = calls.keys() - {row.scenario for row in run.scenarios}
    made = (_row(run_id, name, found) for name, found in calls.items() if name in missing)
    return (*known, *(row for row in made if row is not None))


def _row(run_id: str, name: str, calls: Sequence[IterationRow]) -> ScenarioRow | None:
    parts = _ID.fullmatch(name)
    if parts is None:
        return None
    fusion = "on" if parts["fusion"] else "off"
    row = rows.blank(
        ScenarioRow,
        run_id=run_id,
        scenario=name,
        task=parts["task"],
        backend=parts["backend"],
        mode=parts["mode"],
        fusion=fusion if parts["mode"] == "torchscript" else None,
        dtype=parts["dtype"],
        layout=parts["layout"],
        batch_size=int(parts["batch"]),
        options=parts["options"],
        environment=parts["environment"] or DEFAULT_ENVIRONMENT,
        status=str(Status.OK),
        rounds=0,
        launches=0,
        checked=False,
    )
    timed = with_timing(row, calls)
    return timed if timed.median_ms else None
