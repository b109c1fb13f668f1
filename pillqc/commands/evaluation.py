"""The command `benchmark`: what pillqc costs beside the bare model, and gains over a plain loop."""

from __future__ import annotations

import json
from itertools import cycle, islice
from typing import TYPE_CHECKING

import click

from pillqc.commands.common import DATA, GOOD, MODEL, loaded_model, samples_in
from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from pathlib import Path

    from pillqc.benchmark import Comparison


@click.command("benchmark")
@click.argument("what", type=click.Choice(["inspect", "train"]))
@DATA
@GOOD
@MODEL
@click.option("--images", type=click.IntRange(1), default=200, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--size", type=click.IntRange(32), default=224, show_default=True, help="train only.")
@click.option(
    "--backend",
    type=click.Choice(["stock", "ipex"]),
    default="stock",
    show_default=True,
    help="train only.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def benchmark_command(
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
    """Time inspection against the bare model, or training against the plain loop.

    Both ways take turns within every round. On a machine that does something else meanwhile the
    figures mean nothing.

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
    click.echo(json.dumps(_told(what, done)) if as_json else _text(done, names))


def _told(what: str, done: Comparison) -> dict[str, object]:
    plain, ours = done.images_per_s
    low, high = done.spread
    return {
        "what": what,
        "images": done.images,
        "rounds": len(done.rounds),
        "plain_images_per_s": plain,
        "images_per_s": ours,
        "ratio": done.ratio,
        "ratio_low": low,
        "ratio_high": high,
    }


def _text(done: Comparison, names: tuple[str, str]) -> str:
    low, high = done.spread
    lines = [
        f"{name:<24} {rate:8.2f} images/s"
        for name, rate in zip(names, done.images_per_s, strict=True)
    ]
    ratio = f"{done.ratio:.3f} of its throughput (lowest {low:.3f}, highest {high:.3f})"
    return "\n".join([*lines, ratio])
