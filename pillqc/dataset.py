"""Image files in, tensors out.

    images = load_images([s.path for s in samples], 224)  # (N, 3, 224, 224), normalised

Samples come from `pillqc.folders`, their masks from `pillqc.masks`.

What happens to odd files: greyscale, palette, CMYK, 16-bit and EXIF-rotated images are converted to
upright 8-bit RGB, transparent ones are laid on black, of several frames the first counts. Truncated
files, files that are no images, empty ones and ones above 100 megapixels raise a `DataError` with
path and reason, and so do pipes, devices, links that lead nowhere and pictures that pillqc drew.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pillqc.errors import DataError
from pillqc.marker import MARK, is_drawing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

_Taken = TypeVar("_Taken")

MEAN: Final = (0.485, 0.456, 0.406)
"""ImageNet's, which VGG-16 was published with."""
STD: Final = (0.229, 0.224, 0.225)
GOOD: Final = "good"
SPLITS: Final = ("train", "validation", "test")
UNSPLIT: Final = "all"
SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_CLUTTER: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"})
MAX_PIXELS: Final = 100_000_000
"""Larger images are refused before they are decoded: they are mistakes or attacks."""


@dataclass(frozen=True, kw_only=True, order=True)
class Sample:
    """One image on disk with what is known about it."""

    path: Path
    defect: str
    """`good`, or the name of the folder of the defect."""
    bad: bool
    mask: Path | None
    """Where the defect is, or a folder of files that say it together; see `pillqc.masks`. None for
    good pills and where no mask exists."""
    split: str
    """`train`, `validation` or `test`; `all` where the folders say nothing about it."""


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without hidden entries and what systems leave there."""
    entries = sorted(folder.iterdir())
    return [p for p in entries if not p.name.startswith(".") and p.name.lower() not in _CLUTTER]


def is_image_name(name: str) -> bool:
    """Whether a file in a folder counts as an image, by its name."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in SUFFIXES


def read_image(path: Path) -> Image.Image:
    """Return the image as upright 8-bit RGB, or raise a `DataError` with the reason."""
    if is_drawing(path):
        raise DataError(path, f"a picture {MARK}")
    return decoded(path, _upright_rgb)


def decoded(path: Path, take: Callable[[Image.Image], _Taken]) -> _Taken:
    """Return what `take` makes of the opened image, or raise a `DataError` with the reason."""
    try:
        check_is_file(path)
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata and of many pixels; the pixels are checked here
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(path, f"{_megapixels(image)} are more than {_LIMIT}")
                return take(image)
    except Image.DecompressionBombError as error:
        raise DataError(path, f"more than {_LIMIT}, refused before decoding") from error
    except UnidentifiedImageError as error:
        raise DataError(path, "not an image that can be read") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:
        # Pillow's decoders raise all of these for damaged files
        raise DataError(path, f"damaged or unreadable image ({_one_line(error)})") from error


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


_LIMIT: Final = f"{MAX_PIXELS // 1_000_000} megapixels"


def check_is_file(path: Path) -> None:
    """Raise a `DataError` for whatever else it is: a pipe would keep us waiting for ever."""
    if not path.is_file():
        raise DataError(path, _why_no_file(path))


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return "a folder, not an image"
    if path.is_symlink():
        return "a link that leads nowhere, or to itself"
    return "not a regular file" if path.exists() else "no such file"


def _upright_rgb(image: Image.Image) -> Image.Image:
    return _as_rgb(ImageOps.exif_transpose(image))


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; what is transparent becomes black, like the background."""
    if image.mode.startswith("I"):
        levels = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((levels / 257.0).round().clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size)
        image.paste(rgba, mask=rgba.getchannel("A"))
        return image
    return image.convert("RGB")


def _megapixels(image: Image.Image) -> str:
    return f"{image.width * image.height / 1e6:.0f} megapixels"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
