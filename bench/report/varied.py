"""Report varied scenarios: another allocator, OpenMP runtime, thread count, arithmetic. Pure.

They are in a table of their own and in no other: a headline such as "IPEX leads" compares what runs
under the same conditions, and must not depend on which variables a run happened to vary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.analysis import recovered_rows
from bench.analysis.prices import NO_PRICES
from bench.analysis.run_facts import Facts, comparison_of
from bench.analysis.scenario_kinds import varied
from bench.plan import variables
from bench.plan.scenario import CONTROL_SUFFIX, BaselineKind
from bench.plan.variables import VARIABLES
from bench.report.table import Cell, Row, Table, quantity, ratio_cell, tags, verdict_cell
from bench.text import wording
from bench.text.wording import TIMES, milliseconds, tiny

if TYPE_CHECKING:
    from bench.analysis.prices import Prices
    from bench.store.records import Run, ScenarioRow


def page_facts(run: Run, prices: Prices = NO_PRICES) -> Facts:
    """Return the facts of the ordinary scenarios, judged by the model of the whole run.

    Where something was varied, their `whole` are the facts of the whole run.
    """
    plain_run = ordinary(run)
    return Facts(plain_run, prices, None if plain_run is run else Facts(run, prices))


def ordinary(run: Run) -> Run:
    """Return the run without its varied scenarios, even those that a kill left without a row."""
    names = {row.scenario for row in recovered_rows.scenario_rows(run) if varied(row)}
    if not names:
        return run

    def is_kept(scenario: str) -> bool:
        return scenario.removesuffix(CONTROL_SUFFIX) not in names

    environment = dict(run.environment)
    matrix, workers = environment.get("matrix"), environment.get("workers")
    if isinstance(matrix, dict) and isinstance(matrix.get("scenarios"), list):
        wanted = [name for name in matrix["scenarios"] if name not in names]
        environment["matrix"] = {**matrix, "scenarios": wanted}
    if isinstance(workers, dict):
        environment["workers"] = {k: v for k, v in workers.items() if k not in names}
    kept: dict[str, Any] = {
        table: tuple(row for row in getattr(run, table) if is_kept(row.scenario))
        for table in ("iterations", "scenarios", "speedups", "parity", "kernels", "logged_calls")
    }
    return replace(run, environment=environment, **kept)


def plain(row: ScenarioRow) -> ScenarioRow:
    """Return the row without its variables, to name the way of running."""
    return replace(row, options="+".join(variables.without(wording.option_tags(row))) or None)


def table(facts: Facts) -> Table:
    """Return what each variable gains alone, and what its scenario gains under it.

    `facts` are those of the whole run.
    """
    return Table(
        name="variables",
        caption=f"The same way of running, with one variable changed. Above 1{TIMES} the change "
        "made it faster.",
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
        rows=tuple(_row(facts, row) for row in facts.scenarios.values() if varied(row)),
        numeric=(2, 4, 6),
        empty="No variable was varied in this run: `bench run --vary allocator` does.",
    )


def _row(facts: Facts, row: ScenarioRow) -> Row:
    over_unvaried = facts.speedup(row.scenario, BaselineKind.UNVARIED)
    over_default = facts.speedup(row.scenario, BaselineKind.STOCK_ALIKE)
    unvaried = plain(row)
    values = ", ".join(f"{name} {value}" for name, value in varied(row).items())
    reason = row.reason or (over_unvaried.reason if over_unvaried else None) or ""
    return Row(
        cells=(
            Cell(text=values, sort=values, note=_caution(facts, row)),
            Cell(
                text=wording.way_name(unvaried),
                note=wording.detail_name(unvaried),
                mark=facts.mark(row),
                sort=unvaried.scenario,
            ),
            ratio_cell(comparison_of(over_unvaried)),
            verdict_cell(over_unvaried.verdict if over_unvaried else None),
            ratio_cell(comparison_of(over_default)),
            verdict_cell(over_default.verdict if over_default else None),
            quantity(row.median_ms, milliseconds),
            Cell(text=wording.status_words(row.status), note=reason),
        ),
        **tags(row),
        verdict=over_unvaried.verdict if over_unvaried else "",
    )


def _caution(facts: Facts, row: ScenarioRow) -> str:
    """Say what a variable changes beside the speed, and how far the outputs then are."""
    said = [VARIABLES[name].caution for name in varied(row) if VARIABLES[name].caution]
    parity = facts.parity.get(row.scenario) if said else None
    if parity is not None:
        said.append(f"largest error {tiny(parity.max_abs_error)} of {tiny(parity.tolerance)}")
    return "; ".join(said)
