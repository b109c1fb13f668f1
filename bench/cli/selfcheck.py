"""`bench selfcheck`: measure whether this machine's figures can be believed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.errors import BenchError

if TYPE_CHECKING:
    from pathlib import Path

    from bench.selfcheck.result import Result

_PARTS = click.Choice(["identical", "planted", "full-size", "bursts", "processes"])


@click.command()
@click.option("--quick", is_flag=True, help="One experiment of each kind: a few minutes.")
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=_PARTS,
    help="Only this part. Default: all but processes.",
)
@options.as_json
@options.budget("two hours by default, processes alone 15 minutes")
@options.threads
@options.data
def selfcheck(
    quick: bool,
    parts: tuple[str, ...],
    as_json: bool,
    budget: float | None,
    threads: int | None,
    data: Path,
) -> None:
    """Measure whether this machine's figures can be believed.

    It counts wrong verdicts and planted slowdowns that were found, and its own cost.

    Exit code 0 when it was measured, whatever the result: the table says which bounds hold. Where
    a worker fails, it shows what was counted until then, and the exit code is 1.
    docs/selfcheck.md explains each line.

    \b
    Examples:
      bench selfcheck --quick              a few minutes, too few comparisons to prove a rate
      bench selfcheck                      up to two hours: hundreds of comparisons
      bench selfcheck --part identical     one kind of comparison, with the whole budget
      bench selfcheck --part processes     what a run without fresh processes would miss
      bench selfcheck --quick --json       the same figures for a script
    """
    from bench.selfcheck import real
    from bench.text.wording import json_text

    result: Result | None = None
    exit_code = 0
    try:
        with real.alone(
            data=data, threads=threads, quick=quick, parts=parts, budget_s=budget
        ) as experiments:
            result = experiments.result
            experiments.run()
    except (KeyboardInterrupt, BenchError) as error:
        if result is None:  # it had not begun
            raise
        if isinstance(error, BenchError):
            exit_code, why = error.exit_code, f"It failed ({error})"
        else:
            exit_code, why = options.INTERRUPTED, "Interrupted"
        result.notes.append(f"{why}: this is what was measured until then.")
    click.echo(json_text(result.json()) if as_json else result.table())
    sys.exit(exit_code)
