"""Measure: `evaluate` a model's decisions, `benchmark` its speed."""

from __future__ import annotations

import json
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

import click

from pillqc.commands.common import (
    BACKEND,
    DATA,
    DTYPE,
    FOLDER,
    GOOD,
    JSON,
    MODEL,
    SIZE,
    SIZE_224,
    Progress,
    loaded_model,
    note,
    samples_in,
)
from pillqc.commands.sizes import report_sizes
from pillqc.errors import PillqcError, UsageError, shown

if TYPE_CHECKING:
    from pathlib import Path

    from pillqc.evaluation.evaluate import Evaluation
    from pillqc.evaluation.naming import Naming
    from pillqc.evaluation.shares import Share

_SEEN: Final = "{} OF THESE IMAGES WERE SEEN IN TRAINING: the figures are too good"
_LETTERS: Final = 8
"""Letters of a class's name above its column of the confusion matrix."""
_PER_DEFECT: Final = 120
"""Pills of each defect that `--sizes` renders by default."""


@click.command("evaluate")
@click.option("--data", type=FOLDER, help="Folder in MVTec AD's layout, or good/ and bad/.")
@GOOD
@MODEL
@click.option(
    "--split",
    help="Which split; by default `test`, or all images without one. For a model that was trained"
    " on this folder: all images that it has not seen.",
)
@click.option("--include-seen", is_flag=True, help="Include images seen in training.")
@SIZE
@JSON
@click.option("--figures", type=FOLDER, help="Folder for ROC, reliability and other figures.")
@click.option(
    "--write-card",
    is_flag=True,
    help="Also write the figures and this command into the card of the file that --model names.",
)
@click.option(
    "--sizes",
    is_flag=True,
    help="In place of --data: how small a defect is found, on rendered pills.",
)
@click.option(
    "--per-defect",
    type=click.IntRange(20),
    help=f"With --sizes: number of pills of each defect, {_PER_DEFECT} by default.",
)
@click.option(
    "--backend",
    type=click.Choice(["stock", "ipex", "openvino", "onnxruntime"]),
    default="stock",
    help="With --sizes: what runs the model.",
)
@DTYPE
def evaluate_command(  # more than 8 parameters: click passes one for each option
    data: Path | None,
    good: str | None,
    model: str | None,
    split: str | None,
    include_seen: bool,
    size: int | None,
    as_json: bool,
    figures: Path | None,
    write_card: bool,
    sizes: bool,
    per_defect: int | None,
    backend: str,
    dtype: str,
) -> None:
    """Compare the model's decisions and heat maps with the truth.

    Images that the model has seen in training, by content, are left out and counted. So the folder
    that a model was trained on can also judge it.

    \b
    Examples:
      pillqc evaluate --data data/pills
      pillqc evaluate --data data/pills --model model.safetensors --json
      pillqc evaluate --data data/pills --figures figures/
      pillqc evaluate --data data/pills --model model.safetensors --write-card
      pillqc evaluate --sizes --figures figures/
      pillqc evaluate --sizes --dtype bf16 --json
    """
    if sizes:
        if data or good or split or include_seen or size or write_card:
            raise UsageError(
                "--sizes renders its own pills; give no data, split, size or card with it"
            )
        report_sizes(model, (backend, dtype), per_defect or _PER_DEFECT, figures, as_json=as_json)
        return
    if data is None:
        raise UsageError("--data is missing; give a folder of images, or --sizes")
    if (backend, dtype, per_defect) != ("stock", "fp32", None):
        raise UsageError(
            "--backend, --dtype and --per-defect go with --sizes; without it stock runs in fp32"
        )
    if write_card:
        _check_card_options(model, include_seen=include_seen)
    found = samples_in(data, good)  # fails before torch is imported, which takes seconds
    from pillqc.evaluation.card_figures import check_card, write_figures
    from pillqc.evaluation.evaluate import evaluate, samples_to_judge

    loaded = loaded_model(model, comparing=True, size=size)
    if write_card:
        check_card(loaded)
    samples = samples_to_judge(loaded, found, split, data)
    with Progress("evaluating") as progress:
        report = evaluate(
            loaded,
            samples,
            size=size,
            include_seen=include_seen,
            on_progress=progress,
            on_note=note,
        )
    if report.seen_in_training:
        click.echo(_SEEN.format(report.seen_in_training), err=True)
    click.echo(json.dumps(report.as_dict()) if as_json else evaluation_table(report))
    if figures:
        from pillqc.evaluation.figures import draw_figures

        names = ", ".join(path.name for path in draw_figures(report, figures))
        click.echo(f"{figures}: {names}", err=True)
    if write_card:
        write_figures(loaded, report, data, samples, good=good, split=split, size=size)
        click.echo(f"{loaded.path}: its card has these figures now", err=True)


def _check_card_options(model: str | None, *, include_seen: bool) -> None:
    if model is None:
        raise UsageError("--write-card writes into a model file: name it with --model")
    if include_seen:
        raise UsageError(
            "--write-card and --include-seen exclude each other: figures on images that the model"
            " has seen are too good for its card"
        )


def evaluation_table(report: Evaluation) -> str:
    """Return the evaluation as a table for a terminal."""
    lines = [] if report.trained else ["UNTRAINED MODEL: these figures say nothing about pills"]
    lines.append(
        f"model {report.model}, {report.images} images ({report.good} good, {report.bad} bad)"
    )
    if report.left_out_as_seen:
        lines.append(
            f"left out: {report.left_out_as_seen} images that the model has seen in training"
        )
    if report.seen_in_training:
        lines.append(f"TOO GOOD: {report.seen_in_training} of the images were seen in training")
    lines += [
        f"threshold                 {report.threshold:.4f}",
        f"recall of bad             {_share(report.recall_bad)}",
        f"false rejects             {_share(report.false_rejects)}",
        f"image AUROC               {report.image_auroc:.4f}",
        f"average precision         {report.average_precision:.4f}",
    ]
    for rate, escapes in report.escape_rate_at_false_reject.items():
        lines.append(f"escapes at {float(rate):4.0%} rejects  {escapes:7.2%}")
    lines += [
        f"calibration error (ECE)   {report.ece:.4f}",
        f"Brier score               {report.brier:.4f}",
        shown(report.masks.line),
    ]
    for name, value in vars(report.pixels).items():
        lines.append(f"{name:<25} {'no masks' if value is None else format(value, '.4f')}")
    lines.append("recall by defect, at the threshold")
    for defect, recall in report.recall_by_defect.items():
        lines.append(f"  {shown(defect):<23} {_share(recall)}")
    lines += [f"{key.replace('_', ' '):<25} {count}" for key, count in report.confusion.items()]
    if report.naming is not None:
        lines += _naming_lines(report.naming)
    return "\n".join(lines)


def _naming_lines(naming: Naming) -> list[str]:
    """Return how well defects are named, class by class, and the confusion matrix."""
    lines = [
        f"defects named rightly     {_share(naming.named_rightly)}",
        "by class: recall, precision, AUROC against all others",
    ]
    for name, found in naming.classes.items():
        auroc = "   none" if found.auroc is None else f"{found.auroc:7.4f}"
        shares = "  ".join(
            f"{'none' if part.share is None else format(part.share, '.2%'):>7}"
            f" {f'({part.count} of {part.n})':<15}"
            for part in (found.recall, found.precision)
        )
        lines.append(f"  {shown(name):<23} {shares} {auroc}")
    heads = "".join(f" {shown(name)[:_LETTERS]:>{_LETTERS}}" for name in naming.classes)
    lines.append(f"{'is, and is called':<25}{heads}")
    for name, row in naming.confusion.items():
        counts = "".join(f" {count:>{_LETTERS}}" for count in row.values())
        lines.append(f"  {shown(name):<23}{counts}")
    return lines


def _share(share: Share) -> str:
    if share.share is None:
        return "no images"
    return (
        f"{share.share:7.2%}  ({share.count} of {share.n}; 95 % interval"
        f" {share.low:.1%} to {share.high:.1%})"
    )


@click.command("benchmark")
@click.argument("what", type=click.Choice(["inspect", "train"]))
@DATA
@GOOD
@MODEL
@click.option("--images", type=click.IntRange(1), default=200, help="Images a round.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="Rounds of both ways.")
@SIZE_224
@BACKEND
@JSON
def benchmark_command(  # more than 8 parameters: click passes one for each option
    what: str,
    data: Path,
    good: str | None,
    model: str | None,
    images: int,
    rounds: int,
    size: int,
    backend: str,
    as_json: bool,
) -> None:
    """Time inspection or training against a plain loop.

    Both are timed alternately in every round. Other work on the machine makes the figures
    meaningless. --size and --backend are for training.

    \b
    Examples:
      pillqc benchmark inspect --data data/pills
      pillqc benchmark train --data data/pills --images 64 --backend ipex
    """
    from pillqc.benchmark import compare_inspection, compare_training

    samples = samples_in(data, good)
    if what == "inspect":
        paths = list(islice(cycle(sample.path for sample in samples), images))
        done = compare_inspection(loaded_model(model), paths, rounds=rounds)
        names = ("the bare model", "pillqc inspect")
    else:
        kinds = [[s for s in samples if s.bad is bad][: images // 2] for bad in (False, True)]
        if not all(kinds):
            raise PillqcError(f"{data}: training needs good and bad images")
        chosen = [*kinds[0], *kinds[1]]
        done = compare_training(chosen, backend=backend, size=size, rounds=rounds, weights=model)
        names = ("the plain loop", f"pillqc train, {backend}")
    if as_json:
        click.echo(json.dumps({"what": what, **done.as_dict()}))
        return
    for name, rate in zip(names, done.images_per_s, strict=True):
        click.echo(f"{name:<24} {rate:8.2f} images/s")
    low, high = done.spread
    click.echo(f"{done.ratio:.3f} of its throughput (lowest {low:.3f}, highest {high:.3f})")
