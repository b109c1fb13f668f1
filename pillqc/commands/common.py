"""Share options, messages and exit codes among the commands."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from typing_extensions import Self

from pillqc.data.read_options import LARGEST_SIDE, SMALLEST_SIDE
from pillqc.errors import UsageError, shown
from pillqc.terminal import is_terminal, say, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pillqc.data.images import Sample
    from pillqc.inspection.inspector import Tally
    from pillqc.model.network import LoadedModel

UNTRAINED: Final = (
    "THE MODEL IS UNTRAINED: its decisions mean nothing; give a trained one with --model"
)
_OTHER_SIZE: Final = (
    "THE MODEL'S THRESHOLDS WERE CHOSEN AT {} px: at {} px they may decide wrongly, so leave out"
    " --size"
)
_MODELS: Final = (".safetensors", ".pt", ".pt2", ".pth", ".onnx")
_FAILED, _SUSPICIOUS, _BOTH = 1, 3, 4


class FiniteRange(click.FloatRange):
    """A `click.FloatRange` that refuses `nan` and `inf`, which pass click's comparisons."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail with click's message of wrong usage."""
        number: float = super().convert(value, param, ctx)  # type: ignore[arg-type] # it takes text
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


FOLDER: Final = click.Path(path_type=Path, file_okay=False)
FILE: Final = click.Path(path_type=Path, dir_okay=False)
SEED: Final = click.IntRange(0, 2**31 - 1)
"""What every generator takes, with room for the seeds that are derived from it."""
POSITIVE: Final = FiniteRange(min=0, min_open=True)
SHARE: Final = FiniteRange(0, 1)

DATA: Final = click.option(
    "--data", type=FOLDER, required=True, help="Folder in MVTec AD's layout, or good/ and bad/."
)
GOOD: Final = click.option(
    "--good", metavar="NAME", help="Name of the folder of good pills, if it is not `good`."
)
MODEL: Final = click.option(
    "--model", help="Model file, `imagenet`, `hed` or `random`; the shipped model by default."
)
_SIDE: Final = click.IntRange(SMALLEST_SIDE, LARGEST_SIDE)
SIZE: Final = click.option("--size", type=_SIDE, help="Side in pixels; the model's by default.")
SIZE_224: Final = click.option("--size", type=_SIDE, default=224, help="Side in pixels.")
BACKEND: Final = click.option(
    "--backend",
    type=click.Choice(["stock", "ipex"]),
    default="stock",
    help="What trains the model.",
)
DTYPE: Final = click.option(
    "--dtype",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    help="Number type of the arithmetic.",
)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")
CSV: Final = click.option(
    "--csv", "csv_file", type=FILE, help="Write a table, a row for each file."
)
EXIT_CODE: Final = click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 3 if a pill is bad or undecided, with 4 if a file also failed.",
)


def note(text: str) -> None:
    """Print a note on the error stream."""
    say(f"note: {shown(text)}")


def samples_in(data: Path, good: str | None) -> list[Sample]:
    """Return the samples of a data set; notes tell how its folders' names were understood."""
    from pillqc.data.folders import read_samples

    return read_samples(data, good=good, on_note=note)


def check_model_name(out: Path) -> None:
    """Refuse a name that is not one of a model file."""
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: a model file ends in .safetensors")


def refuse_to_replace(outputs: Mapping[str, Path | None]) -> None:
    """Refuse outputs, by option, that have the name of a picture or model, or each other's.

    Raises:
        UsageError: the file that is named would be lost.
    """
    from pillqc.data.file_names import is_image_name

    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        if is_image_name(path.name) or path.suffix.lower() in _MODELS:
            raise UsageError(f"{option} {path}: this is the name of a picture or a model")
        if option == "--html" and path.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{option} {path}: a page ends in .html")
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(f"{other} and {option} name the same file, {path}")


def loaded_model(
    model: str | None, *, comparing: bool = False, size: int | None = None
) -> LoadedModel:
    """Return the model that `--model` names; warn if it is untrained or its thresholds do not fit.

    Args:
        model: a file or a name.
        comparing: whether it may be one of `pillqc compare`.
        size: side in pixels of the pictures that its thresholds shall decide about; None: its own.
    """
    from pillqc.model.network import load_model

    loaded = load_model(model, comparing=comparing)
    if not loaded.trained:
        say(UNTRAINED)
    elif size not in (None, loaded.size):
        say(_OTHER_SIZE.format(loaded.size, size))
    return loaded


def exit_by(tally: Tally, *, exit_code: bool) -> None:
    """Exit with 1 if a file failed, with 3 for a pill that is not good, with 4 for both.

    Pills count with `--exit-code` only.
    """
    suspicious = exit_code and tally.suspicious
    if tally.failed:
        raise click.exceptions.Exit(_BOTH if suspicious else _FAILED)
    if suspicious:
        raise click.exceptions.Exit(_SUSPICIOUS)


class Progress:
    """A line on a terminal's error stream, with the estimated time left or the speed."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what = what
        self._shown = is_terminal(sys.stderr) and not quiet
        self._started = time.monotonic()
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._last:
            write(sys.stderr, "\r\x1b[K")

    def __call__(self, done: int, total: int | None = None) -> None:
        """Update the line, at most five times a second; without a total it shows the speed."""
        now = time.monotonic()
        if not self._shown or (now - self._last < 0.2 and done != total):
            return
        self._last = now
        each = (now - self._started) / done
        text = f"{done}, {1 / max(each, 1e-9):.1f} a second"
        if total is not None:
            text = f"{done} of {total}, {each * (total - done):.0f} s left"
        self._shown = write(sys.stderr, f"\r\x1b[K{self._what}: {text}")
