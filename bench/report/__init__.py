"""The report: one HTML file from what is on disk about a run, and nothing else.

    write_report(records.read_run(folder), Path("reports/run.html"))

It can be made again later, on another machine, by another version. A run that is empty, partial or
full of failures gives a page too: it says what is missing.

The parts are imported late: `bench.recommend` stands on this package's facts, and the page on what
it recommends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.analysis.prices import Prices
    from bench.store.records import Run

__all__ = ["build", "build_comparison", "in_format", "write_report"]


def build(run: Run, prices: Prices | None = None) -> str:
    """The page as a string; the same for the same run and prices."""
    from bench.analysis.prices import shipped
    from bench.report.page import render
    from bench.report.varied import page_facts

    return render(page_facts(run, prices or shipped()))


def build_comparison(runs: Sequence[Run], prices: Prices | None = None) -> str:
    """The page of several runs."""
    from bench.analysis.prices import shipped
    from bench.report.compare import render_comparison
    from bench.report.varied import page_facts

    return render_comparison([page_facts(run, prices or shipped()) for run in runs])


def in_format(run: Run, name: str, prices: Prices | None = None) -> str:
    """The report as `html`, `markdown` or `json`."""
    from bench.analysis.prices import shipped
    from bench.report import formats
    from bench.report.varied import page_facts

    if name == "html":
        return build(run, prices)
    write = {"markdown": formats.markdown, "json": formats.as_json}[name]
    return write(page_facts(run, prices or shipped()))


def write_report(run: Run, path: Path, prices: Prices | None = None) -> None:
    """Write the page in one step.

    Raises:
        BenchError: the file cannot be written.
    """
    from bench.store import durable

    durable.replace(path, build(run, prices).encode(), make_folder=True)
