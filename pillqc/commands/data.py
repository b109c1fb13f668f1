"""Work on images: `render`, `prepare`, `explore` and `check-split`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pillqc.commands.common import (
    DATA,
    FILE,
    FOLDER,
    GOOD,
    JSON,
    SEED,
    FiniteRange,
    Progress,
    note,
    samples_in,
)
from pillqc.data.read_options import LARGEST_SIDE
from pillqc.errors import PillqcError, shown

if TYPE_CHECKING:
    from pillqc.rendering.design import Colour

_COUNT = click.IntRange(0)


def _colour(context: click.Context, option: click.Parameter, text: str | None) -> Colour | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3:
        raise click.BadParameter(f"{text!r} is not three numbers such as 205,170,160")
    level = FiniteRange(0, 255)
    red, green, blue = (level.convert(part, option, context) for part in parts)
    return red, green, blue


@click.command("render")
@click.option("--out", type=FOLDER, required=True, help="Folder to create.")
@click.option("--seed", type=SEED, default=0, help="The same seed gives the same pills.")
@click.option("--size", type=click.IntRange(32, 1600), default=224, help="Side in pixels.")
@click.option("--train-good", type=_COUNT, default=267, help="Good pills in train/.")
@click.option("--test-good", type=_COUNT, default=26, help="Good pills in test/.")
@click.option("--per-defect", type=_COUNT, default=20, help="Pills of each defect in test/.")
@click.option("--imprint", default="FF", help="Letters of another product.")
@click.option(
    "--shape",
    type=click.Choice(["oval", "capsule"]),
    default="oval",
    help="Shape of another product.",
)
@click.option("--colour", callback=_colour, help="Colour of another product, such as 205,170,160.")
@click.option(
    "--setting",
    type=click.Choice(["measured", "varied", "unseen"]),
    default="measured",
    help="varied: a quarter of the pills in other poses, lights and cameras, and a quarter of other"
    " products. unseen: tablets on a bright belt, which no training uses.",
)
@click.option("--jobs", type=click.IntRange(1), help="Processes; the usable cores by default.")
def render_command(
    out: Path,
    imprint: str,
    shape: str,
    colour: Colour | None,
    jobs: int | None,
    **plan: Any,  # noqa: ANN401 - the other options, as declared above
) -> None:
    """Render synthetic pills with exact masks.

    The folder has MVTec AD's layout.

    \b
    Examples:
      pillqc render --out data/pills
      pillqc render --out data/other --imprint K7 --colour 205,170,160 --seed 1
    """
    from pillqc.rendering.dataset import RenderPlan, render_dataset
    from pillqc.rendering.design import DEFAULT_DESIGN, PillDesign

    colour = colour or DEFAULT_DESIGN.colour
    design = PillDesign(imprint=imprint, shape=shape, colour=colour)
    started = time.perf_counter()
    with Progress("rendering") as progress:
        done = render_dataset(
            out, RenderPlan(design=design, **plan), jobs=jobs, on_progress=progress
        )
    if done.reused:
        click.echo(f"{done.root}: {done.images} synthetic pills, there already")
        return
    seconds = time.perf_counter() - started
    click.echo(
        f"{done.root}: {done.images} synthetic pills in {seconds:.1f} s"
        f" ({done.images / seconds:.0f} images/s)"
    )


@click.command("prepare")
@click.argument("dataset", type=click.Choice(["mvtec"]))
@click.option("--archive", type=FILE, help="MVTec AD as you downloaded it; its hash is checked.")
@click.option("--root", type=FOLDER, help="Folder of the unpacked MVTec AD or of its category.")
@click.option("--out", type=FOLDER, default=Path("data/mvtec_pill"), help="Folder to create.")
@click.option("--category", default="pill", help="Product of MVTec AD.")
@GOOD
def prepare_command(
    dataset: str,  # noqa: ARG001 - the only choice so far
    archive: Path | None,
    root: Path | None,
    out: Path,
    category: str,
    good: str | None,
) -> None:
    """Check your own download of real pills and lay it out.

    \b
    Examples:
      pillqc prepare mvtec --archive mvtec_anomaly_detection.tar.xz
      pillqc prepare mvtec --root /data/mvtec --category capsule --out data/capsule
    """
    from pillqc.data.preparation import LICENCE, prepare_mvtec

    done = prepare_mvtec(out=out, archive=archive, root=root, category=category, good=good)
    click.echo(f"{done.root}: {done.images} images, defects: {', '.join(done.defects)}")
    for doubt in done.notes:
        note(doubt)
    click.echo(LICENCE)
    for mask in done.unusable_masks:
        click.echo(f"pillqc: {shown(mask)}", err=True)
    if done.unusable_masks:
        raise PillqcError(
            f"{done.root}: {len(done.unusable_masks)} masks cannot be used, named above; mend or"
            " remove them: training and evaluation refuse them"
        )


@click.command("explore")
@DATA
@GOOD
@click.option("--out", type=FOLDER, required=True, help="Folder for the pictures.")
@click.option("--split", help="Which split; by default `test`, or all images without one.")
@click.option("--size", type=click.IntRange(16, LARGEST_SIDE), default=224, help="Side in pixels.")
@JSON
def explore_command(
    data: Path, good: str | None, out: Path, split: str | None, size: int, as_json: bool
) -> None:
    """Draw good and bad pills, and where their means differ.

    \b
    Examples:
      pillqc explore --data data/pills --out figures/
    """
    from pillqc.data.exploration import explore
    from pillqc.data.folders import samples_of

    samples = samples_of(samples_in(data, good), split, data)
    found = explore(samples, out, size=size, on_note=note)
    if as_json:
        values = {"images": len(samples), "share": found.share, "grey_levels": found.limit}
        click.echo(json.dumps({**values, "sentence": found.sentence}))
        return
    names = "gallery.png, mean_good.png, mean_bad.png and difference.png"
    click.echo(f"{out}: {names}\n{found.sentence}")


@click.command("check-split")
@DATA
@GOOD
@click.option("--manifest", type=FILE, help="A model's .split.csv; by default the folders decide.")
def check_split_command(data: Path, good: str | None, manifest: Path | None) -> None:
    """Fail if an image, or a near copy of it, is in two splits.

    \b
    Examples:
      pillqc check-split --data data/pills
      pillqc check-split --data data/pills --manifest model.split.csv
    """
    from pillqc.data.masks import survey_masks
    from pillqc.data.split_manifest import apply_split, read_split
    from pillqc.data.splits import find_crossings

    samples = samples_in(data, good)
    note(survey_masks(samples).line)
    if manifest is not None:
        samples = apply_split(read_split(manifest), samples, manifest)
    crossings = find_crossings(samples, on_note=note)
    for crossing in crossings:
        kind = "identical" if crossing.identical else f"differ by {crossing.distance} grey levels"
        click.echo(f"{shown(crossing.first.path)} and {shown(crossing.second.path)}: {kind}")
    if crossings:
        raise PillqcError(
            f"{data}: {len(crossings)} pairs of images, named above, cross its splits: keep"
            " each pair in one split"
        )
    click.echo(f"{data}: no image of {len(samples)} is in two splits")
