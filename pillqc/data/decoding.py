"""Open and decode image files. No other module of pillqc does.

    picture = decode_picture(Path("pill.png"))
    picture.image, picture.notes

Pillow gets a list of raster formats at every `open`, whatever the file is called: otherwise it
would pass PostScript to Ghostscript. Every exception of a decoder becomes the file's `DataError`.
Commands decode in a process with a time limit: `pillqc.data.decoding_process`.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from pillqc.data.bit_depth import UnknownRangeError, to_eight_bit
from pillqc.data.marker import MARK, is_drawing
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

Result = TypeVar("Result")
FORMATS: Final = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".mpo",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "ICO": (".ico",),
    "ICNS": (".icns",),
    "DDS": (".dds",),
    "PCX": (".pcx",),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "SUN": (".ras",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
}
"""Pillow's raster formats with their suffixes. EPS, WMF, HDF5, GRIB and BUFR are left out: other
programs decode them. TGA is last, because it has no magic number."""
SUFFIXES: Final = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS: Final = 100_000_000
"""Larger images are refused before they are decoded: they are mistakes or attacks."""
TOO_LARGE: Final = "too large for this machine's memory"
_LIMIT: Final = f"{MAX_PIXELS // 1_000_000} megapixels"
_ADDRESS: Final = re.compile(r"(^|/)(data:|[a-z][a-z0-9+.-]+:/)", re.IGNORECASE)
"""`https://...` and `s3://...`, of which a `Path` keeps one slash."""
_ORIENTATION: Final = 0x0112
"""EXIF's tag; 1 is upright, 5 to 8 swap the sides."""
_WIDTH, _LENGTH = 256, 257
"""TIFF's tags of the size as stored."""
_MULTI_FRAME: Final = ("AVIF", "GIF", "MPO", "PNG", "TIFF", "WEBP")
"""Formats of several frames or pages; the "frames" of a PSD are layers of one picture."""
_LOSSY: Final = ("JPEG", "JPEG2000", "MPO", "WEBP", "AVIF")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded photograph."""

    image: Image.Image
    """Upright, 8-bit RGB."""
    notes: tuple[str, ...] = ()
    """What a person should know about it, such as frames that were not read."""


@dataclass(frozen=True, kw_only=True)
class StoredMask:
    """The pixels of a mask file, turned upright by its own metadata."""

    levels: NDArray[Any]
    """One number a pixel (H, W), 0 where there is no defect."""
    orientation: int
    """By which they were turned; 1 if nothing says that the mask was ever turned."""
    lossy: bool
    """Whether its format changes levels near edges."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The size of an image as stored, in pixels, and its EXIF orientation."""

    size: tuple[int, int]
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright image."""
        return self.size[::-1] if self.orientation > 4 else self.size


def decode_picture(path: Path, *, bits: int | None = None) -> Picture:
    """Decode a photograph in this process, without a time limit.

    Args:
        path: the file.
        bits: the number of bits of a 16-bit file that the camera fills; None: as the file states.

    Raises:
        DataError: the file cannot be used, with the reason.
    """
    if is_drawing(path):
        raise DataError(path, f"a picture {MARK}")
    return _with_file(path, lambda file: _picture(path, file, bits))


def decode_mask(path: Path) -> StoredMask:
    """Decode a mask file in this process; otherwise as `decode_picture`."""
    return _with_file(path, lambda file: _stored_mask(path, file))


def decode_layout(path: Path) -> Layout:
    """Read the size and orientation of an image; otherwise as `decode_picture`."""

    def layout(file: BinaryIO) -> Layout:
        image = _open_checked(path, file)
        return Layout(size=_stored_size(image), orientation=_orientation(image))

    return _with_file(path, layout)


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pixels (H, W) or (H, W, C) upright by an EXIF orientation."""
    turned = pixels.swapaxes(0, 1) if orientation > 4 else pixels
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return turned[::rows, ::columns]


def check_is_file(path: Path) -> None:
    """Raise a `DataError` for anything but a regular file: reading a pipe would block."""
    reason = _why_no_file(path)
    if reason:
        raise DataError(path, reason)


def _why_no_file(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.name == "-":
            return "standard input is not read: give a file"
        if _ADDRESS.search(str(path)):
            return "an address, not a file: nothing is fetched, so download it first"
        if os.path.islink(path):  # noqa: PTH114 - Path's raises where a name is too long
            return "a link that leads nowhere, or to itself"
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        return "no such file" if missing else f"cannot be read ({error.strerror})"
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return "a folder, not an image"
    if stat.S_ISFIFO(mode):
        return "a pipe, not a regular file: save its content first"
    return "a device, not a regular file"


def _with_file(path: Path, use: Callable[[BinaryIO], Result]) -> Result:
    """Call `use` with the opened file; convert every exception into a `DataError`."""
    check_is_file(path)
    try:
        file = open(path, "rb", opener=_open_nonblocking)  # noqa: SIM115 - closed below
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error
    try:
        with file, warnings.catch_warnings():
            # Pillow warns about damaged metadata and about size; the size is checked here
            warnings.simplefilter("ignore")
            return use(file)
    except DataError:
        raise
    except UnknownRangeError as error:
        raise DataError(path, str(error)) from error
    except Image.DecompressionBombError as error:
        raise DataError(path, f"more than {_LIMIT}, refused before decoding") from error
    except UnidentifiedImageError as error:
        raise DataError(path, "not an image that can be read") from error
    except MemoryError as error:
        raise DataError(path, TOO_LARGE) from error
    except Exception as error:
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(path, f"damaged or unreadable image ({message})") from error


def _open_nonblocking(path: str, flags: int) -> int:
    """Do not block on a file that was replaced by a pipe after the check."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _picture(path: Path, file: BinaryIO, bits: int | None) -> Picture:
    image = _open_checked(path, file)
    with image:
        shallow = to_eight_bit(image, file, lambda: _open(file), bits=bits)
        orientation = _orientation(image)
    upright = _as_rgb(path, shallow)
    if orientation != 1:
        upright = Image.fromarray(turn_upright(np.asarray(upright), orientation))
    frames = _frames(image, file)
    notes = (f"the first of {frames} pages or frames",) if frames > 1 else ()
    return Picture(image=upright, notes=notes)


def _stored_mask(path: Path, file: BinaryIO) -> StoredMask:
    image = _open_checked(path, file)
    _check_colours(path, image)
    orientation = _orientation(image)
    levels = _mask_levels(image)
    levels = turn_upright(levels, _orientation(image))  # Pillow has turned a TIFF by now
    if not np.isfinite(levels).all() or levels.min() < 0:
        raise DataError(
            path, "holds negative values, NaN or infinity; the background must be 0, defects above"
        )
    frames = _frames(image, file)
    if frames > 1:
        raise DataError(
            path,
            f"has {frames} pages or frames; a mask is one picture, or a folder of several that is"
            " called like the image",
        )
    return StoredMask(levels=levels, orientation=orientation, lossy=image.format in _LOSSY)


def _mask_levels(image: Image.Image) -> NDArray[Any]:
    if image.mode in ("L", "F") or image.mode.startswith("I"):
        return np.asarray(image)
    pixels: NDArray[np.uint8] = np.asarray(image.convert("RGBA"))
    alpha = pixels[..., 3]
    colour: NDArray[np.uint8] = pixels[..., :3].max(axis=2)
    if alpha.min() < alpha.max():
        opaque: NDArray[Any] = np.where(alpha > 0, colour, 0)
        return opaque if opaque.any() else alpha
    if image.mode == "P" and (not colour.any() or colour.all()):  # its background is not black
        return np.asarray(image)
    return colour


def _open_checked(path: Path, file: BinaryIO) -> ImageFile.ImageFile:
    image = _open(file)
    if image.width * image.height > MAX_PIXELS:
        megapixels = image.width * image.height / 1e6
        raise DataError(path, f"{megapixels:.0f} megapixels are more than {_LIMIT}")
    return image


def _open(file: BinaryIO) -> ImageFile.ImageFile:
    Image.init()
    file.seek(0)
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


def _frames(image: ImageFile.ImageFile, file: BinaryIO) -> int:
    """Count frames in a newly opened image: Pillow counts by seeking to the last one."""
    return int(getattr(_open(file), "n_frames", 1)) if image.format in _MULTI_FRAME else 1


def _stored_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Return width and height as stored: of a turned TIFF some versions of Pillow swap them."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.size
    return int(image.tag_v2[_WIDTH]), int(image.tag_v2[_LENGTH])


def _orientation(image: Image.Image) -> int:
    """Return by which orientation an image is still to be turned; loading turns a TIFF."""
    found = image.getexif().get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _check_colours(path: Path, image: Image.Image) -> None:
    if image.mode in ("LAB", "HSV"):
        raise DataError(path, f"its colours are {image.mode}: save it as RGB")


def _as_rgb(path: Path, image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; transparent pixels become black, like the background."""
    _check_colours(path, image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size)
        image.paste(rgba, mask=rgba.getchannel("A"))
        return image
    return image.convert("RGB")
