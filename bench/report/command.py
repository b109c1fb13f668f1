"""`bench report`: writes the page of a run, of several runs and of all runs, and other formats."""

from __future__ import annotations

from pathlib import Path

import click

from bench.errors import BenchError, UsageError
from bench.store import durable

_SUFFIX = {"html": ".html", "markdown": ".md", "json": ".json"}
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


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
@click.option("--output", type=_FILE, help="This file instead.")
@click.option(
    "--prices", "price_file", type=_FILE, help="Your prices, a CSV like bench/analysis/prices.csv."
)
@click.option("--index", is_flag=True, help="Only the page of all runs, reports/index.html.")
@click.option("--results", type=_FOLDER, default="results", help="Where run folders are.")
@click.option("--reports", type=_FOLDER, default="reports", help="Where the page goes.")
def report(
    run_folders: tuple[Path, ...],
    format_: str,
    output: Path | None,
    price_file: Path | None,
    index: bool,
    results: Path,
    reports: Path,
) -> None:
    """Make the report of a run again from its files, or one page of several runs.

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
    from bench.report import build_comparison, in_format, summary
    from bench.store import records

    if index:
        if run_folders or format_ != "html":
            raise UsageError("--index makes one HTML page of all runs: leave the rest out")
        click.echo(f"index    {write_index(results, reports, output)}")
        return
    prices = read_prices(price_file) if price_file else None
    runs = [records.read_run(folder) for folder in run_folders or (newest_run(results),)]
    for warning in (warning for run in runs for warning in run.warnings):
        click.echo(f"bench: {warning}", err=True)
    first = runs[0].folder.resolve().name
    if len(runs) > 1:
        if format_ != "html":
            raise UsageError("several runs make one HTML page: leave --format out")
        path = output or reports / f"compare-{first[:40]}-and-{len(runs) - 1}-more.html"
        text = build_comparison(runs, prices)
    else:
        path = output or reports / f"{first}{_SUFFIX[format_]}"
        text = in_format(runs[0], format_, prices)
    durable.replace(path, text.encode(), make_folder=True)
    click.echo(f"report   {path}")
    if len(runs) == 1:
        click.echo()
        click.echo(summary(runs[0]))
        write_index(results, reports)


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
    """Return the folder of the run that started last.

    Raises:
        BenchError: there is none.
    """
    runs = sorted(path.parent for path in results.glob("*/environment.json"))
    if not runs:
        raise BenchError(f"there is no run in {results}: measure one with `bench run`")
    return runs[-1]
