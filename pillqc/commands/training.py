"""Commands around training: `train` and `summary`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from pillqc.commands.common import FILE, FOLDER, GOOD, MODEL, loaded_model, note
from pillqc.errors import UsageError

_TARGET_ACCURACY = 0.98
_ADAPTING = {
    "full": True,
    "narrow": True,
    "masks": True,
    "augment": True,
    "cycle": True,
    "epochs": 0,
    "batch_size": 16,
    "learning_rate": 1e-3,
}
"""What --adapt means, where nothing else is asked for."""


@click.command("train")
@click.option("--data", type=FOLDER, help="Folder in MVTec AD's layout, or good/ and bad/.")
@GOOD
@click.option(
    "--out",
    type=FILE,
    default=Path("data/model.safetensors"),
    show_default=True,
)
@click.option("--weights", help="What to start from: like --model.")
@click.option("--backend", type=click.Choice(["stock", "ipex"]), default="stock", show_default=True)
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--learning-rate", type=float, default=1e-4, show_default=True)
@click.option(
    "--target-accuracy",
    type=click.FloatRange(0, 1),
    help="Stop at this training accuracy; .98 by default, and never where --patience is given.",
)
@click.option(
    "--patience", type=click.IntRange(1), help="Stop after so many epochs without a better one."
)
@click.option("--max-minutes", type=click.FloatRange(0, min_open=True), help="Stop after these.")
@click.option(
    "--split-by",
    type=click.Choice(["content", "folders"]),
    default="content",
    show_default=True,
    help="60, 20 and 20 % of every defect, all folders together; or as the folders say.",
)
@click.option("--masks", is_flag=True, help="Learn from the masks, too: from fewer bad images.")
@click.option("--full", is_flag=True, help="Train all layers, not only conv5 and the head.")
@click.option("--augment", is_flag=True, help="Small turns, shifts, light, blur and noise.")
@click.option(
    "--narrow", is_flag=True, help="Train a widened model as narrow as it was trained before."
)
@click.option("--cycle", is_flag=True, help="Let the learning rate rise and fall to nothing.")
@click.option(
    "--adapt",
    is_flag=True,
    help="For another product: --full --narrow --masks --augment --cycle, in bf16 where the CPU has"
    " it, batches of 16 at a rate of .001, 14,000 images in all. Needs masks.",
)
@click.option("--size", type=click.IntRange(32), help="Side in pixels; the start's, or 224.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--from-scratch", is_flag=True, help="The shipped model's recipe; needs no --data.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--images", type=click.IntRange(1), help="Images that --from-scratch renders.")
@click.option("--jobs", type=click.IntRange(0), help="Processes that render for --from-scratch.")
@click.option(
    "--checkpoint", type=FILE, help="Where to go on after a kill; beside --out by default."
)
def train_command(
    data: Path | None,
    out: Path,
    from_scratch: bool,
    device: str,
    images: int | None,
    jobs: int | None,
    checkpoint: Path | None,
    adapt: bool,
    **options: Any,  # noqa: ANN401 - as declared above
) -> None:
    """Train as the tutorial does: class weights, Adam, early stop at a target accuracy.

    The images are split by content into train, validation and test. Validation chooses the best
    epoch, the threshold and the scale of the maps; `pillqc evaluate` on the same folder then judges
    by the rest. Called again after a kill it goes on. torchrun shares the work between processes.

    With --from-scratch: the recipe of the shipped model, on freshly rendered pills only. It saves
    a checkpoint every two minutes and goes on from it when it is called again.

    \b
    Examples:
      pillqc train --data data/pills --weights imagenet --out model.safetensors
      pillqc train --data data/pills --backend ipex --dtype bf16 --out model.safetensors
      pillqc train --data data/other --adapt --out other.safetensors
      torchrun --nproc-per-node 2 -m pillqc train --data data/pills --out model.safetensors
      pillqc train --from-scratch --device cuda --out model.safetensors
    """
    from pillqc.commands.text import epoch_line, trained_text
    from pillqc.training.run import TrainingRun, run_training

    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: a model file ends in .safetensors")
    if not 0.0 < options["learning_rate"] < math.inf:
        raise UsageError(f"--learning-rate {options['learning_rate']} is not above 0")
    if from_scratch:
        _train_from_scratch(out, checkpoint, device, images, jobs, options["seed"])
        return
    if data is None:
        raise UsageError("--data is missing; give a folder of images, or --from-scratch")
    options["size"] = options["size"] or 0
    if adapt:
        options |= _adapting()
    if options["target_accuracy"] is None and options["patience"] is None and not adapt:
        options["target_accuracy"] = _TARGET_ACCURACY
    done = run_training(
        TrainingRun(data=data, out=out, checkpoint=checkpoint, **options),
        on_epoch=lambda epoch: click.echo(epoch_line(epoch)),
        on_note=note,
    )
    if done is not None:  # else another process of torchrun's says it
        click.echo(trained_text(done, out))


def _adapting() -> dict[str, Any]:
    """What --adapt sets: all that was not given on the command line."""
    from pillqc.training.recipe import native_bf16

    context = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    wanted = _ADAPTING | {"dtype": "bf16" if native_bf16() else "fp32"}
    return {k: v for k, v in wanted.items() if context.get_parameter_source(k) is not given}


def _train_from_scratch(
    out: Path,
    checkpoint: Path | None,
    device: str,
    images: int | None,
    jobs: int | None,
    seed: int,
) -> None:
    from pillqc.commands.text import evaluation_table, recipe_line
    from pillqc.training.recipe import Recipe
    from pillqc.training.shipped_model import train_from_scratch

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


@click.command("summary")
@MODEL
@click.option("--optimize", type=click.Choice(["none", "ipex"]), default="none", show_default=True)
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--size", type=click.IntRange(32), default=224, show_default=True)
def summary_command(model: str | None, optimize: str, dtype: str, size: int) -> None:
    """Show the model's layers; with --optimize ipex, before and after.

    \b
    Examples:
      pillqc summary
      pillqc summary --optimize ipex
    """
    from pillqc.commands.text import summaries

    for text in summaries(loaded_model(model), optimize=optimize, dtype=dtype, size=size):
        click.echo(text)
