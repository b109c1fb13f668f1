"""A table as plain data, and the cells that several tables have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from bench.analysis.facts import comparison_of, is_stock_default
from bench.text import wording
from bench.text.wording import NOTHING, digits

if TYPE_CHECKING:
    from bench.store.records import ScenarioRow, SpeedupRow


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell. `sort` is what the column sorts by; empty cells sort last."""

    text: str
    sort: float | str | None = None
    note: str = ""
    verdict: str = ""
    """Shown as a badge with its glyph in place of plain text."""
    is_number: bool = False
    link: str = ""
    """Id of the element on this page that the cell leads to."""
    fold: str = ""
    """More to say, shown when the cell's text is opened."""


class Tags(TypedDict):
    """What the filter's choices look at, of a row about one scenario."""

    task: str
    backend: str
    dtype: str
    batch: str


NO_TAGS = Tags(task="", backend="", dtype="", batch="")
"""Of a row whose scenario the run does not describe."""


def tags(row: ScenarioRow) -> Tags:
    """The scenario's tags."""
    return Tags(task=row.task, backend=row.backend, dtype=row.dtype, batch=str(row.batch_size))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row; all but its cells is what the filter's choices look at."""

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
    can_filter: bool = False
    empty: str = "Nothing was recorded for this table."
    """What stands in its place without rows."""


def number(text: str, value: float | None, note: str = "") -> Cell:
    """A right-aligned cell that sorts by its value."""
    return Cell(text=text, sort=wording.finite(value), note=note, is_number=True)


def scenario_cell(row: ScenarioRow, anchors: dict[str, str]) -> Cell:
    """The scenario's name, its particulars below, leading to its details."""
    name = "Stock default" if is_stock_default(row) else wording.way_name(row)
    return Cell(
        text=name,
        sort=row.scenario,
        note=wording.detail_name(row),
        link=anchors.get(row.scenario, ""),
    )


def ratio_cell(row: SpeedupRow | None, absent: str = NOTHING) -> Cell:
    """`1.32x` with its interval below."""
    comparison = comparison_of(row)
    if comparison is None:
        return Cell(text=absent, is_number=True)
    return Cell(
        text=wording.times(comparison.estimate),
        sort=comparison.estimate,
        note=wording.bounds(comparison.low, comparison.high),
        is_number=True,
    )


def verdict_cell(row: SpeedupRow | None) -> Cell:
    """The verdict as a badge, and by how much at least, where a difference was shown."""
    if row is None:
        return Cell(text=NOTHING)
    comparison = comparison_of(row)
    return Cell(
        text=str(row.verdict),
        sort=row.verdict,
        verdict=row.verdict,
        note=wording.at_least(comparison) if comparison else "",
    )


def whole(value: float | None) -> str:
    """A count, rounded where it is a median, or nothing."""
    return NOTHING if value is None else f"{value:,.0f}"


def megabytes(value: float | None) -> str:
    """Memory with its unit, or nothing."""
    return NOTHING if wording.finite(value) is None else f"{digits(value)} MB"
