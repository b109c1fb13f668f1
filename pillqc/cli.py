"""The command `pillqc`: reads arguments, calls one module, prints what came back."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
from typing_extensions import Self

from pillqc import __version__
from pillqc.errors import PillqcError

UNTRAINED = "THE MODEL IS UNTRAINED: its decisions mean nothing; give a trained one with --model"

_FOLDER = click.Path(path_type=Path, file_okay=False)


class _Group(click.Group):
    """Turns our errors into one line and an exit code; `--debug` shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except PillqcError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"pillqc: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="pillqc")
def main(debug: bool) -> None:
    r"""Good pill or bad pill, and where is the defect?

    \b
    Examples:
      pillqc render --out data/pills
      pillqc train --data data/pills --out model.safetensors
      pillqc evaluate --data data/pills --model model.safetensors
      pillqc inspect photo.png --model model.safetensors
    """


@main.command("render")
@click.option("--out", type=_FOLDER, required=True, help="Folder to create.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--size", type=int, default=224, show_default=True, help="Side in pixels.")
@click.option("--train-good", type=int, default=267, show_default=True)
@click.option("--test-good", type=int, default=26, show_default=True)
@click.option("--per-defect", type=int, default=20, show_default=True)
@click.option("--imprint", default="FF", show_default=True, help="Letters of another product.")
@click.option("--shape", type=click.Choice(["oval", "capsule"]), default="oval", show_default=True)
@click.option("--colour", help="Red, green and blue of another product, such as 205,170,160.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; the usable cores by default.")
def render_command(
    out: Path,
    seed: int,
    size: int,
    train_good: int,
    test_good: int,
    per_defect: int,
    imprint: str,
    shape: str,
    colour: str | None,
    jobs: int | None,
) -> None:
    r"""Render synthetic pills with exact masks, in MVTec AD's layout.

    \b
    Examples:
      pillqc render --out data/pills
      pillqc render --out data/other --imprint K7 --colour 205,170,160 --seed 1
    """
    from pillqc.rendering.design import DEFAULT_DESIGN, PillDesign
    from pillqc.synthetic import RenderPlan, render_dataset

    plan = RenderPlan(
        seed=seed,
        size=size,
        train_good=train_good,
        test_good=test_good,
        per_defect=per_defect,
        design=PillDesign(
            imprint=imprint,
            shape=shape,
            colour=_colour(colour) if colour else DEFAULT_DESIGN.colour,
        ),
    )
    started = time.perf_counter()
    with Progress("rendering") as progress:
        done = render_dataset(out, plan, jobs=jobs, on_progress=progress)
    if done.reused:
        click.echo(f"{done.root}: {done.images} synthetic pills, there already")
        return
    seconds = time.perf_counter() - started
    click.echo(
        f"{done.root}: {done.images} synthetic pills in {seconds:.1f} s"
        f" ({done.images / seconds:.0f} images/s)"
    )


class Progress:
    """A line with the estimated time left, on a terminal only."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = sys.stderr.isatty()
        self._started = time.monotonic()
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._last:
            click.echo("\r\x1b[K", err=True, nl=False)

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is, at most five times a second."""
        now = time.monotonic()
        if not self._shown or (now - self._last < 0.2 and done < total):
            return
        self._last = now
        left = (now - self._started) / done * (total - done)
        click.echo(
            f"\r\x1b[K{self._what}: {done} of {total}, {left:.0f} s left", err=True, nl=False
        )


def _colour(text: str) -> tuple[float, float, float]:
    from pillqc.errors import UsageError

    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"colour {text!r} is not three numbers such as 205,170,160") from error
    if not all(0.0 <= level <= 255.0 for level in (red, green, blue)):
        raise UsageError(f"colour {text!r}: levels go from 0 to 255")
    return red, green, blue
