"""Commands that use a model: `evaluate`, `inspect` and `card`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pillqc.commands.common import (
    CSV,
    DATA,
    EXIT_CODE,
    FOLDER,
    GOOD,
    MODEL,
    Progress,
    exit_by,
    loaded_model,
    note,
    samples_in,
)
from pillqc.commands.sharding import inspect_in_shards
from pillqc.errors import PillqcError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pillqc.inspection.inspector import Inspection
    from pillqc.inspection.prediction import Unreadable
    from pillqc.model.network import LoadedModel

SEEN = "{} OF THESE IMAGES WERE SEEN IN TRAINING: the figures are too good"


@click.command("evaluate")
@DATA
@GOOD
@MODEL
@click.option(
    "--split",
    help="Which folder; by default `test` where there is one, or all that the model has not seen"
    " where it was trained on these images.",
)
@click.option("--include-seen", is_flag=True, help="Judge by images seen in training, too.")
@click.option("--size", type=click.IntRange(32), help="Side in pixels; the model's by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--figures", type=FOLDER, help="Folder for ROC, reliability and other figures.")
def evaluate_command(
    data: Path,
    good: str | None,
    model: str | None,
    split: str | None,
    include_seen: bool,
    size: int | None,
    as_json: bool,
    figures: Path | None,
) -> None:
    """Compare the model's decisions and heat maps with the truth.

    Images that the model has seen in training, by content, are left out and counted. So a model is
    judged honestly by the very folder that it was trained on.

    \b
    Examples:
      pillqc evaluate --data data/pills
      pillqc evaluate --data data/pills --model model.safetensors --json
      pillqc evaluate --data data/pills --figures figures/
    """
    from pillqc.commands.text import evaluation_table
    from pillqc.evaluation.evaluate import evaluate, samples_to_judge

    found = samples_in(data, good)
    loaded = loaded_model(model)
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
    if report.seen:
        click.echo(SEEN.format(report.seen), err=True)
    click.echo(json.dumps(report.as_dict()) if as_json else evaluation_table(report))
    if figures:
        from pillqc.evaluation.figures import draw_figures

        names = ", ".join(path.name for path in draw_figures(report, figures))
        click.echo(f"{figures}: {names}", err=True)


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@MODEL
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@CSV
@click.option("--pictures", type=FOLDER, help="Folder for pictures with heat map and boxes.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--size", type=click.IntRange(32), help="Side in pixels; the model's by default.")
@EXIT_CODE
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Probability from which a pill is bad; nothing is undecided then.",
)
@click.option(
    "--max-false-rejects",
    type=click.FloatRange(0, 1, min_open=True),
    help="The threshold that called at most this share of good validation pills bad.",
)
@click.option(
    "--backend",
    type=click.Choice(["stock", "ipex", "auto"]),
    default="stock",
    show_default=True,
    help="How to run the model; auto: as `bench recommend --write` found fastest here.",
)
@click.option("--shards", type=FOLDER, help="Inspect one part, into a file of this folder.")
@click.option("--shard", metavar="K/N", help="Which part; by default as torchrun says.")
def inspect_command(
    paths: tuple[Path, ...],
    model: str | None,
    as_json: bool,
    csv_file: Path | None,
    pictures: Path | None,
    batch_size: int,
    size: int | None,
    exit_code: bool,
    threshold: float | None,
    max_false_rejects: float | None,
    backend: str,
    shards: Path | None,
    shard: str | None,
) -> None:
    """Say of every image whether the pill is good, and where the defects are.

    A file that cannot be read, or whose name in a folder is not an image's, gets the decision
    `error`. The last line on the error stream counts everything.

    \b
    Exit codes:
      0  every file was decided, and has its picture where one was asked for
      1  a file was not, or the command failed: one line says why
      2  wrong usage
      3  with --exit-code: a pill is bad or undecided
      4  with --exit-code: a pill is bad or undecided, and a file was not decided

    \b
    Examples:
      pillqc inspect photo.png
      pillqc inspect data/pills/test --json
      pillqc inspect tray/ --csv decisions.csv --pictures marked/
      pillqc inspect tray/ --exit-code && echo "all good"
      pillqc inspect tray/ --max-false-rejects 0.02
      pillqc --bits 12 inspect tray/    where the camera fills 12 of a file's 16 bits
      pillqc inspect tray/ --backend auto
      pillqc inspect tray/ --shards out/ --shard 2/4    on the second of four machines
    """
    from pillqc.commands.text import CsvLines, inspection_line
    from pillqc.inspection.inspector import Tally, decision_terms, find_images, inspect
    from pillqc.inspection.pictures import Album
    from pillqc.model.acceleration import accelerate, choose
    from pillqc.prefetch import prefetch

    if shards is not None and (as_json or csv_file or exit_code):
        raise UsageError(
            "--json, --csv and --exit-code do not go with --shards: a part has no results of its"
            " own, `pillqc merge` gives those of all parts"
        )
    if shard is not None and shards is None:
        raise UsageError("--shard needs --shards, the folder for the parts")
    way, doubt = choose(backend)
    if doubt:
        click.echo(f"backend auto: {doubt}", err=True)
    loaded = _with_threshold(loaded_model(model), threshold, max_false_rejects)
    terms = decision_terms(loaded)
    loaded = accelerate(loaded, way)

    def results(found: Iterable[Path | Unreadable]) -> Iterator[Inspection]:
        done = inspect(loaded, found, size=size, batch_size=batch_size)
        if pictures:  # drawn while the next batch is computed
            done = prefetch(Album(pictures).add, done, depth=2 * batch_size)
        return done

    if shards is not None:
        inspect_in_shards(terms, paths, shards, shard, size=size, inspect=results)
        return
    tally = Tally()
    quiet = sys.stdout.isatty()  # the lines themselves show it
    with CsvLines(csv_file) as lines, Progress("inspecting", quiet=quiet) as progress:
        for number, result in enumerate(results(find_images(paths, on_note=note)), start=1):
            told = result.as_dict()
            tally.add(told)
            lines.add(told)
            click.echo(json.dumps(told) if as_json else inspection_line(result))
            progress(number)
    click.echo(f"{tally}\n{terms}", err=True)
    exit_by(tally, asked=exit_code)


def _with_threshold(loaded: LoadedModel, asked: float | None, share: float | None) -> LoadedModel:
    if asked is not None and share is not None:
        raise UsageError("--threshold and --max-false-rejects exclude each other: give one")
    if share is not None:
        return loaded.at_false_rejects(share)
    return loaded if asked is None else loaded.at_threshold(asked)


@click.command("card")
@MODEL
def card_command(model: str | None) -> None:
    """Print what the model file says about itself: data, training, figures, thresholds, limits.

    \b
    Examples:
      pillqc card
      pillqc card --model model.safetensors
    """
    from dataclasses import asdict

    loaded = loaded_model(model)
    if loaded.card is None:
        raise PillqcError(f"{loaded.name}: not a model file, so it has no card")
    click.echo(json.dumps(asdict(loaded.card), indent=2))
