"""Rows of iterations.csv for tests that judge and tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.store.records import IterationRow, Run


def timed_call(scenario: str, launch: int, round_: int, ms: float, **changes: Any) -> IterationRow:
    """The only call of its block; `changes` are other columns."""
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


def longer(run: Run, worker: str, factor: float) -> Run:
    """The run with every call of that worker longer by that factor, to be judged anew."""
    calls = tuple(
        replace(row, wall_ns=round(row.wall_ns * factor)) if row.scenario == worker else row
        for row in run.iterations
    )
    return replace(run, iterations=calls, speedups=())
