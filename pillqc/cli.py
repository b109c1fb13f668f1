"""The command `pillqc`: reads arguments, calls one module, prints what came back."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import Self

from pillqc import __version__
from pillqc.errors import PillqcError, UsageError

if TYPE_CHECKING:
    from pillqc.model import LoadedModel

_SUSPICIOUS = 3
"""Exit code of `inspect --exit-code` when a pill is not good."""
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


_MODEL = click.option(
    "--model",
    help="Model file, `imagenet` or `random`; the shipped model by default.",
)
_DATA = click.option(
    "--data", type=_FOLDER, required=True, help="Folder in MVTec AD's layout, or good/ and bad/."
)


@main.command("train")
@click.option("--data", type=_FOLDER, help="Folder in MVTec AD's layout, or good/ and bad/.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("data/model.safetensors"),
    show_default=True,
)
@click.option("--weights", help="What to start from: like --model.")
@click.option("--backend", type=click.Choice(["stock", "ipex"]), default="stock", show_default=True)
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--learning-rate", type=float, default=1e-4, show_default=True)
@click.option("--target-accuracy", type=click.FloatRange(0, 1), default=0.98, show_default=True)
@click.option("--full", is_flag=True, help="Train all layers, not only conv5 and the head.")
@click.option("--augment", is_flag=True, help="Small turns, shifts, light, blur and noise.")
@click.option("--size", type=click.IntRange(32), default=224, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--from-scratch", is_flag=True, help="The shipped model's recipe; needs no --data.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--images", type=click.IntRange(1), help="Images that --from-scratch renders.")
@click.option("--jobs", type=click.IntRange(0), help="Processes that render for --from-scratch.")
@click.option("--checkpoint", type=click.Path(path_type=Path, dir_okay=False))
def train_command(
    data: Path | None,
    out: Path,
    from_scratch: bool,
    device: str,
    images: int | None,
    jobs: int | None,
    checkpoint: Path | None,
    **options: Any,  # noqa: ANN401 - as declared above
) -> None:
    r"""Train as the tutorial does: class weights, Adam, early stop at a target accuracy.

    With --from-scratch: the recipe of the shipped model, on freshly rendered pills only. It saves
    a checkpoint every two minutes and goes on from it when it is called again.

    \b
    Examples:
      pillqc train --data data/pills --weights imagenet --out model.safetensors
      pillqc train --data data/pills --backend ipex --dtype bf16 --out model.safetensors
      pillqc train --from-scratch --device cuda --out model.safetensors
    """
    from pillqc.training_run import TrainingRun, run_training

    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: a model file ends in .safetensors")
    if from_scratch:
        _train_from_scratch(out, checkpoint, device, images, jobs, options["seed"])
        return
    if data is None:
        raise UsageError("--data is missing; give a folder of images, or --from-scratch")

    def show(epoch: Any) -> None:  # noqa: ANN401 - torch stays unimported until it is needed
        click.echo(
            f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f},"
            f" {epoch.seconds:.1f} s"
        )

    done = run_training(TrainingRun(data=data, out=out, **options), on_epoch=show)
    click.echo(
        f"trained for {done.seconds:.1f} s ({done.images_per_s:.1f} images/s), stopped at"
        f" {done.stopped}; wrote {out}"
    )


def _train_from_scratch(
    out: Path,
    checkpoint: Path | None,
    device: str,
    images: int | None,
    jobs: int | None,
    seed: int,
) -> None:
    from pillqc.presentation import evaluation_table, recipe_line
    from pillqc.recipe import Recipe
    from pillqc.shipping import train_from_scratch

    asked: dict[str, Any] = {"images": images, "jobs": jobs}
    recipe = Recipe(seed=seed, device=device, **{k: v for k, v in asked.items() if v is not None})
    report = train_from_scratch(
        recipe,
        out,
        checkpoint or out.with_suffix(".checkpoint"),
        on_report=lambda report: click.echo(recipe_line(report)),
    )
    click.echo(evaluation_table(report))
    click.echo(f"wrote {out}")


@main.command("evaluate")
@_DATA
@_MODEL
@click.option("--split", help="Which split; `test` where there is one, else all images.")
@click.option("--size", type=click.IntRange(32), help="Side in pixels; the model's by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def evaluate_command(
    data: Path, model: str | None, split: str | None, size: int | None, as_json: bool
) -> None:
    r"""Compare the model's decisions and heat maps with the truth.

    \b
    Examples:
      pillqc evaluate --data data/pills
      pillqc evaluate --data data/pills --model model.safetensors --json
    """
    from pillqc.dataset import read_samples, samples_of
    from pillqc.evaluation import evaluate
    from pillqc.presentation import evaluation_table

    samples = samples_of(read_samples(data), split, data)
    loaded = _loaded(model)
    with Progress("evaluating") as progress:
        report = evaluate(loaded, samples, size=size, on_progress=progress)
    click.echo(json.dumps(report.as_dict()) if as_json else evaluation_table(report))


@main.command("inspect")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_MODEL
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--pictures", type=_FOLDER, help="Folder for pictures with heat map and boxes.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--size", type=click.IntRange(32), help="Side in pixels; the model's by default.")
@click.option("--exit-code", is_flag=True, help="Exit with 3 if a pill is bad or undecided.")
def inspect_command(
    paths: tuple[Path, ...],
    model: str | None,
    as_json: bool,
    csv_file: Path | None,
    pictures: Path | None,
    batch_size: int,
    size: int | None,
    exit_code: bool,
) -> None:
    r"""Say of every image whether the pill is good, and where the defects are.

    A file that cannot be read gets the decision `error`, and the exit code is 1 in the end.

    \b
    Examples:
      pillqc inspect photo.png
      pillqc inspect data/pills/test --json
      pillqc inspect tray/ --csv decisions.csv --pictures marked/
      pillqc inspect tray/ --exit-code && echo "all good"
    """
    from pillqc.inspection import find_images, inspect
    from pillqc.pictures import Album
    from pillqc.presentation import CsvLines, inspection_line

    images = list(find_images(paths))
    loaded = _loaded(model)
    decisions = set()
    with CsvLines(csv_file) as lines:
        album = Album(pictures)
        for result in inspect(loaded, images, size=size, batch_size=batch_size):
            decisions.add(result.decision)
            lines.add(result)
            album.add(result)
            click.echo(json.dumps(result.as_dict()) if as_json else inspection_line(result))
    if "error" in decisions:
        raise click.exceptions.Exit(1)
    if exit_code and decisions & {"bad", "undecided"}:
        raise click.exceptions.Exit(_SUSPICIOUS)


@main.command("summary")
@_MODEL
@click.option("--optimize", type=click.Choice(["none", "ipex"]), default="none", show_default=True)
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--size", type=click.IntRange(32), default=224, show_default=True)
def summary_command(model: str | None, optimize: str, dtype: str, size: int) -> None:
    r"""Show the model's layers; with --optimize ipex, before and after.

    \b
    Examples:
      pillqc summary
      pillqc summary --optimize ipex
    """
    from pillqc.presentation import summaries

    for text in summaries(_loaded(model), optimize=optimize, dtype=dtype, size=size):
        click.echo(text)


@main.command("explore")
@_DATA
@click.option("--out", type=_FOLDER, required=True, help="Folder for the pictures.")
@click.option("--split", help="Which split; `test` where there is one, else all images.")
@click.option("--size", type=click.IntRange(16), default=224, show_default=True)
def explore_command(data: Path, out: Path, split: str | None, size: int) -> None:
    r"""Show what good and bad look like, and where their mean images differ by more than chance.

    \b
    Examples:
      pillqc explore --data data/pills --out figures/
    """
    from pillqc.dataset import read_samples, samples_of
    from pillqc.exploration import explore

    found = explore(samples_of(read_samples(data), split, data), out, size=size)
    share = found.believed.mean()
    click.echo(
        f"{out}: gallery.png and difference.png; the means of bad and good differ by more than"
        f" chance ({found.limit:.2f} grey levels) in {share:.2%} of the image"
    )


@main.command("prepare")
@click.argument("dataset", type=click.Choice(["mvtec"]))
@click.option("--archive", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--root", type=_FOLDER, help="Where MVTec AD or its category is unpacked already.")
@click.option("--out", type=_FOLDER, default=Path("data/mvtec_pill"), show_default=True)
@click.option("--category", default="pill", show_default=True)
def prepare_command(
    dataset: str,  # noqa: ARG001 - one choice so far
    archive: Path | None,
    root: Path | None,
    out: Path,
    category: str,
) -> None:
    r"""Check your own download of real pills and lay it out.

    \b
    Examples:
      pillqc prepare mvtec --archive mvtec_anomaly_detection.tar.xz
      pillqc prepare mvtec --root /data/mvtec --category capsule --out data/capsule
    """
    from pillqc.preparation import LICENCE, prepare_mvtec

    done = prepare_mvtec(out=out, archive=archive, root=root, category=category)
    click.echo(f"{done.root}: {done.images} images, defects: {', '.join(done.defects)}")
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(LICENCE)


@main.command("check-split")
@_DATA
def check_split_command(data: Path) -> None:
    r"""Fail if an image, or nearly the same image, is in two splits.

    \b
    Examples:
      pillqc check-split --data data/pills
    """
    from pillqc.dataset import read_samples
    from pillqc.splits import find_crossings

    samples = read_samples(data)
    crossings = find_crossings(samples)
    for crossing in crossings:
        kind = "identical" if crossing.identical else f"differ by {crossing.distance} grey levels"
        click.echo(f"{crossing.first.path} and {crossing.second.path}: {kind}")
    if crossings:
        raise PillqcError(f"{data}: {len(crossings)} pairs of images cross its splits")
    click.echo(f"{data}: no image of {len(samples)} is in two splits")


def _loaded(model: str | None) -> LoadedModel:
    from pillqc.model import load_model

    loaded = load_model(model)
    if not loaded.trained:
        click.echo(UNTRAINED, err=True)
    return loaded


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
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"colour {text!r} is not three numbers such as 205,170,160") from error
    if not all(0.0 <= level <= 255.0 for level in (red, green, blue)):
        raise UsageError(f"colour {text!r}: levels go from 0 to 255")
    return red, green, blue
