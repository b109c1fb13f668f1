"""What the commands share: options, the model, a line of progress."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from typing_extensions import Self

from pillqc.errors import shown

if TYPE_CHECKING:
    from pillqc.data.images import Sample
    from pillqc.inspection.inspector import Tally
    from pillqc.model.network import LoadedModel

UNTRAINED: Final = (
    "THE MODEL IS UNTRAINED: its decisions mean nothing; give a trained one with --model"
)
FOLDER: Final = click.Path(path_type=Path, file_okay=False)
FILE: Final = click.Path(path_type=Path, dir_okay=False)
MODEL: Final = click.option(
    "--model",
    help="Model file, `imagenet` or `random`; the shipped model by default.",
)
EXIT_CODE: Final = click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 3 if a pill is bad or undecided, with 4 if also a file was not decided.",
)
CSV: Final = click.option(
    "--csv", "csv_file", type=FILE, help="Also a table, one line for each file."
)
_FAILED, _SUSPICIOUS, _BOTH = 1, 3, 4
DATA: Final = click.option(
    "--data", type=FOLDER, required=True, help="Folder in MVTec AD's layout, or good/ and bad/."
)
GOOD: Final = click.option(
    "--good", metavar="NAME", help="The folder of good pills, where it is not called good."
)


def note(text: str) -> None:
    """Say what is no result."""
    click.echo(f"note: {shown(text)}", err=True)


def samples_in(data: Path, good: str | None) -> list[Sample]:
    """The samples of a data set; says what was understood by its folders' names."""
    from pillqc.data.folders import read_samples

    return read_samples(data, good=good, on_note=note)


def loaded_model(model: str | None) -> LoadedModel:
    """The model that was asked for; an untrained one says so."""
    from pillqc.model.network import load_model

    loaded = load_model(model)
    if not loaded.trained:
        click.echo(UNTRAINED, err=True)
    return loaded


def exit_by(tally: Tally, *, asked: bool) -> None:
    """Exit with 1 if a file was not decided, with 3 for a pill that is not good, with 4 for both.

    `asked`: whether pills count; without it only files do.
    """
    suspicious = asked and tally.suspicious
    if tally.failed:
        raise click.exceptions.Exit(_BOTH if suspicious else _FAILED)
    if suspicious:
        raise click.exceptions.Exit(_SUSPICIOUS)


class Progress:
    """A line with the estimated time left, on a terminal only."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what = what
        self._shown = sys.stderr.isatty() and not quiet
        self._started = time.monotonic()
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._last:
            click.echo("\r\x1b[K", err=True, nl=False)

    def __call__(self, done: int, total: int | None = None) -> None:
        """Show how far it is, at most five times a second; where the end is unknown, how fast."""
        now = time.monotonic()
        if not self._shown or (now - self._last < 0.2 and done != total):
            return
        self._last = now
        each = (now - self._started) / done
        far = f"{done}, {1 / max(each, 1e-9):.1f} a second"
        if total is not None:
            far = f"{done} of {total}, {each * (total - done):.0f} s left"
        click.echo(f"\r\x1b[K{self._what}: {far}", err=True, nl=False)
