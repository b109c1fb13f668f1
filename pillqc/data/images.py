"""Load images as normalised tensors.

    images = load_images([s.path for s in samples], 224)  # (N, 3, 224, 224), normalised

Samples come from `pillqc.data.folders`, their masks from `pillqc.data.masks`, pixels from
`pillqc.data.decoding`.
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
"""Those of ImageNet, with which VGG-16 was published."""
STD: Final = (0.229, 0.224, 0.225)
GOOD: Final = "good"
SPLITS: Final = ("train", "validation", "test")
UNSPLIT: Final = "all"
MULTI_FRAME: Final = "files of several pages or frames, of which the first one counts"
"""The kind of file that commands report with `count_note`."""


@dataclass(frozen=True, kw_only=True, order=True)
class Sample:
    """An image file, its class and its mask."""

    path: Path
    defect: str
    """`good`, or the name of the defect's folder."""
    bad: bool
    mask: Path | None
    """A mask file, or a folder of several that are one mask; None for good pills and where no mask
    exists. See `pillqc.data.masks`."""
    split: str
    """`train`, `validation` or `test`; `all` where the folders are not split."""


def count_note(kind: str, paths: Sequence[Path]) -> str:
    """Return one line with the number of files of a kind and the first of them."""
    return f"{kind}: {len(paths)}, the first {paths[0]}"


def load_images(paths: Sequence[Path], size: int = 224) -> torch.Tensor:
    """Return the images, resized to a square and normalised: float32 (N, 3, size, size)."""
    import torch

    if not paths:
        return torch.empty(0, 3, size, size)
    return torch.from_numpy(np.stack([normalised(read_image(path), size) for path in paths]))


def normalised(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Return an RGB image as a normalised float32 array (3, size, size)."""
    image = resized(image, size)
    # Plane by plane and in place: with the channels last it takes five times as long, and its time
    # differs between processes with the physical pages of the copies.
    pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
    pixels *= np.float32(1 / 255)
    pixels -= np.asarray(MEAN, np.float32)[:, None, None]
    pixels /= np.asarray(STD, np.float32)[:, None, None]
    return pixels


def resized(image: Image.Image, size: int) -> Image.Image:
    """Return the image as a square of that side; itself if it is one."""
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)
