"""`bench report`: reads arguments and writes pages, other formats, and the index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.errors import BenchError, UsageError
from bench.store import durable

if TYPE_CHECKING:
    from bench.analysis.prices import Prices
    from bench.store.records import Run

_SUFFIX = {"html": ".html", "markdown": ".md", "json": ".json"}
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run_folders", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(_SUFFIX)),
    default="html",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="This file instead."
)
@click.option(
    "--prices",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your own prices, a CSV like bench/analysis/prices.csv.",
)
@click.option("--index", is_flag=True, help="Only the page of all runs, reports/index.html.")
@click.option("--results", type=_FOLDER, default="results", help="Where run folders are.")
@click.option("--reports", type=_FOLDER, default="reports", help="Where the page goes.")
def report(
    run_folders: tuple[Path, ...],
    format_: str,
    output: Path | None,
    prices: Path | None,
    index: bool,
    results: Path,
    reports: Path,
) -> None:
    """Make the report of a run again, from its files alone; of several, one page beside each other.

    \b
    Examples:
      bench report                            the newest run
      bench report results/20261124T...       that run
      bench report results/A results/B        both in one page: own speedups, throughput, cost
      bench report --format markdown          also json
      bench report --prices prices.csv        what images cost, by your own prices
      bench report --index                    all runs, and each scenario's history
    """
    from bench.analysis.prices import read_prices
    from bench.store import records

    if index:
        if run_folders or format_ != "html":
            raise UsageError("--index makes one HTML page of all runs: leave the rest out")
        click.echo(f"index    {write_index(results, reports, output)}")
        return
    table = read_prices(prices) if prices else None
    runs = [records.read_run(folder) for folder in run_folders or (newest_run(results),)]
    for run in runs:
        for warning in run.warnings:
            click.echo(f"bench: {warning}", err=True)
    if len(runs) > 1:
        _several(runs, format_, output or reports / _joined(runs), table)
    else:
        _one(runs[0], format_, output, table, reports)
        write_index(results, reports)


def _one(run: Run, format_: str, output: Path | None, prices: Prices | None, reports: Path) -> None:
    from bench.report import in_format
    from bench.report.terminal import summary

    path = output or reports / f"{run.folder.resolve().name}{_SUFFIX[format_]}"
    durable.replace(path, in_format(run, format_, prices).encode(), make_folder=True)
    click.echo(f"report   {path}")
    click.echo()
    click.echo(summary(run))


def _several(runs: list[Run], format_: str, path: Path, prices: Prices | None) -> None:
    from bench.report import build_comparison

    if format_ != "html":
        raise UsageError("several runs make one HTML page: leave --format out")
    durable.replace(path, build_comparison(runs, prices).encode(), make_folder=True)
    click.echo(f"report   {path}")


def _joined(runs: list[Run]) -> str:
    """`compare-` and the start of the first run's name, with how many there are."""
    return f"compare-{runs[0].folder.resolve().name[:40]}-and-{len(runs) - 1}-more.html"


def write_index(results: Path, reports: Path, path: Path | None = None) -> Path:
    """Write the page of all runs and return its path.

    Raises:
        BenchError: it cannot be written.
    """
    from bench.report.index import render_index

    path = path or reports / "index.html"
    durable.replace(path, render_index(results, path.parent).encode(), make_folder=True)
    return path


def newest_run(results: Path) -> Path:
    """The run that started last.

    Raises:
        BenchError: there is none.
    """
    runs = sorted(path.parent for path in results.glob("*/environment.json"))
    if not runs:
        raise BenchError(f"there is no run in {results}: measure one with `bench run`")
    return runs[-1]
