"""`bench export`: write a run in another tool's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option(
    "--format",
    "format_",
    type=click.Choice(["pytest-benchmark", "github-action-benchmark"]),
    required=True,
    help="The tool.",
)
@click.option(
    "--measure",
    type=click.Choice(["speedup", "time"]),
    default="speedup",
    help="For github-action-benchmark: its customBiggerIsBetter or customSmallerIsBetter.",
)
@click.option("--output", type=options.FILE, help="Write this file; by default the terminal.")
@options.run_folder
@options.results
def export(
    format_: str, measure: str, output: Path | None, run_folder: Path | None, results: Path
) -> None:
    """Write a run in another tool's format.

    \b
    Examples:
      bench export --format pytest-benchmark --output run.json
      bench export --format github-action-benchmark --measure time results/20261124T...
    """
    from bench.report import export as exports
    from bench.store import durable

    is_pytest = format_ == "pytest-benchmark"
    if is_pytest and "--measure" in options.given(click.get_current_context()):
        raise UsageError("--measure is for github-action-benchmark: leave it out")
    run = options.read_run(run_folder or options.newest_run(results))
    if is_pytest:
        text = exports.pytest_benchmark(run)
    else:
        text = exports.github_action_benchmark(run, measure)
    if output is None:
        click.echo(text, nl=False)
        return
    durable.replace(output, text.encode(), make_folder=True)
    click.echo(f"export   {output}")
