"""Define options that several commands share, and find the run that a command is about."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.errors import BenchError, RecordError, UsageError
from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.profiles import PROFILES
from pillqc import terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bench.store.records import Run

    Option = Callable[[Callable[..., Any]], Callable[..., Any]]

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


class _Positive(click.FloatRange):
    """A finite number above zero; click's own range accepts NaN and infinity."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


POSITIVE = _Positive(min=0, min_open=True)

only = click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Only scenarios whose id matches; `*` matches any text. May be repeated.",
)
weights = click.option(
    "--weights",
    metavar="MODEL",
    help="A pillqc model file, `imagenet`, `hed` or `random`; the shipped model by default.",
)
seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),  # what every generator takes, with room for derived ones
    default=0,
    help="Seed of random weights and data order.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of each worker; by default the physical cores of one node.",
)
data = click.option(
    "--data", type=FOLDER, default=Path("data/pills"), help="Pill images in MVTec AD's layout."
)
good = click.option("--good", metavar="NAME", help="The folder of good pills, if not `good`.")
backends = click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(list(FURTHER_BACKENDS)),
    help="Also measure this backend, if it is installed. May be repeated.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
results = click.option("--results", type=FOLDER, default=Path("results"), help="Folder of runs.")
reports = click.option("--reports", type=FOLDER, default=Path("reports"), help="Folder of pages.")
run_folder = click.argument("run_folder", required=False, type=FOLDER, metavar="[RUN]")


def profile(default: str) -> Option:
    """Return the option `--profile` with this default."""
    return click.option(
        "--profile",
        type=click.Choice(list(PROFILES)),
        default=default,
        help="How much to measure: `smoke` least, `full` most. `suite` is what `bench suite` uses.",
    )


def budget(default: str) -> Option:
    """Return the option `--budget`; `default` describes what applies without it."""
    return click.option("--budget", type=POSITIVE, help=f"Seconds of measuring; {default}.")


def given(context: click.Context) -> list[str]:
    """Return the options and arguments that the user typed, as they are spelt in the help."""
    default = click.core.ParameterSource.DEFAULT
    return [
        parameter.opts[0]
        for parameter in context.command.get_params(context)
        if context.get_parameter_source(parameter.name or "") not in (None, default)
    ]


def refuse_idle(option: str, *beside: str) -> None:
    """Refuse what would do nothing beside `--resume` or `--again`, which keep what was typed first.

    Raises:
        UsageError: another option was typed than these.
    """
    typed = given(click.get_current_context())
    if idle := [name for name in typed if name not in (option, *beside)]:
        raise UsageError(f"{option} keeps the settings it began with: leave {', '.join(idle)} out")


def newest_run(results: Path) -> Path:
    """Return the folder of the run that started last.

    Raises:
        BenchError: there is none.
    """
    runs = [path.parent for path in results.glob("*/environment.json")]
    if not runs:
        raise BenchError(f"there is no run in {results}: measure one with `bench run`")
    return max(runs, key=lambda folder: (_started(folder), folder.name))


def _started(folder: Path) -> str:
    """Return when a run started, which a renamed folder no longer says; a damaged one, never."""
    from bench.store import records
    from bench.store.metadata import RunMetadata

    try:
        return RunMetadata.of(records.read_environment(folder)).started_utc
    except RecordError:
        return ""


def read_run(folder: Path) -> Run:
    """Read a run and print what is damaged in it as warnings.

    Raises:
        RecordError: the folder is not a run, or a file of it cannot be read.
    """
    from bench.store import records

    run = records.read_run(folder)
    for warning in run.warnings:
        terminal.say(f"bench: {warning}")
    return run
