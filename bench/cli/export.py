"""`bench export`: write a run in another tool's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bench.cli import options

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

    run = options.read_run(run_folder or options.newest_run(results))
    if format_ == "pytest-benchmark":
        text = exports.pytest_benchmark(run)
    else:
        text = exports.github_action_benchmark(run, measure)
    if output is None:
        click.echo(text, nl=False)
        return
    durable.replace(output, text.encode(), make_folder=True)
    click.echo(f"export   {output}")
