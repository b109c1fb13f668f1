"""Rows of iterations.csv and scenarios.csv for tests that judge and report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.run.outcomes import Outcome
from bench.store.records import IterationRow, Run, ScenarioRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.scenario import Scenario


def timed_call(scenario: str, launch: int, round_: int, ms: float, **changes: Any) -> IterationRow:
    """Return the only call of its block; `changes` are other columns."""
    row = IterationRow(
        run_id="run",
        scenario=scenario,
        launch=launch,
        round=round_,
        position=0,
        iteration=round_,
        phase="timed",
        wall_ns=round(1e6 * ms),
        cpu_ns=1,
    )
    return replace(row, **changes)


def shared_rounds(
    ms: Mapping[str, float], *, launches: int = 3, rounds: int = 4, spread: float = 0.002
) -> list[IterationRow]:
    """Return calls of all participants; drift slows whole rounds, so only pairing finds ratios."""
    rng = np.random.default_rng(1)
    return [
        timed_call(
            name, launch, round_, time * (1 + 0.3 * launch + 0.1 * round_) * rng.normal(1, spread)
        )
        for launch in range(launches)
        for round_ in range(rounds)
        for name, time in ms.items()
    ]


def measured(scenario: Scenario, /, **changes: Any) -> ScenarioRow:
    """Return the row of a scenario that ran and was checked; `changes` are other columns."""
    row = Outcome(scenario=scenario).row("run", [], {}, ended=False)
    return replace(row, **{"status": "ok", "checked": True, **changes})


def with_rows(run: Run, table: str, scenario: str, **fields: Any) -> Run:
    """Return the run with other fields in the rows of that scenario in a table."""
    rows = getattr(run, table)
    changed = (replace(row, **fields) if row.scenario == scenario else row for row in rows)
    other: dict[str, Any] = {table: tuple(changed)}
    return replace(run, **other)


def longer(run: Run, worker: str, factor: float) -> Run:
    """Return the run with every call of that worker longer by that factor, to be judged again."""
    calls = tuple(
        replace(row, wall_ns=round(row.wall_ns * factor)) if row.scenario == worker else row
        for row in run.iterations
    )
    return replace(run, iterations=calls, speedups=())
