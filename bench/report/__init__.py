"""The report: one HTML file from what is on disk about a run, and nothing else.

    write_report(records.read_run(folder), Path("reports/run.html"))

It can be made again later, on another machine, by another version. A run that is empty, partial or
full of failures gives a page too: it says what is missing.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.report.facts import Facts
from bench.report.page import render
from bench.report.varied import ordinary

if TYPE_CHECKING:
    from bench.records import Run

__all__ = ["build", "write_report"]


def build(run: Run) -> str:
    """The page as a string; the same for the same run."""
    return render(Facts(ordinary(run)), whole=Facts(run))


def write_report(run: Run, path: Path) -> None:
    """Write the page in one step: whoever looks sees the old file or the new one, never a part.

    Raises:
        BenchError: the file cannot be written.
    """
    html = build(run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(html)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BenchError(
            f"the report {path} cannot be written ({error.strerror or error}): "
            "free some space or choose another place"
        ) from error
