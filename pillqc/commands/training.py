"""Make models: `train` one, `calibrate` its threshold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pillqc.commands.common import (
    BACKEND,
    DATA,
    DTYPE,
    FILE,
    FOLDER,
    GOOD,
    MODEL,
    POSITIVE,
    SEED,
    SHARE,
    SIZE,
    FiniteRange,
    check_model_name,
    loaded_model,
    note,
    samples_in,
)
from pillqc.errors import UsageError, shown

if TYPE_CHECKING:
    from pillqc.training.loop import Epoch
    from pillqc.training.recipe import StepReport

HALF: Final = click.option(
    "--half", is_flag=True, help="Keep the weights in half precision: a file of half the size."
)
_TARGET_ACCURACY: Final = 0.98
_ADAPT: Final = {
    "full": True,
    "narrow": True,
    "masks": True,
    "augment": True,
    "paste": True,
    "cycle": True,
    "epochs": 0,
    "test_share": None,
    "batch_size": 16,
    "learning_rate": 1e-3,
}
"""Values that --adapt gives to options that are not on the command line."""
_RECIPE_ONLY: Final = frozenset({"device", "images", "jobs"})
"""Options that only --from-scratch reads."""
_RECIPE: Final = _RECIPE_ONLY | {"from_scratch", "out", "seed", "checkpoint", "classes"}
"""All options that --from-scratch reads."""
_NAMES_ONLY: Final = {"cycle": True, "learning_rate": 1e-2}
"""Those of --names-only: all names start as the same evidence, and at the tutorial's rate they
hardly part in eight epochs of some 480 images."""


@click.command("train")
@click.option("--data", type=FOLDER, help="Folder in MVTec AD's layout, or good/ and bad/.")
@GOOD
@click.option(
    "--out", type=FILE, default=Path("data/model.safetensors"), help="Model file to write."
)
@click.option(
    "--weights",
    help="Model to start from: a file, `imagenet`, `hed` (edges of photographs) or `random`; the"
    " shipped one by default.",
)
@click.option(
    "--classes",
    type=click.Choice(["good-bad", "defects"]),
    default="good-bad",
    help="defects: name the defects too, each with a probability and a map of its own; the names"
    " are those of the folders.",
)
@click.option(
    "--names-only",
    is_flag=True,
    help="With --classes defects: learn the names alone. Good and bad, thresholds and maps stay"
    " those of the weights. With --adapt the names get features of their own.",
)
@BACKEND
@DTYPE
@click.option("--epochs", type=click.IntRange(1), default=20, help="Epochs at most.")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=8,
    help="Images a step, of all processes together.",
)
@click.option("--learning-rate", type=POSITIVE, default=1e-4, help="Adam's step size.")
@click.option(
    "--target-accuracy",
    type=SHARE,
    help="Stop at this training accuracy; .98 by default, and none with --patience, --adapt or"
    " --names-only.",
)
@click.option(
    "--patience", type=click.IntRange(1), help="Stop after this many epochs without a better one."
)
@click.option("--max-minutes", type=POSITIVE, help="Stop after this time.")
@click.option(
    "--split-by",
    type=click.Choice(["content", "folders"]),
    default="content",
    help="60, 20 and 20 % of every defect, from all folders together; or as the folders say.",
)
@click.option(
    "--test-share",
    type=FiniteRange(0, 0.7),
    default=0.2,
    help="Share of the images that is kept for `pillqc evaluate`; .2, or with --adapt none of fewer"
    " than 300.",
)
@click.option("--masks", is_flag=True, help="Learn from masks too; needs fewer bad images.")
@click.option("--full", is_flag=True, help="Train all layers, not only conv5 and the head.")
@click.option("--augment", is_flag=True, help="Small turns, shifts, light, blur and noise.")
@click.option(
    "--paste/--no-paste",
    default=False,
    help="Put the defects of bad images onto good ones, too: few bad images then teach as many."
    " Needs masks.",
)
@click.option(
    "--narrow", is_flag=True, help="Train a widened model as narrow as it was trained before."
)
@HALF
@click.option("--cycle", is_flag=True, help="Let the learning rate rise and then fall to 0.")
@click.option(
    "--adapt",
    is_flag=True,
    help="For another product: --full --narrow --masks --augment --paste --cycle, in bf16 where the"
    " CPU has it, batches of 16 at a rate of .001, 14,000 images in all. Needs masks.",
)
@SIZE
@click.option(
    "--seed",
    type=SEED,
    default=0,
    help="Seed of the split, new weights and the order of images.",
)
@click.option("--from-scratch", is_flag=True, help="Train good and bad by the shipped recipe.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    help="Where --from-scratch trains.",
)
@click.option("--images", type=click.IntRange(1), help="Images that --from-scratch renders.")
@click.option("--jobs", type=click.IntRange(0), help="Processes that render for --from-scratch.")
@click.option(
    "--checkpoint", type=FILE, help="File to resume from after a kill; beside --out by default."
)
def train_command(
    from_scratch: bool,
    device: str,
    images: int | None,
    jobs: int | None,
    adapt: bool,
    **options: Any,  # noqa: ANN401 - the other options, as declared above
) -> None:
    """Train as the tutorial does: Adam, class weights, early stop.

    The images are split by content into train, validation and test. Validation chooses the best
    epoch (with --cycle it is the last), the threshold and the scale of the maps; `pillqc evaluate`
    on the same folder then uses the rest. After a kill, the same command resumes. torchrun shares
    the work between processes.

    With --from-scratch, without --data: how the shipped model learnt good and bad, on fresh pills
    only. It writes a checkpoint every two minutes, from which the same command resumes. (The second
    step, which taught it names, is --adapt --no-paste --classes defects --names-only --half.)

    \b
    Examples:
      pillqc train --data data/pills --weights imagenet --out model.safetensors
      pillqc train --data data/pills --backend ipex --dtype bf16 --out model.safetensors
      pillqc train --data data/other --adapt --out other.safetensors
      pillqc train --data data/pills --adapt --classes defects --names-only --out named.safetensors
      torchrun --nproc-per-node 2 -m pillqc train --data data/pills --out model.safetensors
      pillqc train --from-scratch --device cuda --out model.safetensors
    """
    out = options["out"]
    check_model_name(out)
    _refuse_idle_options(from_scratch)
    if from_scratch:
        given = {
            "images": images,
            "jobs": jobs,
            "device": device,
            "seed": options["seed"],
            "classes": options["classes"],
        }
        _train_from_scratch(out, options["checkpoint"], given)
        return
    if options["data"] is None:
        raise UsageError("--data is missing; give a folder of images, or --from-scratch")
    if options["split_by"] == "folders" and not _not_given({"test_share": None}):
        raise UsageError("--test-share means nothing with --split-by folders: test/ is the test")
    from pillqc.data.split_manifest import manifest_path
    from pillqc.data.splits import FEWEST_TO_TEST
    from pillqc.training.run import TrainingRun, run_training

    options["size"] = options["size"] or 0
    if adapt:
        options |= _adapt_options()
    elif options["names_only"]:
        options |= _not_given(_NAMES_ONLY)
    elif options["target_accuracy"] is None and options["patience"] is None:
        options["target_accuracy"] = _TARGET_ACCURACY
    done = run_training(TrainingRun(**options), on_epoch=_print_epoch, on_note=note)
    if done is None:  # the team's leading process prints
        return
    result = done.result
    best = f"; epoch {result.best_epoch} was best" if result.best_epoch else ""
    resumed = f", resumed in epoch {result.resumed_at}" if result.resumed_at else ""
    counts = ", ".join(
        f"{sum(kinds.values())} {split}" for split, kinds in done.manifest.counts().items()
    )
    click.echo(
        f"trained for {result.seconds:.1f} s ({result.images_per_s:.1f} images/s){resumed}, stopped"
        f" at {result.stopped}{best}\n"
        f"wrote {out} and {manifest_path(out).name} (images: {counts})"
    )
    if adapt and len(done.manifest.rows) < FEWEST_TO_TEST:
        note(
            "few images: where good pills lie alike, a model that also compares with them is"
            f" better: pillqc compare GOOD_PICTURES --bad {shown(options['data'])} --with"
            f" {shown(out)} --out NEW_FILE"
        )


@click.command("calibrate")
@DATA
@GOOD
@MODEL
@click.option("--out", type=FILE, required=True, help="Model file to write.")
@HALF
def calibrate_command(
    data: Path, good: str | None, model: str | None, out: Path, half: bool
) -> None:
    """Choose a model's threshold anew, on your line's images.

    Nothing is trained. All images of the folder choose: the threshold calls at most 1 % of the good
    ones bad. Warnings of pictures that are unlike what the model knows compare with these from now
    on.

    \b
    Examples:
      pillqc calibrate --data data/line --model model.safetensors --out line.safetensors
    """
    check_model_name(out)
    samples = samples_in(data, good)
    import torch

    from pillqc.data.seen_images import seen_doubt
    from pillqc.model.artifact import check_writable, save_artifact
    from pillqc.training.recalibration import recalibrate

    check_writable(out)
    loaded = loaded_model(model)
    done = recalibrate(loaded, samples, data)
    for doubt in seen_doubt(done.seen_before, len(samples), loaded.name):
        note(doubt)
    save_artifact(out, done.model, done.card, dtype=torch.float16 if half else torch.float32)
    low, high = done.chosen.undecided or (done.chosen.threshold,) * 2
    click.echo(
        f"wrote {out}: threshold {done.chosen.threshold:.4f} (was {loaded.threshold:.4f}),"
        f" undecided from {low:.4f} to {high:.4f}, chosen on {done.chosen.images} images"
    )


def _refuse_idle_options(from_scratch: bool) -> None:
    """Refuse options that would be ignored: the user would believe that they were obeyed."""
    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    given = {
        parameter.name: parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is typed
    }
    idle = [
        spelt
        for name, spelt in given.items()
        if (name not in _RECIPE if from_scratch else name in _RECIPE_ONLY)
    ]
    if idle:
        where = "with" if from_scratch else "without"
        raise UsageError(f"{', '.join(idle)} mean nothing {where} --from-scratch: leave them out")


def _adapt_options() -> dict[str, Any]:
    from pillqc.training.recipe import has_native_bf16

    return _not_given(_ADAPT | {"dtype": "bf16" if has_native_bf16() else "fp32"})


def _not_given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of options that are not on the command line."""
    context = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    return {k: v for k, v in values.items() if context.get_parameter_source(k) is not given}


def _train_from_scratch(out: Path, checkpoint: Path | None, given: dict[str, Any]) -> None:
    from pillqc.commands.evaluation import evaluation_table
    from pillqc.training.recipe import Recipe
    from pillqc.training.run_checks import check_outputs
    from pillqc.training.shipped_model import train_from_scratch

    recipe = Recipe(**{name: value for name, value in given.items() if value is not None})
    check_outputs(out, checkpoint)
    checkpoint = checkpoint or out.with_suffix(".checkpoint")
    evaluation = train_from_scratch(recipe, out, checkpoint, on_report=_print_report)
    click.echo(evaluation_table(evaluation))
    click.echo(f"wrote {out}")


def _print_epoch(epoch: Epoch) -> None:
    validation = ""
    if epoch.validation_loss is not None:
        validation = f", validation loss {epoch.validation_loss:.4f}"
        validation += f" AUROC {epoch.validation_auroc:.4f}"
    if epoch.validation_defect_auroc is not None:
        validation += f" of defects {epoch.validation_defect_auroc:.4f}"
    click.echo(
        f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}{validation},"
        f" {epoch.seconds:.1f} s"
    )


def _print_report(report: StepReport) -> None:
    auroc = "" if report.auroc is None else f", validation AUROC {report.auroc:.4f}"
    click.echo(
        f"step {report.step} of {report.steps}, {report.size} px, loss {report.loss:.3f},"
        f" {report.images_per_s:.0f} images/s{auroc}"
    )
