"""The page of all runs: a line each, and each scenario's speedups over time, a machine at a time.

Reads only environment.json, scenarios.csv and speedups.csv of each run, so that hundreds of runs
are listed quickly. A run that cannot be read keeps its line, with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from bench.analysis.facts import comparison_of
from bench.errors import RecordError
from bench.plan.scenario import BaselineKind
from bench.report import machine, sparklines
from bench.report.layout import lay_out
from bench.report.varied import page_facts
from bench.store import records
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from markupsafe import Markup

    from bench.analysis.facts import Comparison, Facts


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run's line."""

    run_id: str
    link: str
    """Its page beside this one; empty where there is none."""
    started: str = ""
    machine: str = ""
    profile: str = ""
    commit: str = ""
    measured: str = ""
    trouble: str


@dataclass(frozen=True, kw_only=True)
class History:
    """One scenario's speedup over stock default in the runs of one machine, oldest first."""

    name: str
    note: str
    latest: Comparison
    drawing: Markup | None
    span: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine's histories."""

    name: str
    note: str
    histories: tuple[History, ...]


def render_index(results: Path, reports: Path) -> str:
    """Build the page of the runs in `results`, with links to their pages in `reports`."""
    entries, runs = [], []
    for folder in sorted(path.parent for path in results.glob(f"*/{records.ENVIRONMENT}")):
        page = f"{folder.name}.html"
        link = quote(page) if (reports / page).is_file() else ""
        try:
            facts = page_facts(_read(folder))
        except RecordError as error:
            entries.append(Entry(run_id=folder.name, link=link, trouble=str(error)))
        else:
            runs.append(facts)
            entries.append(_entry(folder, link, facts))
    runs.sort(key=lambda facts: (facts.environment.text("started_utc"), facts.run_id))
    return lay_out(
        "index.html",
        {
            "title": "All runs",
            "results": results.as_posix(),
            "entries": sorted(entries, key=lambda entry: entry.started, reverse=True),
            "machines": _machines(runs),
        },
    )


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


def _entry(folder: Path, link: str, facts: Facts) -> Entry:
    environment = facts.environment
    measured = sum(facts.is_measured(row) for row in facts.scenarios.values())
    trouble = "" if environment.flag("complete") else "incomplete"
    return Entry(
        run_id=folder.name,
        link=link,
        started=environment.text("started_utc"),
        machine=machine.in_one_line(facts),
        profile=environment.text("profile"),
        commit=environment.text("commit")[:12],
        measured=f"{measured} of {wording.count(len(facts.scenarios), 'scenario')}",
        trouble=trouble if facts.scenarios else "no scenario was measured",
    )


def _machines(runs: Sequence[Facts]) -> list[Machine]:
    """Return the machines of the runs, which are in time order."""
    by_machine: dict[str, list[Facts]] = defaultdict(list)
    for facts in runs:
        by_machine[facts.environment.text("machine", "fingerprint") or facts.run_id].append(facts)
    return [
        Machine(
            name=machine.in_one_line(mine[-1]),
            note=f"fingerprint {fingerprint}, {wording.count(len(mine), 'run')}",
            histories=tuple(_histories(mine, number)),
        )
        for number, (fingerprint, mine) in enumerate(by_machine.items())
    ]


def _histories(runs: Sequence[Facts], number: int) -> list[History]:
    found: dict[str, list[tuple[Facts, Comparison]]] = defaultdict(list)
    for facts in runs:
        for row in facts.run.speedups:
            comparison = comparison_of(row)
            if row.baseline_kind == BaselineKind.STOCK_DEFAULT and comparison is not None:
                found[row.scenario].append((facts, comparison))
    histories = []
    for nth, (scenario, points) in enumerate(sorted(found.items())):
        facts, latest = points[-1]
        known = facts.scenarios.get(scenario)
        values = [comparison.estimate for _, comparison in points]
        span, drawing = wording.count(len(points), "run"), None
        if len(points) > 1:
            span += f", {wording.times(min(values))} to {wording.times(max(values))}"
            drawing = sparklines.history(f"m{number}h{nth}", [point for _, point in points])
        history = History(
            name=wording.way_name(known) if known else scenario,
            note=wording.detail_name(known) if known else "",
            latest=latest,
            drawing=drawing,
            span=span,
        )
        histories.append(history)
    return histories
