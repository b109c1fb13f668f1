"""Hold a table as plain data, with cells that several have. The template lays it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from bench.analysis.run_facts import is_stock_default
from bench.text import wording
from bench.text.wording import NOTHING, digits

if TYPE_CHECKING:
    from collections.abc import Callable

    from markupsafe import Markup

    from bench.analysis.comparison import Comparison
    from bench.store.records import ScenarioRow


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell."""

    text: str
    sort: float | str | None = None
    """What the column sorts by; cells without it sort last."""
    note: str = ""
    """Shown below the text."""
    verdict: str = ""
    """Shown as a badge in place of the text."""
    is_number: bool = False
    link: str = ""
    """Where the cell leads: `#id` on this page, or a file beside it."""
    fold: str = ""
    """Further text, shown when the cell is opened."""
    drawing: Markup | None = None
    """Shown in place of the text."""
    mark: str = ""
    """`archived`, `deprecated` or `private`: shown behind the text."""


class Tags(TypedDict, total=False):
    """What the filters of a table compare, for a row about one scenario."""

    task: str
    backend: str
    dtype: str
    batch: str


def tags(row: ScenarioRow | None) -> Tags:
    """Return the scenario's tags; none where the run does not describe it."""
    if row is None:
        return Tags()
    return Tags(task=row.task, backend=row.backend, dtype=row.dtype, batch=str(row.batch_size))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its cells, and the values that the filters compare."""

    cells: tuple[Cell, ...]
    task: str = ""
    backend: str = ""
    dtype: str = ""
    batch: str = ""
    verdict: str = ""
    is_muted: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its caption; the first cell of each row is its header."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: tuple[int, ...] = ()
    """Columns whose headers are aligned as numbers."""
    can_filter: bool = False
    empty: str = "Nothing was recorded for this table."
    """Shown in place of a table without rows."""


def number(text: str, value: float | None, note: str = "") -> Cell:
    """Return a right-aligned cell that sorts by its value."""
    return Cell(text=text, sort=wording.finite(value), note=note, is_number=True)


def quantity(value: float | None, words: Callable[[float | None], str] = digits) -> Cell:
    """Return a right-aligned cell with a value as `words` spells it."""
    return number(words(value), value)


def scenario_name(row: ScenarioRow) -> str:
    """Return how the page heads the scenario."""
    return "Stock default" if is_stock_default(row) else wording.way_name(row)


def scenario_cell(row: ScenarioRow, anchors: dict[str, str], mark: str = "") -> Cell:
    """Return the scenario's name and particulars, with a link to its details.

    `mark` is `Facts.mark` of the row.
    """
    return Cell(
        text=scenario_name(row),
        sort=row.scenario,
        note=wording.detail_name(row),
        link=f"#{anchors[row.scenario]}" if row.scenario in anchors else "",
        mark=mark,
    )


def ratio_cell(comparison: Comparison | None, absent: str = NOTHING) -> Cell:
    """Return a ratio with its interval below, or what stands where there is none."""
    if comparison is None:
        return Cell(text=absent, is_number=True)
    return interval_cell(comparison.estimate, comparison.low, comparison.high)


def interval_cell(
    estimate: float | None, low: float | None, high: float | None, more: str | None = None
) -> Cell:
    """Return a speedup with its interval and further words below; a dash without a speedup."""
    note = "" if estimate is None else f"{wording.bounds(low, high)} {more or ''}".strip()
    return number(wording.times(estimate), estimate, note)


def verdict_cell(verdict: str | None, note: str = "") -> Cell:
    """Return a verdict as a badge."""
    if verdict is None:
        return Cell(text=NOTHING)
    return Cell(text=str(verdict), sort=verdict, verdict=verdict, note=note)


def in_columns(table: Table) -> list[str]:
    """Lay a table out in fixed columns, a line a row, for a terminal."""
    if not table.rows:
        return [table.empty]
    grid = [table.columns, *([_in_a_line(cell) for cell in row.cells] for row in table.rows)]
    widths = [max(len(line[place]) for line in grid) for place in range(len(table.columns))]
    return [
        "  ".join(
            value.rjust(width) if place in table.numeric else value.ljust(width)
            for place, (value, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in grid
    ]


def _in_a_line(cell: Cell) -> str:
    if cell.verdict:
        return cell.verdict
    return f"{cell.text} {cell.note}".strip() if cell.is_number else cell.text


def whole(value: float | None) -> str:
    """Spell a count, rounded where it is a median."""
    return NOTHING if value is None else f"{value:,.0f}"


def megabytes(value: float | None) -> str:
    """Spell an amount of memory with its unit."""
    return NOTHING if wording.finite(value) is None else f"{digits(value)} MB"
