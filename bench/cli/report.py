"""`bench report`: make pages of runs, other formats, and the index."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.prices import Prices
    from bench.store.records import Run

_SUFFIX = {"html": ".html", "markdown": ".md", "json": ".json"}


@click.command()
@click.argument("run_folders", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@click.option(
    "--format", "format_", type=click.Choice(list(_SUFFIX)), default="html", help="What to write."
)
@click.option("--output", type=options.FILE, help="Write this file instead.")
@click.option(
    "--prices", type=options.FILE, help="Your own prices, a CSV like bench/analysis/prices.csv."
)
@click.option("--index", is_flag=True, help="Only the page of all runs, reports/index.html.")
@click.option(
    "--explain",
    nargs=2,
    metavar="SCENARIO SCENARIO",
    help="Say which layers make one of two scenarios faster, here and on the page.",
)
@options.results
@options.reports
def report(
    run_folders: tuple[Path, ...],
    format_: str,
    output: Path | None,
    prices: Path | None,
    index: bool,
    explain: tuple[str, str] | None,
    results: Path,
    reports: Path,
) -> None:
    """Make the report of a run again, from its files alone.

    Several runs have one page together.

    \b
    Examples:
      bench report                            the newest run
      bench report results/20261124T...       that run
      bench report results/A results/B        both on one page: own speedups, throughput, cost
      bench report --format markdown          also json
      bench report --prices prices.csv        what images cost, by your own prices
      bench report --index                    all runs, and each scenario's history
      bench report --explain inference/stock/eager/fp32/contiguous/b1 \
          inference/ipex/eager/fp32/channels_last/b1
    """
    from bench.analysis.prices import read_prices
    from bench.report import build_comparison
    from bench.store import durable

    if index:
        if run_folders or explain or prices or format_ != "html":
            raise UsageError("--index makes one HTML page of all runs: leave the rest out")
        path = output or reports / "index.html"
        _write_index(results, path)
        click.echo(f"index    {path}")
        return
    if explain and (len(run_folders) > 1 or format_ != "html"):
        raise UsageError("--explain is for the HTML page of one run")
    if explain and explain[0] == explain[1]:
        raise UsageError(f"--explain names {explain[0]} twice: name two scenarios")
    table = read_prices(prices) if prices else None
    folders = run_folders or (options.newest_run(results),)
    runs = [options.read_run(folder) for folder in folders]
    if len(runs) > 1:
        if format_ != "html":
            raise UsageError("several runs make one HTML page: leave --format out")
        path = output or reports / f"compare-{_together(runs)}.html"
        durable.replace(path, build_comparison(runs, table).encode(), make_folder=True)
        click.echo(f"report   {path}")
    else:
        write_and_summarise(
            runs[0],
            reports,
            results=results,
            path=output,
            format_=format_,
            prices=table,
            explain=explain,
        )


def write_and_summarise(
    run: Run,
    reports: Path,
    *,
    results: Path | None = None,
    path: Path | None = None,
    format_: str = "html",
    prices: Prices | None = None,
    explain: tuple[str, str] | None = None,
) -> None:
    """Write a run's report and the index of all runs, and print the run's summary.

    The index lists the folder `results`; where that has no run, the one that holds this. `explain`
    names two scenarios whose difference the page explains first and the terminal instead of the
    summary.

    Raises:
        BenchError: a file cannot be written.
    """
    from bench.report import explanation, in_format, summary
    from bench.store import durable

    folder = run.folder.resolve()
    path = path or reports / f"{folder.name}{_SUFFIX[format_]}"
    words = explanation(run, *explain) if explain else summary(run)
    page = in_format(run, format_, prices, explain)
    durable.replace(path, page.encode(), make_folder=True)
    has_runs = results is not None and any(results.glob("*/environment.json"))
    _write_index(results if results and has_runs else folder.parent, reports / "index.html")
    click.echo(f"report   {path}\n\n{words}")


def _together(runs: Sequence[Run]) -> str:
    """Name the page of several runs, so that no other runs' page has its name."""
    names = "-and-".join(run.folder.resolve().name for run in runs)
    if len(names.encode()) <= 120:
        return names
    return f"{names[:25]}-and-{len(runs) - 1}-more-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def _write_index(results: Path, path: Path) -> None:
    from bench.report.index import render_index
    from bench.store import durable

    durable.replace(path, render_index(results, path.parent).encode(), make_folder=True)
