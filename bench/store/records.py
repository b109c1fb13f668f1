"""Write the files of a run row by row, and read them back. `schema` has their rows.

Reports and the gate read nothing but `results/<run_id>/`. Each row is one `write`, so a kill at any
moment leaves whole rows. Reading drops a last line that was cut short, with a warning; any other
damage is a `RecordError` that names file, line and column. An empty cell means "not applicable".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.errors import RecordError
from bench.store import durable, rows, typed_json
from bench.store.metadata import RunMetadata
from bench.store.schema import (
    FILES,
    ClaimRow,
    IterationRow,
    KernelRow,
    LoggedCallRow,
    NoiseRow,
    ParityRow,
    ScenarioRow,
    SpeedupRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from _typeshed import DataclassInstance
    from typing_extensions import Self

    from bench.store.rows import Row

__all__ = [
    "ENVIRONMENT",
    "FILES",
    "ClaimRow",
    "IterationRow",
    "KernelRow",
    "LoggedCallRow",
    "NoiseRow",
    "ParityRow",
    "Run",
    "RunWriter",
    "ScenarioRow",
    "SpeedupRow",
    "read_environment",
    "read_rows",
    "read_run",
    "replace_rows",
    "write_environment",
]
ENVIRONMENT = "environment.json"
_LATER = ("logged_calls.csv", "claims.csv")
"""Files that earlier versions did not write."""


class RunWriter:
    """Appends rows to the files of a run, each row with one `write`.

    All files get their header at once, so that an unwritable folder shows before anything is
    measured. A file is either appended to here or replaced by `replace_rows`, not both.

        with RunWriter(folder) as run:
            run.append(IterationRow(...))
    """

    def __init__(
        self, folder: Path, files: Mapping[str, type[DataclassInstance]] | None = None
    ) -> None:
        self.folder = folder
        self._files: dict[type, durable.AppendOnly] = {}
        with ExitStack() as opened:
            for name, row_type in (FILES if files is None else files).items():
                self._files[row_type] = opened.enter_context(_open_rows(folder / name, row_type))
            self._opened = opened.pop_all()

    def append(self, row: DataclassInstance) -> None:
        """Add one row to the file of its type.

        Raises:
            RecordError: a value does not fit its column, or the row could not be written; the file
                then ends with the last whole row.
        """
        self._files[type(row)].append(rows.row_line(row))

    def close(self) -> None:
        """Close all files; harmless when they are closed already."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_rows(path: Path, row_type: type[DataclassInstance]) -> durable.AppendOnly:
    """Open a file of rows for appending: new ones get a header, cut ones lose the cut line."""
    try:
        content = durable.read(path)
    except FileNotFoundError:
        content = b""
    rows.parse(path.name, content, row_type)
    length = rows.whole_length(content)
    if length and not rows.has_header_of(content, row_type):
        raise RecordError(
            f"{path.name} has other columns than this version writes, so no row can be added: "
            "measure into a new folder"
        )
    if length != len(content):
        durable.truncate(path, length)
    file = durable.AppendOnly(path)
    if not length:
        file.append(rows.header_line(row_type))
    return file


def replace_rows(path: Path, new: Iterable[Row], row_type: type[Row]) -> None:
    """Write a whole file of rows in one step: readers see the old rows or the new ones.

    Raises:
        RecordError: it could not be written; the old file is untouched.
    """
    lines = [rows.header_line(row_type), *(rows.row_line(row) for row in new)]
    durable.replace(path, b"".join(lines))


def read_rows(path: Path, row_type: type[Row]) -> tuple[list[Row], list[str]]:
    """Read the rows of a file, with warnings of what is missing or left out.

    A missing file reads as empty, with a warning.

    Raises:
        RecordError: the file is damaged; names the file, line, column and value.
    """
    try:
        content = durable.read(path)
    except FileNotFoundError:
        return [], [f"{path.name}: the file is missing"]
    return rows.parse(str(path), content, row_type)


@dataclass(frozen=True)
class Run:
    """The files of one run, read."""

    folder: Path
    environment: dict[str, Any]
    """The content of environment.json; `metadata` is the same as a declared type."""
    iterations: tuple[IterationRow, ...] = ()
    scenarios: tuple[ScenarioRow, ...] = ()
    speedups: tuple[SpeedupRow, ...] = ()
    parity: tuple[ParityRow, ...] = ()
    noise: tuple[NoiseRow, ...] = ()
    kernels: tuple[KernelRow, ...] = ()
    logged_calls: tuple[LoggedCallRow, ...] = ()
    """Of a run that logged several calls; earlier versions logged one and kept no time of it."""
    claims: tuple[ClaimRow, ...] = ()
    """Of a run that plans by its claims; earlier versions wrote none."""
    warnings: tuple[str, ...] = ()
    """What is missing or was left out, a sentence each."""

    @cached_property
    def metadata(self) -> RunMetadata:
        """What environment.json says, with defaults for what it does not say."""
        return RunMetadata.of(self.environment)


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        RecordError: it is not a run's folder, or one of its files is damaged.
    """
    environment = read_environment(folder)
    warnings: list[str] = []

    def read(name: str, row_type: type[Any]) -> tuple[Any, ...]:
        if name in _LATER and not (folder / name).exists():
            return ()
        found, notes = read_rows(folder / name, row_type)
        warnings.extend(notes)
        return tuple(found)

    run = Run(
        folder=folder,
        environment=environment,
        **{name.removesuffix(".csv"): read(name, kind) for name, kind in FILES.items()},
    )
    warnings += _foreign_rows(run)
    return replace(run, warnings=tuple(warnings))


def read_environment(folder: Path) -> dict[str, Any]:
    """Read the JSON object in a run's environment.json.

    Raises:
        RecordError: the folder is not a run's, or the file is damaged.
    """
    try:
        return typed_json.read_object(folder / ENVIRONMENT)
    except FileNotFoundError as error:
        what = "has no environment.json" if folder.is_dir() else "does not exist"
        raise RecordError(
            f"{folder} is not a run: it {what}; name one such as results/<run_id>, "
            "or results/<study>/<run_id> of a study"
        ) from error


def write_environment(folder: Path, environment: Mapping[str, Any]) -> None:
    """Write environment.json in one step. JSON has no NaN and no infinity: both become null.

    Raises:
        RecordError: it could not be written; the old file is untouched.
    """
    text = json.dumps(_plain(environment), indent=2, allow_nan=False)
    durable.replace(folder / ENVIRONMENT, f"{text}\n".encode())


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON is made of anything
    """Return the value as JSON has it: paths as text, numpy numbers as numbers, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _plain(value.item())  # a numpy scalar


def _foreign_rows(run: Run) -> list[str]:
    """Warn of each file with rows of another run: someone copied files together."""
    own = run.environment.get("run_id")
    found = []
    for name in FILES:
        others = {row.run_id for row in getattr(run, name.removesuffix(".csv"))} - {own}
        if own is not None and others:
            shown = ", ".join(sorted(others)[:3])
            found.append(f"{name}: holds rows of another run than {own}: {shown}")
    return found
