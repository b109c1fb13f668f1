"""Train an inspector of another product from different weights, and compare what they came to.

\b
PYTHONPATH=. python tests/microbench/start_weights.py --out data/starts
PYTHONPATH=. python tests/microbench/start_weights.py --out data/small -- --size 112 --dtype bf16
PYTHONPATH=. python tests/microbench/start_weights.py --out data/adapted --start shipped --adapt

All starts of a seed get the same images, split, order and number of steps, and are judged on the
same images of a seed that no training uses. Words after `--` are further options of `pillqc train`.
What was measured stays in the folder, so that the same command resumes after a kill and adds seeds;
other options need another folder. A start that this machine does not have is one line with the
reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import click

from pillqc.rendering.scene import DEFECTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Results = dict[tuple[int, str], list[dict[str, Any]]]
"""Number of images and start -> what `pillqc evaluate` found, a seed each."""

STARTS: Final = ("shipped", "imagenet", "hed", "random")
PRODUCT: Final = ("--imprint", "K7", "--colour", "205,170,160", "--shape", "capsule")
UNSEEN_SEED: Final = 8_000_001
TRAINED_SHARE: Final = 0.6
"""Of a folder's images; the others choose or are left."""


def pillqc(*words: object) -> str:
    """Run pillqc and return what it printed; its last line is the reason if it fails."""
    command = [sys.executable, "-m", "pillqc", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException((done.stderr.strip() or done.stdout).splitlines()[-1])
    return done.stdout


def rendered(folder: Path, images: int, seed: int) -> Path:
    """Render about as many good as bad pills of the product; those of a seed begin alike."""
    each = images // 2 // len(DEFECTS)
    counts = ("--train-good", 0, "--test-good", images - each * len(DEFECTS), "--per-defect", each)
    pillqc("render", "--out", folder, *PRODUCT, *counts, "--seed", seed)
    return folder


def tutorials_way(images: int, shown: int) -> tuple[str, ...]:
    """Return options that train conv5 and the head, with masks, for that many images in all."""
    epochs = str(max(1, round(shown / (images * TRAINED_SHARE))))
    # a patience that never ends the training, because without one an accuracy would
    length = ("--epochs", epochs, "--patience", epochs)
    return ("--masks", "--cycle", "--learning-rate", "3e-4", *length)


def summary(results: Mapping[tuple[int, str], Sequence[Mapping[str, Any]]]) -> str:
    """Return a Markdown table with a row for each number of images and start."""
    lines = [
        "| images | started from | image AUROC, by seed | median | recall, false rejects |",
        "|---|---|---|---|---|",
    ]
    for (images, start), found in sorted(results.items()):
        aurocs = [each["image_auroc"] for each in found]
        recall = median(each["recall_bad"]["share"] for each in found)
        rejects = median(each["false_rejects"]["share"] for each in found)
        seeds = ", ".join(f"{auroc:.3f}" for auroc in aurocs)
        shares = f"{recall:.0%}, {rejects:.0%}"
        lines.append(f"| {images} | {start} | {seeds} | {median(aurocs):.3f} | {shares} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--start", "starts", type=click.Choice(STARTS), multiple=True, default=STARTS)
@click.option("--images", "numbers", type=int, multiple=True, default=(60, 260), show_default=True)
@click.option("--seeds", default=3, show_default=True, help="Trainings of each start.")
@click.option("--shown", default=2000, show_default=True, help="Images that a training shows.")
@click.option("--unseen", default=700, show_default=True, help="Images that judge.")
@click.option("--adapt", is_flag=True, help="Train by `--adapt` instead, all layers.")
@click.argument("further", nargs=-1)
def main(
    out: Path,
    starts: tuple[str, ...],
    numbers: tuple[int, ...],
    seeds: int,
    shown: int,
    unseen: int,
    adapt: bool,
    further: tuple[str, ...],
) -> None:
    """Train from each start, with each number of images and each seed."""
    judges = rendered(out / "unseen", unseen, UNSEEN_SEED)
    results: Results = {}
    for seed, images, start in product(range(seeds), numbers, starts):
        name = f"{images}-{start}-{seed}"
        kept = out / f"{name}.json"
        if not kept.exists():
            data = rendered(out / f"{images}-{seed}", images, 13 + seed)
            model = out / f"{name}.safetensors"
            weights = () if start == "shipped" else ("--weights", start)
            way = ("--adapt",) if adapt else tutorials_way(images, shown)
            options = ("--data", data, "--out", model, "--seed", seed)
            try:
                trained = pillqc("train", *options, *weights, *way, *further)
            except click.ClickException as error:
                click.echo(f"{name}: {error.message}")
                continue
            found = pillqc("evaluate", "--data", judges, "--model", model, "--json")
            kept.write_text(found, encoding="utf-8")
            click.echo(f"{name}: {trained.splitlines()[-2]}")
        results.setdefault((images, start), []).append(json.loads(kept.read_text("utf-8")))
    click.echo(summary(results))


if __name__ == "__main__":
    main()
