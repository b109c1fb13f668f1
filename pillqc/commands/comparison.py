"""Make a model that compares with pictures of good pills: `compare`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pillqc.commands.common import (
    FILE,
    FOLDER,
    SIZE_224,
    Progress,
    check_model_name,
    note,
    samples_in,
)
from pillqc.errors import UsageError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pillqc.data.images import Sample
    from pillqc.training.comparing import Comparison

_MOST: Final = 200
"""Pictures to compare with: each takes .4 MB of the file, and time."""
_MOST_TAUGHT: Final = 60
"""The same where the model learns: each takes 1.4 MB."""
_INVENTED: Final = 120
"""Defects that are invented for it to learn from."""


@click.command("compare")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATHS..."
)
@click.option("--out", type=FILE, required=True, help="Model file to write.")
@click.option(
    "--weights",
    default="hed",
    help="Whose features describe the pictures: `hed` or `imagenet` (learnt from photographs), or"
    " a model file.",
)
@click.option("--mixed", is_flag=True, help="Some of the pictures may be bad, up to half of them.")
@click.option(
    "--bad",
    type=FOLDER,
    metavar="DATA",
    help="Folder as `pillqc train --data` takes it, whose bad pictures and masks show which"
    " differences are defects.",
)
@click.option("--good", metavar="NAME", help="With --bad: the folder of good pills in DATA.")
@click.option(
    "--with",
    "beside",
    type=FILE,
    help="Model of `pillqc train` for the same pills, whose evidence is added; needs --bad.",
)
@click.option(
    "--invented",
    type=click.IntRange(0),
    default=lambda: _INVENTED,
    show_default=str(_INVENTED),
    help="Learn from so many defects that are invented on good pictures.",
)
@click.option(
    "--pictures",
    type=click.IntRange(10),
    help=f"Compare with so many at most.  [default: {_MOST_TAUGHT}; {_MOST} where nothing is"
    " learnt]",
)
@SIZE_224
def compare_command(  # more than 8 parameters: click passes one for each option
    paths: tuple[Path, ...],
    out: Path,
    weights: str,
    mixed: bool,
    bad: Path | None,
    good: str | None,
    beside: Path | None,
    invented: int,
    pictures: int | None,
    size: int,
) -> None:
    """Make a model from pictures of good pills.

    PATHS are such pictures, or folders of nothing else, of any product. No bad picture and no mask
    is needed. `pillqc inspect` and `pillqc evaluate` use the model as any other. Pills must lie
    alike in all pictures.

    Good pills differ, by specks for example. Which differences are defects the model learns in a
    few minutes, from defects that are invented on the good pictures and, with --bad, from real
    ones, too. An adapted model beside it, by --with, makes it better still. With --mixed nobody
    has to sort the pictures: what is common among them is taken for good.

    \b
    Examples:
      pillqc compare data/line/train/good --out line.safetensors
      pillqc inspect tray/ --model line.safetensors
      pillqc compare tray/ --mixed --out tray.safetensors
      pillqc train --data data/line --adapt --out adapted.safetensors
      pillqc compare data/line/*/good --bad data/line --with adapted.safetensors \\
        --out line.safetensors
    """
    check_model_name(out)
    parts = [name.resolve() for name in (beside, Path(weights)) if name]
    for wrong, reason in (
        (bad and mixed, "--bad and --mixed: sorted pictures are not mixed; leave out one of them"),
        (good and not bad, "--good needs --bad: the folder that has both kinds"),
        (beside and not bad, "--with needs --bad: the pictures that the model was trained with"),
        (out.resolve() in parts, f"--out {out}: a model that this one is made of would be lost"),
    ):
        if wrong:
            raise UsageError(reason)
    found = _pictures(paths)
    if not mixed:
        _refuse_mixture(found)
        _refuse_several_folders(paths, found)
        for folder, count in Counter(path.parent for path in found).items():
            note(f"{folder}: {count} pictures taken for good pills")
    import torch

    from pillqc.model.artifact import check_writable, save_artifact

    check_writable(out)
    samples = [sample for sample in samples_in(bad, good) if sample.bad] if bad else []
    if bad and not samples:
        raise UsageError(f"{shown(bad)}: has no bad pictures; give the folder of good and bad ones")
    made = _made(found, samples, beside, weights, invented, pictures, size, mixed=mixed)
    save_artifact(out, made.model, made.card, dtype=torch.float16)
    kind = "unsorted pictures" if mixed else "pictures of good pills"
    click.echo(f"wrote {out}: compares with {made.pictures} {kind}; {_judged(made)}")


def _pictures(paths: Sequence[Path]) -> list[Path]:
    """Return the images below the paths; notes tell of what cannot be read."""
    from pillqc.inspection.inspector import find_images
    from pillqc.inspection.prediction import Unreadable

    found = []
    for path in find_images(paths, on_note=note):
        if not isinstance(path, Unreadable):
            found.append(path)
        elif path.looked_at:
            note(f"left out: {path.path}: {path.reason}")
    return found


def _made(  # more than 8 parameters: those of the command
    found: Sequence[Path],
    samples: Sequence[Sample],
    beside: Path | None,
    weights: str,
    invented: int,
    pictures: int | None,
    size: int,
    *,
    mixed: bool,
) -> Comparison:
    from pillqc.model.network import load_model
    from pillqc.training.comparing import FEWEST_MIXED, make_comparison
    from pillqc.training.judging import make_judgement
    from pillqc.training.unsorted import make_unsorted

    if mixed and pictures and pictures < FEWEST_MIXED:
        raise UsageError(f"--mixed needs --pictures {FEWEST_MIXED} or more")
    with Progress("learning" if samples or invented else "describing") as progress:
        how: dict[str, Any] = {"weights": weights, "size": size}
        how |= {"on_note": note, "on_progress": progress}
        if not samples and not invented:
            return make_comparison(found, mixed=mixed, most=pictures or _MOST, **how)
        most = pictures or _MOST_TAUGHT
        if mixed:
            return make_unsorted(found, invented=invented, most=most, **how)
        trained = load_model(beside) if beside else None
        return make_judgement(found, samples, beside=trained, invented=invented, most=most, **how)


def _judged(made: Comparison) -> str:
    """Return what the model makes of pictures that it is not compared with and has not seen."""
    if not made.bad and not made.invented:
        return f"beside the others it calls {made.called_bad} of them bad"
    kinds = (
        (made.found, made.bad, "bad pictures"),
        (made.invented_found, made.invented, "invented defects"),
    )
    defects = " and ".join(f"{found} of {count} {kind}" for found, count, kind in kinds if count)
    alone = ", without the model beside it" if made.card.compares.get("beside") else ""
    return (
        f"before it learnt from them it called {defects} bad, and {made.called_bad} of {made.good}"
        f" {'pictures' if made.card.compares['mixed'] else 'good pictures'}{alone}"
    )


def _refuse_mixture(found: Iterable[Path]) -> None:
    """Refuse folders `good` and others side by side: what is compared with must be good."""
    folders = {path.parent for path in found}
    for good in (folder for folder in folders if folder.name.lower() == "good"):
        others = {folder.name for folder in folders if folder.parent == good.parent} - {good.name}
        if others:
            raise UsageError(
                f"{shown(good.parent)}: has pictures of {good.name} pills and of"
                f" {shown(min(others))}: give {shown(good)}, or --mixed"
            )


def _refuse_several_folders(paths: Iterable[Path], found: Iterable[Path]) -> None:
    """Refuse a folder with pictures in several folders: nobody said that all of them are good."""
    folders = sorted({path.parent.resolve() for path in found})
    for root in paths:
        place = root.resolve()
        below = [folder for folder in folders if folder.is_relative_to(place)]
        if len(below) > 1:
            names = ", ".join(str(folder.relative_to(place)) for folder in below)
            raise UsageError(
                f"{shown(root)}: has pictures in several folders ({shown(names)}): give those of"
                " good pills one by one, or --mixed"
            )
