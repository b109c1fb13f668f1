"""Decide about pills: `inspect`, and `merge` for inspections in shards."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pillqc.commands.common import (
    CSV,
    EXIT_CODE,
    FILE,
    FOLDER,
    JSON,
    MODEL,
    SHARE,
    SIZE,
    FiniteRange,
    Progress,
    exit_by,
    loaded_model,
    note,
    refuse_to_replace,
)
from pillqc.errors import PillqcError, UsageError, writing
from pillqc.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pillqc.inspection.inspector import Inspection
    from pillqc.inspection.prediction import Unreadable
    from pillqc.model.network import LoadedModel


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@MODEL
@JSON
@CSV
@click.option("--pictures", type=FOLDER, help="Folder for pictures with heat map and boxes.")
@click.option("--html", type=FILE, help="Write one page: counts, the worst with pictures, errors.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, help="Images that the model takes at once."
)
@SIZE
@EXIT_CODE
@click.option(
    "--threshold",
    type=SHARE,
    help="Probability from which a pill is bad, without the model's undecided band.",
)
@click.option(
    "--max-false-rejects",
    type=FiniteRange(0, 1, min_open=True),
    help="Use the threshold that called at most this share of good validation pills bad.",
)
@click.option(
    "--backend",
    type=click.Choice(["stock", "ipex", "auto"]),
    default="stock",
    help="What runs the model; auto: what `bench recommend --write` found fastest here.",
)
@click.option("--shards", type=FOLDER, help="Inspect one part, into a file of this folder.")
@click.option("--shard", metavar="K/N", help="Which part; by default as torchrun sets it.")
def inspect_command(  # more than 8 parameters: click passes one for each option
    paths: tuple[Path, ...],
    model: str | None,
    as_json: bool,
    csv_file: Path | None,
    pictures: Path | None,
    html: Path | None,
    batch_size: int,
    size: int | None,
    exit_code: bool,
    threshold: float | None,
    max_false_rejects: float | None,
    backend: str,
    shards: Path | None,
    shard: str | None,
) -> None:
    """Decide whether each pill is good, and where its defects are.

    A file that cannot be read, or whose name in a folder is not an image's, gets the decision
    `error`. The last line on the error stream counts all decisions.

    \b
    Exit codes:
      0  every file was decided, and has its picture if --pictures was given
      1  a file was not, or the command failed: one line says why
      2  wrong usage
      3  with --exit-code: a pill is bad or undecided
      4  with --exit-code: a pill is bad or undecided, and a file was not decided

    \b
    Examples:
      pillqc inspect photo.png
      pillqc inspect data/pills/test --json
      pillqc inspect tray/ --csv decisions.csv --pictures marked/
      pillqc inspect tray/ --html tray.html
      pillqc inspect tray/ --exit-code && echo "all good"
      pillqc inspect tray/ --max-false-rejects 0.02
      pillqc --bits 12 inspect tray/    where the camera fills 12 of a file's 16 bits
      pillqc inspect tray/ --backend auto
      pillqc inspect tray/ --shards out/ --shard 2/4    on the second of four machines
    """
    from pillqc.commands.text import CsvLines, inspection_line
    from pillqc.data.read_options import current_options
    from pillqc.inspection.drift import drift_check
    from pillqc.inspection.inspector import Tally, decision_terms, find_images, inspect
    from pillqc.inspection.novelty import advice
    from pillqc.inspection.pictures import Album
    from pillqc.inspection.tray_page import TrayPage
    from pillqc.model.acceleration import accelerate, choose
    from pillqc.prefetch import prefetch

    if shards is not None and (as_json or csv_file or html or exit_code):
        raise UsageError(
            "--json, --csv, --html and --exit-code do not go with --shards: one part has no"
            " results; `pillqc merge` gives those of all parts"
        )
    if shard is not None and shards is None:
        raise UsageError("--shard needs --shards, the folder for the parts")
    refuse_to_replace({"--csv": csv_file, "--html": html})
    way, doubt = choose(backend)
    if doubt:
        say(f"backend auto: {doubt}")
    loaded = loaded_model(model, comparing=True, size=size if threshold is None else None)
    loaded = _with_threshold(loaded, threshold, max_false_rejects)
    terms = decision_terms(loaded)
    loaded = accelerate(loaded, way)
    page = TrayPage(html)

    def results(found: Iterable[Path | Unreadable]) -> Iterator[Inspection]:
        done = inspect(loaded, found, size=size, batch_size=batch_size)
        if pictures or html:  # drawn while the next batch is computed
            album = Album(pictures)
            done = prefetch(lambda one: page.add(album.add(one)), done, depth=2 * batch_size)
        return done

    images = find_images(paths, on_note=note)
    if shards is not None:
        from pillqc.inspection.shards import fingerprint, inspect_shard, parse_shard

        part, listed = parse_shard(shard), list(images)
        settings = {"terms": asdict(terms), "size": size, "bits": current_options().bits}
        common = fingerprint(listed, settings | {"way": asdict(way)})
        found = inspect_shard(part, shards, listed, common=common, inspect=results)
        before = f", {found.done_before} were done before" if found.done_before else ""
        again = f", {found.changed} of them again: their files changed" if found.changed else ""
        click.echo(f"{part.path(shards)}: {found.done_now} images inspected{again}{before}")
        say(f"{found.tally}\n{terms}")
        return
    tally = Tally()
    drift = drift_check(loaded)
    quiet = sys.stdout.isatty()  # the lines themselves show the progress
    names_defects = bool(loaded.defects)
    with (
        CsvLines(csv_file, defects=names_defects) as lines,
        Progress("inspecting", quiet=quiet) as progress,
    ):
        for number, result in enumerate(results(images), start=1):
            values = result.as_dict()
            tally.add(values)
            lines.add(values)
            click.echo(json.dumps(values) if as_json else inspection_line(result))
            if result.statistics and (alarm := drift.add(result.statistics)):
                say(str(alarm))
            progress(number)
    page.write([str(terms), *map(str, drift.alarms)])
    if told := advice(tally.counts["unlike"], tally.looked_at):
        note(told)
    say(f"{tally}\n{terms}")
    exit_by(tally, exit_code=exit_code)


def _with_threshold(
    loaded: LoadedModel, threshold: float | None, max_false_rejects: float | None
) -> LoadedModel:
    if threshold is not None and max_false_rejects is not None:
        raise UsageError("--threshold and --max-false-rejects exclude each other: give one")
    if max_false_rejects is not None:
        return loaded.at_false_rejects(max_false_rejects)
    return loaded if threshold is None else loaded.at_threshold(threshold)


@click.command("merge")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--output", type=FILE, help="File for the results; by default the terminal.")
@CSV
@EXIT_CODE
@click.option("--partial", is_flag=True, help="Merge what there is, even if images are missing.")
def merge_command(
    folder: Path, output: Path | None, csv_file: Path | None, exit_code: bool, partial: bool
) -> None:
    """Merge the shards of an inspection, in the images' order.

    If images are missing, because a process was lost, it names their shard and exits with 1. The
    other exit codes are those of `pillqc inspect`.

    \b
    Examples:
      pillqc merge out/ --output decisions.jsonl --csv decisions.csv
      pillqc merge out/ --output decisions.jsonl --exit-code && echo "all good"
    """
    from pillqc.commands.text import CsvLines
    from pillqc.data.marker import write_whole
    from pillqc.inspection import shards
    from pillqc.inspection.inspector import Tally

    refuse_to_replace({"--output": output, "--csv": csv_file})
    merged = shards.merge(folder)
    lacking = ", ".join(f"shard {which} lacks {count}" for which, count in merged.missing.items())
    if lacking and not partial:
        raise PillqcError(
            f"{folder}: {lacking} of {merged.images} images; run the same `pillqc inspect` command"
            " again to do the rest, or merge what there is with --partial"
        )
    if lacking:
        say(f"{folder}: {lacking} of {merged.images} images")
    tally = Tally()
    names_defects = any("defects" in result for result in merged.results)
    with CsvLines(csv_file, defects=names_defects) as lines:
        for result in merged.results:
            tally.add(result)
            lines.add(result)
    text = "".join(f"{json.dumps(result)}\n" for result in merged.results)
    if output is None:
        click.echo(text, nl=False)
    else:
        with writing(output):
            write_whole(output, text.encode())
        click.echo(f"{output}: {len(merged.results)} of {merged.images} images")
    say(str(tally))
    exit_by(tally, exit_code=exit_code)
