"""Make a study's page and terminal text, from files alone. All text is escaped."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.analysis.run_facts import Facts
from bench.report import machine
from bench.report.layout import lay_out
from bench.report.table import Cell, in_columns, ratio_cell
from bench.store.records import Run
from bench.text.wording import NOTHING, percent, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.analysis.comparison import Comparison
    from bench.errors import WorkerError
    from bench.report.table import Table

REASON = "Status and reason"
"""The last column of a table whose rows have a status; a terminal has the reasons below it."""

CONTROL_REMARK = (
    "`#control` is the baseline again, in a process of its own. Where it differs, a difference of "
    "that size is no finding."
)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A study's answers and tables."""

    title: str
    lead: tuple[str, ...]
    """The answers, a sentence each, the most important first."""
    tables: tuple[Table, ...]
    remarks: tuple[str, ...] = ()
    """What a reader must know about the answers."""


def render(page: Page, folder: Path, environment: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    facts = Facts(Run(folder=folder, environment=dict(environment)))
    context = {
        "title": page.title,
        "page": page,
        "run_id": facts.run_id,
        "machine_line": machine.in_one_line(facts),
        "warnings": warnings(environment),
        "command": shlex.join(map(str, environment.get("command", ()))),
        "commit": environment.get("commit"),
    }
    return lay_out("study.html", context)


def text(page: Page, environment: Mapping[str, Any]) -> str:
    """Return warnings, answers and tables for the terminal."""
    lines = [*_wrapped(warnings(environment), "! "), *_wrapped(page.lead, "- ")]
    for table in page.tables:
        lines += ["", *in_columns(table)]
        if table.columns[-1] == REASON:
            said = (f"{row.cells[0].text}: {row.cells[-1].note}" for row in table.rows)
            lines += _wrapped([one for one in said if not one.endswith(": ")], "  ")
    return "\n".join([*lines, "", *_wrapped(page.remarks, "  ")]).rstrip()


def warnings(environment: Mapping[str, Any]) -> list[str]:
    """Return what weakens the figures: a cut, notes, rounds that were not quiet, synthetic pills.

    Studies of earlier versions do not say where their images came from.
    """
    found = [str(note) for note in environment.get("notes") or ()]
    if environment.get("complete") is False:
        found.insert(0, "The study was cut: this is what was measured until then.")
    share = environment.get("noisy_share")
    if isinstance(share, float) and share > 0:
        found.append(f"{percent(share, 2)} of the rounds were not quiet.")
    data = environment.get("data")
    if isinstance(data, dict) and data.get("source") == "synthetic":
        found.append("Synthetic pills: rendered, not photographed. No claim about real pills.")
    return found


def speedup_cells(compared: Comparison | None) -> tuple[Cell, Cell]:
    """Return the cells of a speedup and its verdict; dashes without a comparison."""
    verdict = Cell(text="", verdict=str(compared.verdict)) if compared else Cell(text=NOTHING)
    return ratio_cell(compared if compared and compared.ratio else None), verdict


def status_cell(error: WorkerError | None, compared: Comparison | None = None) -> Cell:
    """Return the cell of a status with its reason."""
    if error:
        return Cell(text=str(error.status), note=error.reason)
    return Cell(text="ok", note=(compared.reason if compared else None) or "")


def _wrapped(sentences: Sequence[str], mark: str) -> list[str]:
    return [line for sentence in sentences for line in wrapped(sentence, mark)]
