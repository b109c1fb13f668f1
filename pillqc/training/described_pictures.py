"""Read pictures for a model that compares, each content once, and describe them by its features.

digests = by_content(paths, on_note)                     # {file: SHA-256}
read, described = describe(model, list(digests), 224, on_note=print)
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from pillqc.data.splits import content_hash
from pillqc.errors import DataError, shown
from pillqc.inspection.prediction import BATCH_SIZE, Decoded, Unreadable, decode
from pillqc.prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import TypeGuard

    from torch import Tensor

    from pillqc.model.comparison import ComparingVGG
    from pillqc.model.judging import JudgingVGG

Value = TypeVar("Value")


def by_content(paths: Sequence[Path], on_note: Callable[[str], None]) -> dict[Path, str]:
    """Return one file of each content that can be read, and its SHA-256."""
    found: dict[str, Path] = {}
    for path in paths:
        if digest := _digest(path, on_note):
            found.setdefault(digest, path)
    return {path: digest for digest, path in found.items()}


def evenly(these: Sequence[Value], most: int) -> Sequence[Value]:
    """Return at most so many, evenly spaced."""
    if len(these) <= most:
        return these
    return [these[place] for place in np.linspace(0, len(these) - 1, most).round().astype(int)]


@torch.inference_mode()
def describe(
    model: ComparingVGG | JudgingVGG,
    paths: Sequence[Path],
    *,
    on_note: Callable[[str], None],
    on_read: Callable[[int], None] = lambda _: None,
) -> tuple[list[Decoded], Tensor]:
    """Return the pictures that can be read, and the features of each cell (N, C, side, side).

    Args:
        model: its features describe.
        paths: of the pictures.
        on_note: is told of files that cannot be used.
        on_read: is told how many pictures are done.
    """
    found = prefetch(lambda path: decode(path, model.size), paths, depth=BATCH_SIZE)
    usable = (one for one in found if _is_usable(one, on_note))
    read: list[Decoded] = []
    described = [torch.empty(0, model.references.shape[-1], model.side, model.side)]
    while batch := list(islice(usable, BATCH_SIZE)):
        described.append(model.described(torch.from_numpy(np.stack([o.pixels for o in batch]))))
        read += batch
        on_read(len(read))
    return read, torch.cat(described)


def _digest(path: Path, on_note: Callable[[str], None]) -> str | None:
    try:
        return content_hash(path)
    except DataError as error:
        on_note(f"left out: {error}")
        return None


def _is_usable(found: Decoded | Unreadable, on_note: Callable[[str], None]) -> TypeGuard[Decoded]:
    """Tell of a file that cannot be used."""
    if isinstance(found, Unreadable):
        on_note(f"left out: {shown(found.path)}: {found.reason}")
        return False
    return True
