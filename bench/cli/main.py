"""The `bench` command: measure, report, look at the machine and at the matrix.

Exit codes: 0 success, 1 a failure that one line explains, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from bench.cli import studies
from bench.cli.gate import gate
from bench.cli.recommend import recommend
from bench.cli.selfcheck import selfcheck
from bench.errors import BenchError, UsageError
from bench.report.command import newest_run, report
from pillqc.shadowing import hidden_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.plan.profiles import Profile
    from bench.run.request import OwnChoice

_Command = TypeVar("_Command", bound="Callable[..., None]")
_INTERRUPTED = 130


class _Group(click.Group):
    """Commands whose failures are one line, unless `--debug` asks for the traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except BenchError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"bench: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("bench: interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except OSError as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):  # click's to end
                raise
            place = f" ({error.filename})" if error.filename else ""
            click.echo(f"bench: {error.strerror or error}{place}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(package_name="pillqc-bench")
def cli(debug: bool) -> None:  # noqa: ARG001 - the group reads it
    """Which way of running this model on this CPU is fastest, and how sure are we?

    \b
    Examples:
      bench run                          measure the standard matrix, write CSVs and the report
      bench run --profile smoke          a few minutes, one of each kind
      bench run --only '*/ipex/*b1'      only some scenarios (their baseline comes along)
      bench report                       make the newest run's report again
      bench recommend                    which way to use here, and the code for it
      bench gate                         did it become slower? an exit code for CI
      bench machine                      what this machine is and can do
      bench scenarios                    what would be measured, and what is left out and why
      bench selfcheck --quick            can this machine's figures be believed?
    """
    if hidden := hidden_package():
        raise BenchError(hidden)


def _folder(path: str, help_text: str) -> Callable[[_Command], _Command]:
    name = f"--{path}"
    return click.option(
        name, type=click.Path(path_type=Path, file_okay=False), default=path, help=help_text
    )


@cli.command()
@click.option("--profile", default="standard", show_default=True, help="smoke, standard or full.")
@click.option("--budget", type=float, help="Seconds of measuring; the profile's own by default.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Scenario ids, `*` matches any.")
@click.option("--weights", help="A pillqc model file, `imagenet` or `random`.")
@click.option("--seed", default=0, show_default=True, help="Seed of random weights and data order.")
@click.option(
    "--threads", type=int, help="Threads a worker; physical cores of one node by default."
)
@click.option(
    "--vary",
    multiple=True,
    metavar="NAME[=VALUE,...]",
    help="Measure with another allocator, openmp or number of threads too.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("data/pills"),
    show_default=True,
    help="Pill images in MVTec AD's layout.",
)
@click.option("--good", metavar="NAME", help="Its folder of good pills, where not called good.")
@click.option(
    "--backend", multiple=True, metavar="NAME", help="Also measure openvino or onnxruntime."
)
@click.option("--model", metavar="MODULE:FACTORY", help="Or FILE.py:FACTORY; a model of your own.")
@click.option(
    "--factory-arg", multiple=True, metavar="NAME=VALUE", help="What the factory is called with."
)
@click.option("--inputs", metavar="MODULE:FUNCTION", help="Gives its inputs for a batch size.")
@click.option("--input-shape", metavar="3,224,224", help="Or: random inputs of that shape.")
@click.option(
    "--env",
    multiple=True,
    metavar="NAME=PYTHON",
    help="Another interpreter, whose stock PyTorch is measured in the same rounds.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Finish that run, which was cut, instead of a new one.",
)
@_folder("results", "Where run folders go.")
@_folder("reports", "Where the page goes.")
@click.pass_context
def run(
    context: click.Context,
    profile: str,
    budget: float | None,
    only: tuple[str, ...],
    weights: str | None,
    seed: int,
    threads: int | None,
    vary: tuple[str, ...],
    data: Path,
    good: str | None,
    backend: tuple[str, ...],
    model: str | None,
    factory_arg: tuple[str, ...],
    inputs: str | None,
    input_shape: str | None,
    env: tuple[str, ...],
    resume: Path | None,
    results: Path,
    reports: Path,
) -> None:
    """Measure, write the run's CSVs, and make its report.

    \b
    Examples:
      bench run --profile smoke --budget 120
      bench run --only 'inference/*/b1'
      bench run --only 'inference/*/b1' --vary allocator --vary threads=1,2
      bench run --model torchvision.models:resnet18 --input-shape 3,224,224
      bench run --model shop/model.py:load --factory-arg size=large --inputs shop/data.py:batch
      bench run --env torch-latest=.venv-latest/bin/python
      bench run --resume results/20261124T...    what was killed or interrupted goes on
    """
    from bench.engine import environments
    from bench.plan import arguments
    from bench.run import measure
    from bench.run.request import RunRequest

    if resume is not None:
        _refuse_beside(context, "resume", "budget", "reports")

    request = RunRequest(
        profile=_profile(profile),
        budget_s=budget,
        only=only,
        weights=weights,
        seed=seed,
        threads=threads,
        vary=vary,
        data=data,
        good=good,
        results=results,
        pythons=environments.parse(env),
        own=_own_model(model, inputs, input_shape, factory_arg),
        backends=backend,
    )
    arguments.check_writable(reports, "--reports")
    stop_like_ctrl_c()
    earlier = set(results.glob("*/environment.json"))
    try:
        folder = measure.go_on(resume, budget_s=budget) if resume else measure.run(request)
    except KeyboardInterrupt:
        left = [resume] if resume else _new_runs(results, earlier)
        click.echo(f"bench: interrupted; {_what_is_left(left)}", err=True)
        sys.exit(_INTERRUPTED)
    click.echo(f"results  {folder}")
    _make_report(folder, reports)


def _new_runs(results: Path, earlier: set[Path]) -> list[Path]:
    return [path.parent for path in sorted(set(results.glob("*/environment.json")) - earlier)]


def _what_is_left(runs: list[Path]) -> str:
    if not runs:
        return "nothing had been measured yet, so nothing is kept"
    return f"what was measured is in {runs[-1]} (`bench report {runs[-1]}` makes a page of it)"


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as in environment.json.")
def machine(as_json: bool) -> None:
    """Show what this machine is, what it can do, and what is installed on it.

    \b
    Examples:
      bench machine
      bench machine --json | python -m json.tool
    """
    from bench import machine as this_machine
    from bench.store import run_folder

    here = this_machine.describe()
    code = run_folder.commit()
    if as_json:
        facts = {"commit": code.revision, "dirty": code.dirty, "commit_unknown": code.unknown}
        click.echo(json.dumps({**facts, "machine": here}, indent=2))
        return
    click.echo(this_machine.render(here))
    changes = ", with changes" if code.dirty else ""
    click.echo(f"Commit          {code.revision or f'not known: {code.unknown}'}{changes}")


@cli.command()
@click.option("--profile", default="standard", show_default=True, help="smoke, standard or full.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def scenarios(profile: str, as_json: bool) -> None:
    """List what a profile measures, which headlines it decides, and what it leaves out and why.

    \b
    Examples:
      bench scenarios --profile smoke
    """
    from bench.plan import matrix
    from bench.run.outcomes import claims_of_plan

    every = matrix.matrix(_profile(profile))
    chosen = [scenario.id for scenario in every]
    claims = claims_of_plan(every)
    left_out = [{"what": e.what, "reason": e.reason} for e in matrix.EXCLUSIONS]
    if as_json:
        told = [
            {"claim": one.id, "candidates": one.candidates, "opponents": one.opponents}
            for one in claims
        ]
        plan = {"scenarios": chosen, "claims": told, "excluded": left_out}
        click.echo(json.dumps(plan, indent=2))
        return
    for name in chosen:
        click.echo(name)
    click.echo("\nHeadlines, each the best of some against the best of others:")
    for one in claims:
        click.echo(f"  {one.id}: of {len(one.candidates)} against {len(one.opponents)}")
    click.echo("\nLeft out:")
    for exclusion in left_out:
        click.echo(f"  {exclusion['what']}: {exclusion['reason']}")
    click.echo("  larger batches than this machine runs in 2 s a call (found when a run starts)")


@cli.command()
@click.option(
    "--format",
    "format_",
    type=click.Choice(["pytest-benchmark", "github-action-benchmark"]),
    required=True,
    help="Whose format.",
)
@click.option(
    "--measure",
    type=click.Choice(["speedup", "time"]),
    default="speedup",
    show_default=True,
    help="For github-action-benchmark: its customBiggerIsBetter or customSmallerIsBetter.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; else the terminal."
)
@click.argument("run_folder", required=False, type=click.Path(path_type=Path))
@_folder("results", "Where run folders are.")
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
    from bench.store import durable, records

    read = records.read_run(run_folder or newest_run(results))
    for warning in read.warnings:
        click.echo(f"bench: {warning}", err=True)
    if format_ == "pytest-benchmark":
        text = exports.pytest_benchmark(read)
    else:
        text = exports.github_action_benchmark(read, measure)
    if output is None:
        click.echo(text, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(output, text.encode())
    click.echo(f"export   {output}")


def _own_model(
    model: str | None, inputs: str | None, shape: str | None, settings: tuple[str, ...]
) -> OwnChoice | None:
    """The model of the user's own, if there is one.

    Raises:
        UsageError: inputs without a model.
    """
    from bench.run.request import OwnChoice

    if model is None:
        if inputs or shape or settings:
            raise UsageError(
                "--inputs, --input-shape and --factory-arg are for a model of your own: "
                "give --model"
            )
        return None
    return OwnChoice(model=model, inputs=inputs, shape=shape, settings=settings)


def _refuse_beside(context: click.Context, option: str, *allowed: str) -> None:
    """Refuse what an option would leave without effect.

    Raises:
        UsageError: something else was given too.
    """
    default = click.core.ParameterSource.DEFAULT
    for name in context.params:
        given = context.get_parameter_source(name) is not default
        if given and name not in (option, *allowed):
            raise UsageError(
                f"--{option} goes on as the run began: leave --{name.replace('_', '-')} out"
            )


def _profile(name: str) -> Profile:
    from bench.plan.profiles import profile_named

    return profile_named(name)


def _make_report(folder: Path, reports: Path) -> None:
    from bench.report import write_report
    from bench.report.command import write_index
    from bench.report.terminal import summary
    from bench.store import records

    read = records.read_run(folder)
    for warning in read.warnings:
        click.echo(f"bench: {warning}", err=True)
    page = reports / f"{folder.resolve().name}.html"
    write_report(read, page)
    write_index(folder.resolve().parent, reports)
    click.echo(f"report   {page}")
    click.echo()
    click.echo(summary(read))


cli.add_command(gate)
cli.add_command(recommend)
cli.add_command(report)
cli.add_command(selfcheck)
for study in (
    studies.operators,
    studies.stages,
    studies.instances,
    studies.load,
    studies.accuracy,
):
    cli.add_command(study)


def stop_like_ctrl_c() -> None:
    """A terminated run ends as an interrupted one does: whole rows, and no worker left behind."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def main() -> None:
    """Entry point of the `bench` command."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        cli.main(prog_name="bench", standalone_mode=True)
    except UsageError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(error.exit_code)
