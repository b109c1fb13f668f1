"""The scenarios that were varied (another allocator, OpenMP runtime, number of threads). Pure.

They have a table of their own and stand in no other: a headline such as "IPEX leads" must compare
what runs under the same conditions, and must not depend on which variables a run happened to vary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.analysis import recovered
from bench.analysis.facts import Facts
from bench.analysis.prices import NO_PRICES
from bench.plan import variables
from bench.plan.scenario import CONTROL_SUFFIX, BaselineKind
from bench.report.tables import Cell, Row, Table, number, ratio_cell, tags
from bench.text import wording
from bench.text.wording import NOTHING, TIMES, milliseconds

if TYPE_CHECKING:
    from bench.analysis.prices import Prices
    from bench.store.records import Run, ScenarioRow


def ordinary(run: Run) -> Run:
    """The run without its varied scenarios, those that a kill left without a row included."""
    varied = {row.scenario for row in recovered.scenario_rows(run) if values_of(row)}
    if not varied:
        return run

    def kept(scenario: str) -> bool:
        return scenario.removesuffix(CONTROL_SUFFIX) not in varied

    return replace(
        run,
        environment=_without(run, varied),
        iterations=tuple(row for row in run.iterations if kept(row.scenario)),
        scenarios=tuple(row for row in run.scenarios if kept(row.scenario)),
        speedups=tuple(row for row in run.speedups if kept(row.scenario)),
        parity=tuple(row for row in run.parity if kept(row.scenario)),
        kernels=tuple(row for row in run.kernels if kept(row.scenario)),
    )


def page_facts(run: Run, prices: Prices = NO_PRICES) -> Facts:
    """The facts of the ordinary scenarios, judged by the model of the whole run.

    Those of the whole run are its `whole`, or it itself where nothing was varied.
    """
    plain_run = ordinary(run)
    return Facts(plain_run, prices, None if plain_run is run else Facts(run, prices))


def table(facts: Facts) -> Table:
    """What each variable is worth, and what the scenario is worth under it.

    `facts` are those of the whole run.
    """
    rows = [row for row in facts.scenarios.values() if values_of(row)]
    return Table(
        name="variables",
        caption=f"The same way of running, with a variable changed. Above 1{TIMES} the change made "
        "it faster.",
        columns=(
            "Variable",
            "Way of running",
            "Over the same without it",
            "Verdict",
            "Over stock default, both with it",
            "Verdict",
            "Median",
            "Status and reason",
        ),
        rows=tuple(_row(facts, row) for row in rows),
        numeric=(2, 4, 6),
        empty="No variable was varied in this run: `bench run --vary allocator` does.",
    )


def _row(facts: Facts, row: ScenarioRow) -> Row:
    alone = facts.speedup(row.scenario, BaselineKind.UNVARIED)
    alike = facts.speedup(row.scenario, BaselineKind.STOCK_ALIKE)
    unchanged = plain(row)
    values = spelled(row)
    reason = row.reason or (alone.reason if alone else None) or ""
    return Row(
        cells=(
            Cell(text=values, sort=values),
            Cell(
                text=wording.way_name(unchanged),
                note=wording.detail_name(unchanged),
                sort=unchanged.scenario,
            ),
            ratio_cell(alone),
            Cell(text="", verdict=alone.verdict if alone else ""),
            ratio_cell(alike),
            Cell(text="" if alike else NOTHING, verdict=alike.verdict if alike else ""),
            number(milliseconds(row.median_ms), row.median_ms),
            Cell(text=wording.status_words(row.status), note=reason),
        ),
        **tags(row),
        verdict=alone.verdict if alone else "",
    )


def values_of(row: ScenarioRow) -> dict[str, str]:
    """The scenario's variables and their values; empty for an ordinary one."""
    return variables.of_tags(wording.option_tags(row))


def plain(row: ScenarioRow) -> ScenarioRow:
    """The scenario as it is named where no variable is changed."""
    return replace(row, options="+".join(variables.without(wording.option_tags(row))) or None)


def spelled(row: ScenarioRow) -> str:
    """The same as a label: `heap glibc`."""
    return ", ".join(f"{name} {value}" for name, value in values_of(row).items())


def _without(run: Run, varied: set[str]) -> dict[str, object]:
    """environment.json as of a run that wanted the ordinary scenarios only."""
    matrix = run.environment.get("matrix")
    workers = run.environment.get("workers")
    changed = dict(run.environment)
    if isinstance(matrix, dict) and isinstance(matrix.get("scenarios"), list):
        wanted = [name for name in matrix["scenarios"] if name not in varied]
        changed["matrix"] = {**matrix, "scenarios": wanted}
    if isinstance(workers, dict):
        changed["workers"] = {k: v for k, v in workers.items() if k not in varied}
    return changed
