"""Folders of images in, samples and tensors out.

    samples = read_samples(Path("data/pills"))           # MVTec AD's layout, or good/ and bad/
    images = load_images([s.path for s in samples], 224)  # (N, 3, 224, 224), normalised

Layouts: `<split>/good/*.png` and `<split>/<any defect>/*.png`, where a split is `train`,
`validation` or `test`, with masks in `ground_truth/<defect>/<name>_mask.png`; or `good/` and one or
more folders of bad images directly under the root. Everything is sorted, so that an order never
depends on the file system.

How a file becomes pixels, and which are refused: `pillqc.decoding`. A file in a class folder that
is not looked at, because its name is not an image's, is an error: a defect must not vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from pillqc.apart import read_image
from pillqc.decoding import is_image_name, is_litter, told_of_unseen
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

MEAN: Final = (0.485, 0.456, 0.406)
"""ImageNet's, which VGG-16 was published with."""
STD: Final = (0.229, 0.224, 0.225)
GOOD: Final = "good"
SPLITS: Final = ("train", "validation", "test")
UNSPLIT: Final = "all"


@dataclass(frozen=True, kw_only=True, order=True)
class Sample:
    """One image on disk with what is known about it."""

    path: Path
    defect: str
    """`good`, or the name of the folder of the defect."""
    bad: bool
    mask: Path | None
    """Where the defect is: white on black; None for good pills and where no mask exists."""
    split: str
    """`train`, `validation` or `test`; `all` where the folders say nothing about it."""


def read_samples(root: Path) -> list[Sample]:
    """Return the samples under `root`, sorted by split, defect and name."""
    if not root.is_dir():
        raise DataError(root, "no such folder; give the folder that holds train/ and test/")
    splits = [name for name in SPLITS if (root / name).is_dir()]
    if splits:
        samples = [s for name in splits for s in _read_split(root, root / name, name)]
    elif (root / GOOD).is_dir():
        samples = list(_read_split(root, root, UNSPLIT))
    else:
        raise DataError(root, _what_it_looks_like(root))
    if not samples:
        raise DataError(root, "its class folders hold no images (.png, .jpg, .tif, ...)")
    return samples


def samples_of(samples: Sequence[Sample], split: str | None, root: Path) -> list[Sample]:
    """The samples of a split; without one those of `test`, or all where there is no test."""
    present = {sample.split for sample in samples}
    if split is None:
        split = "test" if "test" in present else None
    elif split not in present:
        raise DataError(root, f"has no split {split!r}; it has {', '.join(sorted(present))}")
    return [sample for sample in samples if split in (None, sample.split)]


def load_images(paths: Sequence[Path], size: int = 224) -> torch.Tensor:
    """Return the images, resized to a square and normalised: float32 (N, 3, size, size)."""
    import torch

    if not paths:
        return torch.empty(0, 3, size, size)
    return torch.from_numpy(np.stack([normalised(read_image(path), size) for path in paths]))


def load_masks(samples: Sequence[Sample], size: int = 224) -> torch.Tensor:
    """Return the masks as bool (N, size, size); all False for good pills.

    A pixel is set where at least half of it is covered.
    """
    import torch

    if not samples:
        return torch.empty(0, size, size, dtype=torch.bool)
    return torch.from_numpy(np.stack([read_mask(sample, size) for sample in samples]))


def read_mask(sample: Sample, size: int) -> NDArray[np.bool_]:
    """Return one sample's mask (size, size)."""
    if sample.mask is None:
        return np.zeros((size, size), dtype=np.bool_)
    grey = read_image(sample.mask).convert("L").resize((size, size), Image.Resampling.BOX)
    mask: NDArray[np.bool_] = np.asarray(grey) > 127  # half of 255
    return mask


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


def _read_split(root: Path, folder: Path, split: str) -> Iterator[Sample]:
    for class_folder in sorted(p for p in folder.iterdir() if p.is_dir()):
        defect = class_folder.name
        if defect.startswith(".") or defect == "ground_truth":
            continue
        paths = sorted(class_folder.iterdir())
        _refuse_unseen(class_folder, paths)
        for path in paths:
            if is_image_name(path.name) and not path.is_dir():
                bad = defect != GOOD
                mask = _mask_of(root, split, defect, path) if bad else None
                yield Sample(path=path, defect=defect, bad=bad, mask=mask, split=split)


def _refuse_unseen(folder: Path, paths: Sequence[Path]) -> None:
    """Raise a `DataError` for files that are neither images by name, nor hidden, nor folders."""
    known = (is_image_name, is_litter, lambda name: name.startswith("."))
    unseen = [p for p in paths if not any(of(p.name) for of in known) and not p.is_dir()]
    if unseen:
        raise DataError(folder, told_of_unseen(unseen))


def _mask_of(root: Path, split: str, defect: str, image: Path) -> Path | None:
    """The mask of a bad image; `ground_truth` belongs to `test`, as MVTec AD lays it out."""
    folder = root / "ground_truth" / defect
    if split not in ("test", UNSPLIT):
        folder = root / "ground_truth" / split / defect
    for name in (f"{image.stem}_mask.png", f"{image.stem}.png"):
        if (folder / name).is_file():
            return folder / name
    return None


def _what_it_looks_like(root: Path) -> str:
    categories = sorted(p.parent.name for p in root.glob("*/train") if (p / GOOD).is_dir())
    if categories:
        return f"holds categories; give one of them, for example {root / categories[0]}"
    return "holds neither train/ and test/ (MVTec AD's layout) nor good/ and bad/"
