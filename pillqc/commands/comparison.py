"""Make a model from pictures of good pills alone: `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pillqc.commands.common import FILE, SIZE_224, Progress, check_model_name, note
from pillqc.errors import UsageError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST: Final = 200
"""Pictures to compare with: each takes .4 MB of the file, and time."""


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
    "--pictures", type=click.IntRange(10), default=_MOST, help="Compare with so many at most."
)
@SIZE_224
def compare_command(
    paths: tuple[Path, ...], out: Path, weights: str, mixed: bool, pictures: int, size: int
) -> None:
    """Make a model from pictures of good pills alone.

    PATHS are such pictures, or folders of them, of any product. Nothing is trained, and no bad
    picture and no mask is needed. `pillqc inspect` and `pillqc evaluate` use the model as any
    other. Pills must lie alike in all pictures.

    With --mixed nobody has to sort the pictures: what is rare among them is bad.

    \b
    Examples:
      pillqc compare data/line/train/good --out line.safetensors
      pillqc inspect tray/ --model line.safetensors
      pillqc compare tray/ --mixed --out tray.safetensors
    """
    from pillqc.inspection.inspector import find_images
    from pillqc.inspection.prediction import Unreadable

    check_model_name(out)
    found = []
    for path in find_images(paths, on_note=note):
        if not isinstance(path, Unreadable):
            found.append(path)
        elif path.looked_at:
            note(f"left out: {path.path}: {path.reason}")
    if not mixed:
        _refuse_mixture(found)
    import torch

    from pillqc.model.artifact import check_writable, save_artifact
    from pillqc.training.comparing import make_comparison

    check_writable(out)
    with Progress("describing") as progress:
        made = make_comparison(
            found,
            weights=weights,
            mixed=mixed,
            most=pictures,
            size=size,
            on_note=note,
            on_progress=progress,
        )
    save_artifact(out, made.model, made.card, dtype=torch.float16)
    kind = "unsorted pictures" if mixed else "pictures of good pills"
    click.echo(
        f"wrote {out}: compares with {made.pictures} {kind}; beside the others it calls"
        f" {made.called_bad} of them bad"
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
