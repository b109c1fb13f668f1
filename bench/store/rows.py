"""Dataclasses as lines of CSV and back, driven by their annotations. Pure: no files here.

A row type is a frozen dataclass whose fields are `int`, `float`, `bool` or `str`, each possibly
`| None`. Cells: None is empty, booleans are `true` and `false`, floats are written so that they
read back exactly, text is quoted as CSV quotes it. Empty optional text reads back as None.
No number in a run's files is negative, infinite or NaN, so such a number is damage.
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
    from collections.abc import Iterator, Sequence

    from _typeshed import DataclassInstance

    Cell = int | float | str | None
    Row = TypeVar("Row", bound=DataclassInstance)

_INTEGER = re.compile(r"[0-9]{1,19}", re.ASCII)
_FLOAT = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?", re.ASCII | re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}
_LONGEST_TEXT = 100_000
"""Longer text is cut when written: Python's own CSV reader refuses cells above 131,072."""
_EXCERPT = 60
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


@dataclass(frozen=True, kw_only=True)
class Column:
    """A field of a row type."""

    name: str
    kind: type
    optional: bool
    is_later: bool = False
    """It has a default: files of earlier versions lack the column, and read as the default."""


@functools.cache
def columns(row_type: type[DataclassInstance]) -> tuple[Column, ...]:
    """The columns of a row type, in the order they are written."""
    hints = typing.get_type_hints(row_type)
    return tuple(
        dataclasses.replace(
            _column(field.name, hints[field.name]),
            is_later=field.default is not dataclasses.MISSING,
        )
        for field in dataclasses.fields(row_type)
    )


def _column(name: str, hint: Any) -> Column:  # noqa: ANN401 - a type expression has no type of its own
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (kind,) = (part for part in typing.get_args(hint) if part is not type(None))
        return Column(name=name, kind=kind, optional=True)
    return Column(name=name, kind=hint, optional=False)


# --- writing ---------------------------------------------------------------------------------


def header_line(row_type: type[DataclassInstance]) -> bytes:
    """The first line of a file of such rows."""
    return _line(column.name for column in columns(row_type))


def has_header_of(content: bytes, row_type: type[DataclassInstance]) -> bool:
    """Whether such rows can be added: its columns are theirs, whatever a spreadsheet made of it."""
    first = content.removeprefix(codecs.BOM_UTF8).partition(b"\n")[0]
    return first.rstrip(b"\r") == header_line(row_type).rstrip(b"\r\n")


def row_line(row: DataclassInstance) -> bytes:
    """One row as one line, ready to be written.

    Raises:
        RecordError: a value does not fit its column.
    """
    return _line(_written(getattr(row, column.name), column) for column in columns(type(row)))


def _line(cells: typing.Iterable[str]) -> bytes:
    return (",".join(map(_quoted, cells)) + "\n").encode("utf-8", "backslashreplace")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def _written(value: Any, column: Column) -> str:  # noqa: ANN401 - numpy scalars and enums come too
    if value is None:
        if column.optional:
            return ""
        raise RecordError(f"column {column.name!r} needs a value and got none")
    try:
        return _WRITERS[column.kind](value, column)
    except (TypeError, ValueError) as error:
        raise RecordError(
            f"column {column.name!r} takes {_NOUNS[column.kind]}, not {excerpt(value)}"
        ) from error


def _written_bool(value: Any, _: Column) -> str:  # noqa: ANN401 - as above
    if value not in (True, False):
        raise ValueError
    return "true" if value else "false"


def _written_int(value: Any, _: Column) -> str:  # noqa: ANN401 - as above
    text = str(operator.index(value))
    if not _INTEGER.fullmatch(text):
        raise ValueError
    return text


def _written_float(value: Any, column: Column) -> str:  # noqa: ANN401 - as above
    number = float(value)
    if not math.isfinite(number) and column.optional:
        return ""  # a ratio that could not be formed is "not applicable", not a reason to stop
    if not math.isfinite(number) or number < 0:
        raise ValueError
    return repr(abs(number))  # abs: a negative zero is zero


def _written_str(value: Any, _: Column) -> str:  # noqa: ANN401 - as above
    text = str(value).replace("\0", "\\x00")
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " [cut]"


_WRITERS = {bool: _written_bool, int: _written_int, float: _written_float, str: _written_str}
_NOUNS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number of zero or more",
    str: "text",
}


# --- reading ---------------------------------------------------------------------------------


def parse(name: str, content: bytes, row_type: type[Row]) -> tuple[list[Row], list[str]]:
    """The rows in the `content` of the file called `name`, and warnings about what was left out.

    A last line that was cut short is left out, as are columns that this version does not know.

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
        _check_cut_header(name, cut, row_type)
        return [], warnings or [f"{short}: the file is empty"]
    header = first[1]
    places = _places(name, header, row_type)
    unknown = [title for title in header if title not in places]
    if unknown:
        warnings.append(f"{short}: columns of another version are ignored: {', '.join(unknown)}")
    present = (column for column in columns(row_type) if column.name in places)
    wanted = [(column, places[column.name]) for column in present]
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
    """How many bytes of `content` are whole lines of CSV: a line end within quotes ends no line."""
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
    """Whole lines, and what a crash left of the last one.

    A quote that is never closed also makes a tail; when whole rows follow in it, as wide as this
    file's header, it is damage.
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
    """Line number and cells of each record that is not an empty line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise RecordError(f"{name}, line {line}: {error}") from error
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _check_cut_header(name: str, cut: bytes, row_type: type[DataclassInstance]) -> None:
    if not header_line(row_type).startswith(cut):
        raise RecordError(
            f"{name}, line 1: {excerpt(cut.decode(errors='replace'))} "
            "is not the header of such a file"
        )


def _places(name: str, header: Sequence[str], row_type: type[DataclassInstance]) -> dict[str, int]:
    """Where in a line each known column stands."""
    known = [column.name for column in columns(row_type)]
    missing = [c.name for c in columns(row_type) if c.name not in header and not c.is_later]
    if not set(known) & set(header):
        raise RecordError(
            f"{name}, line 1: {excerpt(','.join(header))} is not the header of such a file"
        )
    if missing:
        raise RecordError(f"{name}, line 1: column {', '.join(missing)} is missing")
    twice = [title for title in known if header.count(title) > 1]
    if twice:
        raise RecordError(f"{name}, line 1: column {', '.join(twice)} is there twice")
    return {title: header.index(title) for title in known if title in header}


def _read(name: str, line: int, column: Column, cell: str) -> Cell:
    if not cell and column.optional:
        return None
    try:
        return _READERS[column.kind](cell)
    except ValueError as error:
        raise RecordError(
            f"{name}, line {line}, column {column.name}: "
            f"{excerpt(cell)} is not {_NOUNS[column.kind]}"
        ) from error


def _read_bool(cell: str) -> bool:
    if cell not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[cell]


def _read_int(cell: str) -> int:
    if not _INTEGER.fullmatch(cell):
        raise ValueError
    return int(cell)


def _read_float(cell: str) -> float:
    if not _FLOAT.fullmatch(cell) or not math.isfinite(float(cell)):
        raise ValueError
    return float(cell)


_READERS: dict[type, typing.Callable[[str], Cell]] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: str,
}


def excerpt(value: object) -> str:
    """A value as a message may show it: short, with control characters spelled out."""
    text = value if isinstance(value, str) else repr(value)
    shown = ascii(text[:_EXCERPT])
    return f"{shown}... ({len(text):,} characters)" if len(text) > _EXCERPT else shown
