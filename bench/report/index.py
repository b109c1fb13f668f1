"""Make the page of all runs: a line each, and each scenario's speedups over time.

Runs of one machine and one model have a history together.

Reads only environment.json, scenarios.csv and speedups.csv of each run, so that hundreds of runs
are listed quickly. A run that cannot be read keeps its line, with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import quote

from bench.analysis.run_facts import comparison_of
from bench.errors import RecordError
from bench.plan.scenario import BaselineKind
from bench.report import machine, method, sparklines
from bench.report.layout import lay_out
from bench.report.table import Cell, Row, Table, ratio_cell, tags, verdict_cell
from bench.report.varied import page_facts
from bench.store import records
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.analysis.run_facts import Comparison, Facts


def render_index(results: Path, reports: Path) -> str:
    """Build the page of the runs in `results`, with links to their pages in `reports`."""
    rows, runs = [], []
    for folder in sorted(path.parent for path in results.glob(f"*/{records.ENVIRONMENT}")):
        page = f"{folder.name}.html"
        if (reports / page).is_file():
            name = Cell(text=folder.name, sort=folder.name, link=quote(page))
        else:
            note = f"no page yet: bench report {folder.as_posix()}"
            name = Cell(text=folder.name, sort=folder.name, note=note)
        try:
            facts = page_facts(_read(folder))
        except RecordError as error:
            rows.append(("", _row(name, "", "", "", "", "", "", str(error))))
        else:
            runs.append(facts)
            rows.append((facts.metadata.started_utc, _run_row(name, facts)))
    rows.sort(key=lambda item: item[0], reverse=True)
    table = Table(
        name="runs",
        caption=f"{wording.count(len(rows), 'run')}, the newest first.",
        columns=("Run", "Started", "Model", "Machine", "Profile", "Commit", "Measured", "Trouble"),
        rows=tuple(row for _, row in rows),
        can_filter=True,
        empty="There is no run yet: measure one with bench run.",
    )
    runs.sort(key=lambda facts: (facts.metadata.started_utc, facts.run_id))
    return lay_out("index.html", {"title": "All runs", "runs": table, "machines": _machines(runs)})


def _read(folder: Path) -> records.Run:
    """Read a run without its calls.

    Raises:
        RecordError: a file is damaged.
    """
    return records.Run(
        folder=folder,
        environment=records.read_environment(folder),
        scenarios=tuple(records.read_rows(folder / "scenarios.csv", records.ScenarioRow)[0]),
        speedups=tuple(records.read_rows(folder / "speedups.csv", records.SpeedupRow)[0]),
    )


def _run_row(name: Cell, facts: Facts) -> Row:
    metadata = facts.metadata
    measured = sum(facts.is_measured(row) for row in facts.scenarios.values())
    trouble = "" if metadata.complete else "incomplete"
    return _row(
        name,
        facts.metadata.started_utc,
        _model(facts),
        machine.in_one_line(facts),
        metadata.profile,
        metadata.commit[:12],
        f"{measured} of {wording.count(len(facts.scenarios), 'scenario')}",
        trouble if facts.scenarios else "no scenario was measured",
    )


def _model(facts: Facts) -> str:
    """Name the user's own model with its settings, or the inspector."""
    return method.model_name(facts) if facts.is_own_model else "pill inspector"


def _row(name: Cell, *texts: str) -> Row:
    cells = (Cell(text=text or wording.NOTHING, sort=text or None) for text in texts)
    return Row(cells=(name, *cells))


def _machines(runs: Sequence[Facts]) -> list[tuple[str, str, Table]]:
    """Return name, note and histories of each machine and model; the runs are in time order."""
    by_machine: dict[tuple[str, str], list[Facts]] = defaultdict(list)
    for facts in runs:
        fingerprint = facts.metadata.machine.fingerprint or facts.run_id
        by_machine[fingerprint, _model(facts)].append(facts)
    return [
        (
            machine.in_one_line(mine[-1]),
            f"fingerprint {fingerprint}, {model}, {wording.count(len(mine), 'run')}",
            _histories(mine, f"history{number}"),
        )
        for number, ((fingerprint, model), mine) in enumerate(by_machine.items())
    ]


def _histories(runs: Sequence[Facts], name: str) -> Table:
    """Return each scenario's speedups over stock default in the runs of one machine."""
    found: dict[str, list[tuple[Facts, Comparison]]] = defaultdict(list)
    for facts in runs:
        for row in facts.run.speedups:
            comparison = comparison_of(row)
            if row.baseline_kind == BaselineKind.STOCK_DEFAULT and comparison is not None:
                found[row.scenario].append((facts, comparison))
    rows = []
    for number, (scenario, points) in enumerate(sorted(found.items())):
        facts, latest = points[-1]
        known = facts.scenarios.get(scenario)
        values = [comparison.estimate for _, comparison in points]
        span, drawing = wording.count(len(points), "run"), None
        if len(points) > 1:
            span += f", {wording.times(min(values))} to {wording.times(max(values))}"
            drawing = sparklines.history(f"{name}-{number}", [point for _, point in points])
        cells = (
            Cell(
                text=wording.way_name(known) if known else scenario,
                note=wording.detail_name(known) if known else "",
                sort=scenario,
            ),
            ratio_cell(latest),
            verdict_cell(latest.verdict),
            Cell(text="", sort=len(points), drawing=drawing, note=span),
        )
        rows.append(Row(cells=cells, **tags(known), verdict=latest.verdict))
    return Table(
        name=name,
        caption="Speedup over stock default in each run of this machine, oldest to newest.",
        columns=("Scenario", "Latest", "Verdict", "History"),
        rows=tuple(rows),
        numeric=(1,),
        can_filter=True,
        empty="No run of this machine has a speedup.",
    )
