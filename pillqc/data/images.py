"""Image files in, tensors out.

    images = load_images([s.path for s in samples], 224)  # (N, 3, 224, 224), normalised

Samples come from `pillqc.data.folders`, their masks from `pillqc.data.masks`.

How a file becomes pixels, and which are refused: `pillqc.data.decoding`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from pillqc.data.decoding_process import read_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

MEAN: Final = (0.485, 0.456, 0.406)
"""ImageNet's, which VGG-16 was published with."""
STD: Final = (0.229, 0.224, 0.225)
GOOD: Final = "good"
SPLITS: Final = ("train", "validation", "test")
UNSPLIT: Final = "all"
_CLUTTER: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"})


@dataclass(frozen=True, kw_only=True, order=True)
class Sample:
    """One image on disk with what is known about it."""

    path: Path
    defect: str
    """`good`, or the name of the folder of the defect."""
    bad: bool
    mask: Path | None
    """Where the defect is, or a folder of files that say it together; see `pillqc.data.masks`. None
    for good pills and where no mask exists."""
    split: str
    """`train`, `validation` or `test`; `all` where the folders say nothing about it."""


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without hidden entries and what systems leave there."""
    entries = sorted(folder.iterdir())
    return [p for p in entries if not p.name.startswith(".") and p.name.lower() not in _CLUTTER]


def load_images(paths: Sequence[Path], size: int = 224) -> torch.Tensor:
    """Return the images, resized to a square and normalised: float32 (N, 3, size, size)."""
    import torch

    if not paths:
        return torch.empty(0, 3, size, size)
    return torch.from_numpy(np.stack([normalised(read_image(path), size) for path in paths]))


def normalised(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Return an RGB image as a normalised float32 array (3, size, size)."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    # Plane by plane and in place: with the three channels innermost it takes five times as long,
    # and longer in some processes than in others, by which physical pages its copies lie on.
    pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
    pixels *= np.float32(1 / 255)
    pixels -= np.asarray(MEAN, np.float32)[:, None, None]
    pixels /= np.asarray(STD, np.float32)[:, None, None]
    return pixels
