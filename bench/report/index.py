"""The page of all runs: what there is, and how each scenario's speedup went over time, a machine.

Reads of each run only environment.json, scenarios.csv and speedups.csv, so that hundreds of runs
are listed quickly. A run that cannot be read keeps its line, with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from bench.analysis.speedups import comparison_of
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
    started: str
    machine: str
    profile: str
    commit: str
    measured: str
    trouble: str


@dataclass(frozen=True, kw_only=True)
class History:
    """One scenario's speedup over stock default, in the runs of one machine, oldest first."""

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
    """The page."""
    folders = sorted(path.parent for path in results.glob(f"*/{records.ENVIRONMENT}"))
    read = [(folder, *_read(folder)) for folder in folders]
    runs = sorted(
        (facts for _, facts, _ in read if facts is not None),
        key=lambda facts: (facts.metadata.started_utc, facts.run_id),
    )
    entries = [_entry(folder, facts, trouble, reports) for folder, facts, trouble in read]
    return lay_out(
        "index.html",
        {
            "title": "All runs",
            "results": results.as_posix(),
            "entries": sorted(entries, key=lambda entry: entry.started, reverse=True),
            "machines": _machines(runs),
        },
    )


def _read(folder: Path) -> tuple[Facts | None, str]:
    """The run without its calls, or why it cannot be read."""
    try:
        run = records.Run(
            folder=folder,
            environment=records.read_environment(folder),
            scenarios=tuple(records.read_rows(folder / "scenarios.csv", records.ScenarioRow)[0]),
            speedups=tuple(records.read_rows(folder / "speedups.csv", records.SpeedupRow)[0]),
        )
    except RecordError as error:
        return None, str(error)
    return page_facts(run), ""


def _entry(folder: Path, facts: Facts | None, trouble: str, reports: Path) -> Entry:
    page = f"{folder.name}.html"
    link = quote(page) if (reports / page).is_file() else ""
    if facts is None:
        return Entry(
            run_id=folder.name, link=link, started="", machine="", profile="", commit="",
            measured="", trouble=trouble,
        )  # fmt: skip
    metadata = facts.metadata
    good = sum(facts.is_measured(row) for row in facts.scenarios.values())
    trouble = "" if metadata.complete else "incomplete"
    if not facts.scenarios:
        trouble = "no scenario was measured"
    return Entry(
        run_id=folder.name,
        link=link,
        started=metadata.started_utc,
        machine=machine.in_one_line(facts),
        profile=metadata.profile,
        commit=metadata.commit[:12],
        measured=f"{good} of {wording.count(len(facts.scenarios), 'scenario')}",
        trouble=trouble,
    )


def _machines(runs: Sequence[Facts]) -> list[Machine]:
    by_machine: dict[str, list[Facts]] = defaultdict(list)
    for facts in runs:
        by_machine[facts.metadata.machine.fingerprint or facts.run_id].append(facts)
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
    return [
        _history(scenario, points, f"m{number}h{nth}")
        for nth, (scenario, points) in enumerate(sorted(found.items()))
    ]


def _history(scenario: str, points: Sequence[tuple[Facts, Comparison]], name: str) -> History:
    facts, latest = points[-1]
    row = facts.scenarios.get(scenario)
    values = [comparison.estimate for _, comparison in points]
    span = f"{wording.times(min(values))} to {wording.times(max(values))}"
    return History(
        name=wording.way_name(row) if row else scenario,
        note=wording.detail_name(row) if row else "",
        latest=latest,
        drawing=sparklines.history(name, [c for _, c in points]) if len(points) > 1 else None,
        span=f"{wording.count(len(points), 'run')}" + (f", {span}" if len(points) > 1 else ""),
    )
