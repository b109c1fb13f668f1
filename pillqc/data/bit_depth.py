"""Pixels of more than 8 bits: which level is white?

    image = eight_bit(opened, file, again, bits=12)

A camera of 12 bits mostly writes files of 16, in which its white is 4,095 and not 65,535. Where a
file states its range (bits a sample, PNG's sBIT, TIFF's largest value, a PGM's own) that counts; so
does what the user says. Else a picture of which no level reaches a quarter of the 16 bits is
refused: nobody can tell a dark one from a bright one of fewer bits.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

FULL: Final = 65_535
_BRIGHT: Final = 1 << 14
"""No camera of 14 bits or fewer reaches this level."""
_BITS_PER_SAMPLE, _PHOTOMETRIC, _LARGEST, _SIGNED_LARGEST = 258, 262, 281, 341
_PPM: Final = "ppm"
_SWAPPED: Final = {
    "16B": "16L",
    "16L": "16B",
    "16N": "16B" if sys.byteorder == "little" else "16L",
    "L;16": "L;16B",
    "L;16B": "L;16",
}
"""Pillow keeps the high byte of a colour; read in the other order, the same file gives the low."""


class UnknownRangeError(Exception):
    """Which level is white cannot be told; the message says what the largest is."""


def eight_bit(
    image: ImageFile, file: BinaryIO, again: Callable[[], ImageFile], *, bits: int | None
) -> Image.Image:
    """Return the loaded image with 8 bits a channel, scaled by its range where it has more.

    Args:
        image: as it was opened, not loaded yet.
        file: what it was opened from.
        again: opens it once more.
        bits: how many bits are used, if the user says so.

    Raises:
        UnknownRangeError: its range is neither stated nor plain.
    """
    rawmode, scaled = _encoding(image)
    white = FULL if scaled else (1 << bits) - 1 if bits else _stated(image, file)
    spread = image.format == "PNG" and not bits
    inverted = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]
    image.load()
    if image.mode.startswith(("I", "F")):
        levels = np.asarray(image)
        if image.mode.startswith("I") and image.format in ("PNG", "PPM"):
            levels = levels.astype(np.uint16)
        elif not image.mode.startswith("I;16") and bits:
            white = _stated(image, file)  # what is said of 16 bits is not said of 32
        return Image.fromarray(_scaled(levels, white, spread=spread, inverted=inverted))
    if rawmode != _PPM and _swapped(rawmode) is None:
        return image
    colours = slice(3 if image.mode in ("RGBA", "RGBX", "RGBa") else None)
    high = np.asarray(image).astype(np.uint16)
    if white in (None, FULL) and int(high[..., colours].max()) >= _BRIGHT >> 8:
        return image
    levels = high << 8 | _low_bytes(again, rawmode)
    eight = (levels >> 8).astype(np.uint8)
    eight[..., colours] = _scaled(levels[..., colours], white, spread=spread)
    return Image.frombytes(image.mode, image.size, eight.tobytes())


def _encoding(image: ImageFile) -> tuple[str, bool]:
    """The raw mode of its pixels, and whether Pillow scales them to all bits itself."""
    if not image.tile:
        return "", False
    tile = image.tile[0]
    args = tile.args
    if tile.codec_name.startswith("ppm"):
        largest = int(args[1]) if isinstance(args, tuple) and len(args) > 1 else 255
        return (_PPM if largest == FULL else ""), largest < FULL
    return str(args[0] if isinstance(args, tuple | list) and args else args), False


def _stated(image: ImageFile, file: BinaryIO) -> int | None:
    """The white level that the file states."""
    if image.format == "PNG":
        return _of_bits(_png_bits(file))
    if image.format != "TIFF":
        return None
    tags = image.tag_v2  # type: ignore[attr-defined]
    largest = tags.get(_SIGNED_LARGEST, tags.get(_LARGEST))
    values = largest if isinstance(largest, tuple) else (largest,)
    # many programs write the picture's own largest level here; a range is all ones
    ranges = {(1 << n) - 1 for n in (1, *range(8, 33))}
    if values[0] in ranges and len(set(values)) == 1:
        return int(values[0])
    return _of_bits(max(tags.get(_BITS_PER_SAMPLE, (8,))))


def _of_bits(bits: int) -> int | None:
    return (1 << bits) - 1 if 8 < bits < 16 else None


def _png_bits(file: BinaryIO) -> int:
    """The largest of PNG's significant bits; 0 where it states none."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"sBIT":
            return max(file.read(min(length, 4)), default=0)
        if kind == b"IDAT":
            break
        file.seek(length + 4, 1)
    return 0


def _swapped(rawmode: str) -> str | None:
    """The raw mode that takes the other byte of every sample; None for those of 8 bits."""
    for end in (rawmode, rawmode.rpartition(";")[2]):
        if end in _SWAPPED:
            return rawmode.removesuffix(end) + _SWAPPED[end]
    return None


def _low_bytes(again: Callable[[], ImageFile], rawmode: str) -> NDArray[np.uint16]:
    """The other byte of every sample."""
    image, swapped = again(), _swapped(rawmode) or ""
    image.tile = [tile._replace(args=_with(tile.args, swapped)) for tile in image.tile]
    try:
        image.load()
    except (ValueError, KeyError, OSError, SystemError) as error:
        raise UnknownRangeError(
            f"its largest level is below {_BRIGHT:,} of {FULL:,}, as of a camera with fewer bits,"
            " and of such a file only the high bytes can be read; save it as a PNG of 16 bits"
        ) from error
    return np.asarray(image).astype(np.uint16)


def _with(args: Any, rawmode: str) -> Any:  # noqa: ANN401 - Pillow's own
    return (rawmode, *args[1:]) if isinstance(args, tuple | list) else rawmode


def _scaled(
    levels: NDArray[Any], white: int | None, *, spread: bool = False, inverted: bool = False
) -> NDArray[np.uint8]:
    """Levels from 0 to 255; `spread`: what states fewer bits may be written scaled to all 16."""
    smallest, largest = float(levels.min()), float(levels.max())
    if levels.dtype == np.uint16 and (white is None or (spread and white < largest)):
        white = FULL if largest >= _BRIGHT else None
    if white is None:
        raise UnknownRangeError(
            f"its pixels have no defined range: the largest level is {largest:g}, and whether that"
            " is dark or the white of a camera with fewer bits the file does not say; say it with"
            " `pillqc --bits 12 ...`, or write TIFF's MaxSampleValue or PNG's sBIT"
        )
    if not 0 <= smallest <= largest <= white:
        raise UnknownRangeError(f"its levels go from {smallest:g} to {largest:g}, not 0 to {white}")
    shallow = levels.astype(np.float32) * np.float32(255 / white)
    shallow = 255 - shallow if inverted else shallow
    eight: NDArray[np.uint8] = shallow.round().astype(np.uint8)
    return eight
