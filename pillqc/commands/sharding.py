"""Inspection in shards: what `inspect --shards` does, and `merge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pillqc.commands.common import CSV, EXIT_CODE, FILE, exit_by, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pillqc.inspection.inspector import Inspection, Terms
    from pillqc.inspection.prediction import Unreadable


def inspect_in_shards(
    terms: Terms,
    paths: Sequence[Path],
    folder: Path,
    which: str | None,
    *,
    size: int | None,
    inspect: Callable[[Iterable[Path | Unreadable]], Iterator[Inspection]],
) -> None:
    """Inspect this process's part of the images, into its own file in the folder."""
    from pillqc.inspection import shards
    from pillqc.inspection.inspector import find_images

    shard = shards.parse_shard(which)
    images = list(find_images(paths, on_note=note))
    result = shards.inspect_shard(
        shard,
        folder,
        images,
        common=shards.fingerprint(images, repr(terms), size),
        inspect=inspect,
    )
    before = f", {result.done_before} were done before" if result.done_before else ""
    click.echo(f"{shard.path(folder)}: {result.done_now} images inspected{before}")
    click.echo(f"{result.tally}\n{terms}", err=True)


@click.command("merge")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--output", type=FILE, help="A file for the results; else the terminal.")
@CSV
@EXIT_CODE
@click.option("--partial", is_flag=True, help="Give what there is, though images are missing.")
def merge_command(
    folder: Path, output: Path | None, csv_file: Path | None, exit_code: bool, partial: bool
) -> None:
    """Put the shards of an inspection together, in the order of the images.

    Where a process was lost, says which shard lacks how many images, and exits with 1. A file that
    could not be read makes it exit with 1 in the end: the exit codes are those of `pillqc inspect`.

    \b
    Examples:
      pillqc merge out/ --output decisions.jsonl --csv decisions.csv
      pillqc merge out/ --output decisions.jsonl --exit-code && echo "all good"
    """
    from pillqc.commands.text import CsvLines
    from pillqc.errors import PillqcError
    from pillqc.inspection import shards
    from pillqc.inspection.inspector import Tally

    merged = shards.merge(folder)
    lacking = ", ".join(f"shard {which} lacks {count}" for which, count in merged.missing.items())
    if lacking and not partial:
        raise PillqcError(
            f"{folder}: {lacking} of {merged.images} images; start `pillqc inspect` with the same "
            "words again, which goes on where it was cut, or take what there is with --partial"
        )
    if lacking:
        click.echo(f"{folder}: {lacking} of {merged.images} images", err=True)
    tally = Tally()
    with CsvLines(csv_file) as lines:
        for result in merged.results:
            tally.add(result)
            lines.add(result)
    text = "".join(f"{json.dumps(result)}\n" for result in merged.results)
    if output is None:
        click.echo(text, nl=False)
    else:
        unfinished = output.with_name(f".{output.name}.part")
        try:
            unfinished.write_text(text)
            unfinished.replace(output)
        except OSError as error:
            raise PillqcError(f"{output}: cannot be written ({error.strerror})") from error
        click.echo(f"{output}: {len(merged.results)} of {merged.images} images")
    click.echo(tally, err=True)
    exit_by(tally, asked=exit_code)
