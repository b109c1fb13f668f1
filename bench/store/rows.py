"""Convert dataclasses to lines of CSV and back, by their annotations. Pure: no files.

A row type is a frozen dataclass whose fields are `int`, `float`, `bool` or `str`, each possibly
`| None`. Cells: None is empty, booleans are `true` and `false`, floats read back exactly, text is
quoted as CSV quotes it. Empty optional text reads back as None. No number in a run's files is
negative, infinite or NaN, so such a number is damage.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import functools
import io
import math
import operator
import re
import types
import typing
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from _typeshed import DataclassInstance

    Cell = int | float | str | None
    Row = TypeVar("Row", bound=DataclassInstance)

_LONGEST_TEXT = 100_000
"""Longer text is cut when written: Python's own CSV reader refuses cells above 131,072."""
_EXCERPT = 60


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """How values of one type are written and read."""

    noun: str
    cell: re.Pattern[str]
    """What a cell may hold."""
    write: Callable[[Any], str]
    read: Callable[[str], Cell]


def _text(value: object) -> str:
    text = str(value).replace("\0", "\\x00")
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " [cut]"


_KINDS = {
    bool: _Kind(
        noun="true or false",
        cell=re.compile(r"true|false"),
        write=lambda value: str(value).lower(),
        read="true".__eq__,
    ),
    int: _Kind(
        noun="a whole number",
        cell=re.compile(r"[0-9]{1,19}"),
        write=lambda value: str(operator.index(value)),
        read=int,
    ),
    float: _Kind(
        noun="a number of zero or more",
        cell=re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?", re.IGNORECASE),
        write=lambda value: repr(float(value) + 0.0),  # a negative zero becomes zero
        read=float,
    ),
    str: _Kind(noun="text", cell=re.compile(r".*", re.DOTALL), write=_text, read=str),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A field of a row type."""

    name: str
    kind: type
    optional: bool
    is_later: bool
    """Whether it has a default, as which files of earlier versions, which lack it, read."""


@functools.cache
def columns(row_type: type[DataclassInstance]) -> tuple[Column, ...]:
    """Return the columns of a row type, in the order in which they are written."""
    found = []
    hints = typing.get_type_hints(row_type)
    for field in dataclasses.fields(row_type):
        hint = hints[field.name]
        optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
        kinds = [part for part in typing.get_args(hint) if part is not types.NoneType] or [hint]
        later = field.default is not dataclasses.MISSING
        found.append(Column(name=field.name, kind=kinds[0], optional=optional, is_later=later))
    return tuple(found)


def blank(row_type: type[Row], **values: Any) -> Row:  # noqa: ANN401 - values of its columns
    """Make a row whose optional columns are empty unless given."""
    empty = {column.name: None for column in columns(row_type) if column.optional}
    return row_type(**{**empty, **values})


# --- writing ---------------------------------------------------------------------------------


def header_line(row_type: type[DataclassInstance]) -> bytes:
    """Return the first line of a file of such rows."""
    return _line(column.name for column in columns(row_type))


def has_header_of(content: bytes, row_type: type[DataclassInstance]) -> bool:
    """Return whether such rows can be appended, also after a spreadsheet has saved the file."""
    first = content.removeprefix(codecs.BOM_UTF8).partition(b"\n")[0]
    return first.rstrip(b"\r") == header_line(row_type).rstrip(b"\n")


def row_line(row: DataclassInstance) -> bytes:
    """Return one row as one line of its file.

    Raises:
        RecordError: a value does not fit its column.
    """
    return _line(_written(getattr(row, column.name), column) for column in columns(type(row)))


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # quotes cells with \r or \n
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "backslashreplace") + b"\n"


def _written(value: Any, column: Column) -> str:  # noqa: ANN401 - numpy scalars and enums come too
    kind = _KINDS[column.kind]
    if value is None:
        if column.optional:
            return ""
        raise RecordError(f"column {column.name!r} needs a value and got none")
    try:
        cell = kind.write(value)
        if column.optional and cell in ("nan", "inf", "-inf") and column.kind is float:
            return ""  # a ratio that cannot be formed is "not applicable"
    except (TypeError, ValueError):
        cell = None
    if cell is None or not kind.cell.fullmatch(cell):
        raise RecordError(f"column {column.name!r} takes {kind.noun}, not {excerpt(value)}")
    return cell


# --- reading ---------------------------------------------------------------------------------


def parse(name: str, content: bytes, row_type: type[Row]) -> tuple[list[Row], list[str]]:
    """Return the rows in the `content` of the file called `name`, with warnings.

    Left out with a warning: a last line that was cut short, columns that this version does not
    know.

    Raises:
        RecordError: anything else is wrong; names the file, line, column and value.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    whole, cut = _split_tail(name, content)
    short = PurePath(name).name
    warnings = [f"{short}: the last line was cut short and is left out"] if cut else []
    records = _records(name, _decoded(name, whole))
    first = next(records, None)
    if first is None:
        if not header_line(row_type).startswith(cut):
            raise _not_the_header(name, cut.decode(errors="replace"))
        return [], warnings or [f"{short}: the file is empty"]
    header = first[1]
    wanted = _places(name, header, row_type)
    unknown = [title for title in header if title not in {column.name for column, _ in wanted}]
    if unknown:
        warnings.append(f"{short}: columns of another version are ignored: {', '.join(unknown)}")
    rows = []
    for line, cells in records:
        if len(cells) != len(header):
            raise RecordError(
                f"{name}, line {line}: {len(cells)} cells where the header has {len(header)}"
            )
        values = {column.name: _read(name, line, column, cells[at]) for column, at in wanted}
        rows.append(row_type(**values))
    return rows, warnings


def whole_length(content: bytes) -> int:
    """Return how many bytes of `content` are whole lines of CSV, line ends in quotes apart."""
    quotes = content.count(b'"')
    end = len(content)
    while end:
        position = content.rfind(b"\n", 0, end) + 1
        quotes -= content.count(b'"', position, end)
        if quotes % 2 == 0:
            return position
        end = position - 1 if position else 0
    return 0


def _split_tail(name: str, content: bytes) -> tuple[bytes, bytes]:
    """Split content into whole lines and what a crash left of the last one.

    A quote that is never closed makes a tail too. It is damage if whole rows follow in it, as wide
    as the file's header.
    """
    commas = content.partition(b"\n")[0].count(b",")
    length = whole_length(content)
    whole, tail = content[:length], content[length:]
    if any(line.count(b",") >= commas for line in tail.split(b"\n")[1:]):
        line = whole.count(b"\n") + 1
        raise RecordError(f"{name}, line {line}: a quote is opened and never closed")
    return whole, tail


def _decoded(name: str, content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        value = content[error.start : error.start + 8]
        raise RecordError(f"{name}, line {line}: {value!r} is not text in UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise RecordError(f"{name}, line {line}: holds a NUL, so it is damaged or not a CSV file")
    return text


def _records(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each record that is not an empty line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise RecordError(f"{name}, line {line}: {error}") from error


def _places(
    name: str, header: Sequence[str], row_type: type[DataclassInstance]
) -> list[tuple[Column, int]]:
    """Return each column that the file has, with its place in a line."""
    known = columns(row_type)
    present = [column for column in known if column.name in header]
    if not present:
        raise _not_the_header(name, ",".join(header))
    missing = [c.name for c in known if c.name not in header and not c.is_later]
    if missing:
        raise RecordError(f"{name}, line 1: column {', '.join(missing)} is missing")
    twice = [column.name for column in present if header.count(column.name) > 1]
    if twice:
        raise RecordError(f"{name}, line 1: column {', '.join(twice)} is there twice")
    return [(column, header.index(column.name)) for column in present]


def _not_the_header(name: str, first: str) -> RecordError:
    return RecordError(f"{name}, line 1: {excerpt(first)} is not the header of such a file")


def _read(name: str, line: int, column: Column, cell: str) -> Cell:
    if not cell and column.optional:
        return None
    kind = _KINDS[column.kind]
    value = kind.read(cell) if kind.cell.fullmatch(cell) else None
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise RecordError(
            f"{name}, line {line}, column {column.name}: {excerpt(cell)} is not {kind.noun}"
        )
    return value


def excerpt(value: object) -> str:
    """Return a value as a message may show it: short, with control characters escaped."""
    text = value if isinstance(value, str) else repr(value)
    shown = ascii(text[:_EXCERPT])
    return f"{shown}... ({len(text):,} characters)" if len(text) > _EXCERPT else shown
