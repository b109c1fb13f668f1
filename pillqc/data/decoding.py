"""The one place that opens and decodes a picture.

    picture = read_picture(Path("pill.png"))
    picture.image, picture.notes

Pillow is given a list of raster formats at every `open`, so that nothing is executed whatever a
file is called: it would hand PostScript to Ghostscript. Whatever decoding raises is that file's
`DataError`. The command decodes in a process of its own, with a limit of time:
`pillqc.data.decoding_process`.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final, TypeVar

from PIL import Image, ImageFile, UnidentifiedImageError

from pillqc.data.bit_depth import UnknownRangeError, eight_bit
from pillqc.data.marker import MARK, is_drawing
from pillqc.errors import DataError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

Taken = TypeVar("Taken")
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
"""Pillow's raster formats that hold one picture and run nothing, with the ends of their names. Not
EPS, WMF, HDF5, GRIB and BUFR, which other programs decode. TGA, known by no mark, is last."""
SUFFIXES: Final = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS: Final = 100_000_000
"""Larger images are refused before they are decoded: they are mistakes or attacks."""
_LIMIT: Final = f"{MAX_PIXELS // 1_000_000} megapixels"
_ADDRESS: Final = re.compile(r"(^|/)(data:|[a-z][a-z0-9+.-]+:/)", re.IGNORECASE)
"""`https://...` and `s3://...`, of which a `Path` keeps one slash."""
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OF_FRAMES: Final = ("AVIF", "GIF", "MPO", "PNG", "TIFF", "WEBP")
"""Formats of several frames or pages; PSD's "frames" are layers of one picture."""
_NAMED: Final = 5
"""Of files that are not looked at, in a sentence."""
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini", ".ds_store"})


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded file."""

    image: Image.Image
    """Upright, 8-bit RGB."""
    notes: tuple[str, ...] = ()
    """What a person should know of it, such as frames that were not looked at."""


def is_image_name(name: str) -> bool:
    """Whether a file in a folder counts as an image, by its name."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in SUFFIXES


def is_litter(name: str) -> bool:
    """Whether a file that is no image goes unmentioned: what the system or a tool left, hidden."""
    if name.startswith("._") or name.lower() in _LITTER:
        return True
    return name.startswith(".") and PurePath(name).suffix.lower() not in SUFFIXES


def why_unseen(path: Path) -> str:
    """Why a file in a folder is not looked at."""
    if path.is_symlink() and path.is_dir():
        return "not looked at: a link to a folder"
    if path.is_dir():
        return "not looked at: a folder, not an image"
    if path.name.startswith("."):
        return "not looked at: a hidden file"
    if not path.suffix:
        return "not looked at: its name does not end in a format's"
    return f"not looked at: no format that pillqc reads ends in {shown(path.suffix)!r}"


def told_of_unseen(paths: Iterable[Path]) -> str:
    """How many files were not looked at, with the first few names."""
    names = [shown(path.name) for path in paths]
    more = ", ..." if len(names) > _NAMED else ""
    return (
        f"{len(names)} files would not be looked at, because their names are not those of images:"
        f" {', '.join(names[:_NAMED])}{more}; convert them or take them out of the folder"
    )


def decode(path: Path, *, bits: int | None = None) -> Picture:
    """Read one file in this process, however long it takes.

    Args:
        path: the file.
        bits: how many bits of a 16-bit file its camera fills; None: as the file says.

    Raises:
        DataError: it cannot be used, with the reason.
    """
    if is_drawing(path):
        raise DataError(path, f"a picture {MARK}")
    return _read(path, lambda file: _decoded(path, file, bits))


def decoded(path: Path, take: Callable[[Image.Image], Taken]) -> Taken:
    """Return what `take` makes of the opened image as it is stored, for masks; else as `decode`."""
    return _read(path, lambda file: take(_checked(path, file)))


def _read(path: Path, take: Callable[[BinaryIO], Taken]) -> Taken:
    """Open the file and turn whatever `take` raises into a `DataError`."""
    check_is_file(path)
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - closed below
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error
    try:
        with file, warnings.catch_warnings():
            # Pillow warns of damaged metadata and of many pixels; the pixels are checked here
            warnings.simplefilter("ignore")
            return take(file)
    except DataError:
        raise
    except UnknownRangeError as error:
        raise DataError(path, str(error)) from error
    except Image.DecompressionBombError as error:
        raise DataError(path, f"more than {_LIMIT}, refused before decoding") from error
    except UnidentifiedImageError as error:
        raise DataError(path, "not an image that can be read") from error
    except MemoryError as error:
        raise DataError(path, "too large for this machine's memory") from error
    except Exception as error:
        raise DataError(path, f"damaged or unreadable image ({_one_line(error)})") from error


def check_is_file(path: Path) -> None:
    """Raise a `DataError` for whatever else it is: a pipe would keep us waiting for ever."""
    reason = why_no_file(path)
    if reason:
        raise DataError(path, reason)


def why_no_file(path: Path) -> str | None:
    """Why a path is no regular file; None where it is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.name == "-":
            return "standard input is not read: give a file"
        if _ADDRESS.search(str(path)):
            return "an address, not a file: nothing is fetched, so download it first"
        if os.path.islink(path):  # noqa: PTH114 - Path's raises where a name is too long
            return "a link that leads nowhere, or to itself"
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        return "no such file" if gone else f"cannot be read ({error.strerror})"
    kinds = (
        (stat.S_ISREG, None),
        (stat.S_ISDIR, "a folder, not an image"),
        (stat.S_ISFIFO, "a pipe, not a regular file: save what it carries first"),
    )
    return next((told for of_kind, told in kinds if of_kind(mode)), "a device, not a regular file")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file that may have become a pipe since it was looked at."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _decoded(path: Path, file: BinaryIO, bits: int | None) -> Picture:
    image = _checked(path, file)
    with image:
        shallow = eight_bit(image, file, lambda: _opened(file), bits=bits)
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    upright = _as_rgb(path, shallow)
    if method is not None:
        upright = upright.transpose(method)
    # of a fresh one: the first frame is loaded, and Pillow counts by going on to the last
    frames = int(getattr(_opened(file), "n_frames", 1)) if image.format in _OF_FRAMES else 1
    notes = (f"the first of {frames} pages or frames",) if frames > 1 else ()
    return Picture(image=upright, notes=notes)


def _checked(path: Path, file: BinaryIO) -> ImageFile.ImageFile:
    image = _opened(file)
    if image.width * image.height > MAX_PIXELS:
        megapixels = image.width * image.height / 1e6
        raise DataError(path, f"{megapixels:.0f} megapixels are more than {_LIMIT}")
    return image


def _opened(file: BinaryIO) -> ImageFile.ImageFile:
    Image.init()
    file.seek(0)
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


def _as_rgb(path: Path, image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; what is transparent becomes black, like the background."""
    if image.mode in ("LAB", "HSV"):
        raise DataError(path, f"its colours are {image.mode}: save it as RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size)
        image.paste(rgba, mask=rgba.getchannel("A"))
        return image
    return image.convert("RGB")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
