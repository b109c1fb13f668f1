"""`bench run`: measure, write the run's files, and make its report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.errors import UsageError
from pillqc import terminal

if TYPE_CHECKING:
    from pathlib import Path

    from bench.run.request import OwnChoice

_OF_OWN_MODEL = ("model", "inputs", "shape", "settings", "decide", "calibration", "train_step")
_OF_THE_INSPECTOR = ("--data", "--good", "--weights")


@click.command()
@options.profile("standard")
@options.budget("by default the profile's own")
@options.only
@options.weights
@options.seed
@options.threads
@click.option(
    "--vary",
    multiple=True,
    metavar="NAME[=VALUE,...]",
    help="Also measure with another allocator, heap, openmp, number of threads, isa or fpmath; "
    "NAME alone takes all of its values.",
)
@options.data
@options.good
@options.backends
@click.option("--model", metavar="MODULE:FACTORY", help="Or FILE.py:FACTORY; a model of your own.")
@click.option(
    "--factory-arg",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the factory.",
)
@click.option("--inputs", metavar="MODULE:FUNCTION", help="Returns its inputs for a batch size.")
@click.option(
    "--input-shape", "shape", metavar="3,224,224", help="Or: random inputs of that shape."
)
@click.option("--decide", metavar="MODULE:FUNCTION", help="Its outputs -> a label for each item.")
@click.option(
    "--calibration",
    metavar="MODULE:FUNCTION",
    help="Batch size -> batches that int8 is calibrated on.",
)
@click.option(
    "--train-step", metavar="MODULE:FUNCTION", help="Model and batch -> loss; Adam does the step."
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME=PYTHON",
    help="Another interpreter, whose stock PyTorch is measured in the same rounds.",
)
@click.option(
    "--resume",
    type=options.FOLDER,
    metavar="RUN",
    help="Continue that interrupted run instead of starting a new one.",
)
@options.results
@options.reports
@click.pass_context
def run(
    context: click.Context,
    /,
    profile: str,
    budget: float | None,
    env: tuple[str, ...],
    resume: Path | None,
    results: Path,
    reports: Path,
    **others: Any,  # noqa: ANN401 - the other options, which `RunRequest` and `OwnChoice` declare
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
      bench run --resume results/20261124T...    continue what was killed or interrupted
    """
    from bench.cli.report import write_and_summarise
    from bench.engine import environments
    from bench.plan import arguments
    from bench.plan.profiles import PROFILES
    from bench.run import measure
    from bench.run.request import RunRequest

    typed = options.given(context)
    if resume is not None:
        options.refuse_idle("--resume", "--budget", "--reports")
    idle = [name for name in typed if name in _OF_THE_INSPECTOR]
    if others["model"] is not None and idle:
        raise UsageError(
            f"{', '.join(idle)}: only the inspector has pills and weights to choose; a model of "
            "your own brings its weights, and its inputs come from --inputs or --input-shape"
        )
    request = RunRequest(
        profile=PROFILES[profile],
        budget_s=budget,
        results=results,
        pythons=environments.parse(env),
        own=_own_model(**{name: others.pop(name) for name in _OF_OWN_MODEL}),
        **others,
    )
    arguments.check_writable(reports, "--reports")
    earlier = set(results.glob("*/environment.json"))
    try:
        folder = measure.go_on(resume, budget_s=budget) if resume else measure.run(request)
    except KeyboardInterrupt:
        new = sorted(set(results.glob("*/environment.json")) - earlier)
        kept = resume or (new[-1].parent if new else None)
        measured = (
            f"what was measured is in {kept} (`bench report {kept}` makes its page)"
            if kept
            else "nothing had been measured yet, so nothing is kept"
        )
        terminal.say(f"bench: interrupted; {measured}")
        sys.exit(options.INTERRUPTED)
    terminal.write(sys.stdout, f"results  {folder}\n")
    write_and_summarise(options.read_run(folder), reports)


def _own_model(model: str | None, **given: Any) -> OwnChoice | None:  # noqa: ANN401 - of `OwnChoice`
    """Return the user's own model, or None for the inspector.

    Raises:
        UsageError: what belongs to a model was given without one.
    """
    from bench.run.request import OwnChoice

    if model is not None:
        return OwnChoice(model=model, **given)
    if any(given.values()):
        raise UsageError(
            "--inputs, --input-shape, --factory-arg, --decide, --calibration and --train-step are "
            "for a model of your own: give --model"
        )
    return None
