"""Convert pixels of more than 8 bits to 8, by their white level.

    image = to_eight_bit(opened, file, reopen, bits=12)

A 12-bit camera usually writes 16-bit files, in which its white is 4,095 and not 65,535. The range
comes from the user or from the file (bits a sample, PNG's sBIT, TIFF's largest value, the maximum
of a PGM). Without one, a picture whose levels stay below a quarter of the 16 bits is refused: a
dark picture and a bright one of fewer bits cannot be distinguished.
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
"""Cameras of 14 bits or fewer do not reach this level."""
_BITS_PER_SAMPLE, _PHOTOMETRIC, _LARGEST, _SIGNED_LARGEST = 258, 262, 281, 341
_PPM: Final = "ppm"
_SWAPPED: Final = {
    "16B": "16L",
    "16L": "16B",
    "16N": "16B" if sys.byteorder == "little" else "16L",
    "L;16": "L;16B",
    "L;16B": "L;16",
}
"""Pillow keeps the high byte of a colour sample; the other byte order gives the low byte."""


class UnknownRangeError(Exception):
    """The levels or their white are unknown; the message says why."""


def to_eight_bit(
    image: ImageFile, file: BinaryIO, reopen: Callable[[], ImageFile], *, bits: int | None
) -> Image.Image:
    """Load the image and return it with 8 bits a channel, scaled by its range if it has more.

    Args:
        image: opened, not loaded yet.
        file: the file that it was opened from.
        reopen: opens the image once more.
        bits: the number of bits that the user states.

    Raises:
        UnknownRangeError: the range is neither stated nor evident.
    """
    rawmode, scaled = _encoding(image)
    if image.format == "TIFF" and rawmode == "R" and max(image.tag_v2[_BITS_PER_SAMPLE]) > 8:  # type: ignore[attr-defined]
        # Pillow reads such a plane as one of 8 bits
        raise UnknownRangeError("its colours lie in planes of 16 bits: save them pixel by pixel")
    white = FULL if scaled else (1 << bits) - 1 if bits else _stated(image, file)
    spread = image.format == "PNG" and not bits
    inverted = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]
    image.load()
    if image.mode.startswith(("I", "F")):
        levels = np.asarray(image)
        if image.mode.startswith("I") and image.format in ("PNG", "PPM"):
            levels = levels.astype(np.uint16)
        elif not image.mode.startswith("I;16") and bits:
            white = _stated(image, file)  # `bits` is about 16-bit files, not about 32 bits
        return Image.fromarray(_scaled(levels, white, spread=spread, inverted=inverted))
    if rawmode != _PPM and _swapped(rawmode) is None:
        return image
    colours = slice(3 if image.mode in ("RGBA", "RGBX", "RGBa") else None)
    high = np.asarray(image).astype(np.uint16)
    if white in (None, FULL) and int(high[..., colours].max()) >= _BRIGHT >> 8:
        return image
    levels = high << 8 | _low_bytes(reopen, rawmode)
    eight = (levels >> 8).astype(np.uint8)
    eight[..., colours] = _scaled(levels[..., colours], white, spread=spread)
    return Image.frombytes(image.mode, image.size, eight.tobytes())


def _encoding(image: ImageFile) -> tuple[str, bool]:
    """Return the raw mode of the pixels, and whether Pillow itself scales them to all bits."""
    if not image.tile:
        return "", False
    tile = image.tile[0]
    args = tile.args
    if tile.codec_name.startswith("ppm"):
        largest = int(args[1]) if isinstance(args, tuple) and len(args) > 1 else 255
        return (_PPM if largest == FULL else ""), largest < FULL
    return str(args[0] if isinstance(args, tuple | list) and args else args), False


def _stated(image: ImageFile, file: BinaryIO) -> int | None:
    """Return the white level that the file states, if any."""
    if image.format == "PNG":
        return _of_bits(_png_bits(file))
    if image.format != "TIFF":
        return None
    tags = image.tag_v2  # type: ignore[attr-defined]
    largest = tags.get(_SIGNED_LARGEST, tags.get(_LARGEST))
    values = largest if isinstance(largest, tuple) else (largest,)
    # many programs write the picture's largest level here; only a value of all ones is a range
    ranges = {(1 << n) - 1 for n in (1, *range(8, 33))}
    if values[0] in ranges and len(set(values)) == 1:
        return int(values[0])
    return _of_bits(max(tags.get(_BITS_PER_SAMPLE, (8,))))


def _of_bits(bits: int) -> int | None:
    return (1 << bits) - 1 if 8 < bits < 16 else None


def _png_bits(file: BinaryIO) -> int:
    """Return the largest number of significant bits that a PNG states; 0 without."""
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
    """Return the raw mode that reads the other byte of every sample; None for 8 bits."""
    for end in (rawmode, rawmode.rpartition(";")[2]):
        if end in _SWAPPED:
            return rawmode.removesuffix(end) + _SWAPPED[end]
    return None


def _low_bytes(reopen: Callable[[], ImageFile], rawmode: str) -> NDArray[np.uint16]:
    """Read the other byte of every sample."""
    image, swapped = reopen(), _swapped(rawmode) or ""
    image.tile = [tile._replace(args=_with(tile.args, swapped)) for tile in image.tile]
    try:
        image.load()
    except (ValueError, KeyError, OSError, SystemError) as error:
        raise UnknownRangeError(
            f"its largest level is below {_BRIGHT:,} of {FULL:,}, as from a camera with fewer bits,"
            " and only the high bytes of such a file can be read; save it as a 16-bit PNG"
        ) from error
    return np.asarray(image).astype(np.uint16)


def _with(args: Any, rawmode: str) -> Any:  # noqa: ANN401 - Pillow's own
    return (rawmode, *args[1:]) if isinstance(args, tuple | list) else rawmode


def _scaled(
    levels: NDArray[Any], white: int | None, *, spread: bool = False, inverted: bool = False
) -> NDArray[np.uint8]:
    """Scale levels to 0..255; `spread`: a file of fewer bits may be scaled to all 16 already."""
    smallest, largest = float(levels.min()), float(levels.max())
    if levels.itemsize == 2 and (white is None or (spread and white < largest)):
        white = FULL if largest >= _BRIGHT else None
    if white is None:
        raise UnknownRangeError(
            f"its pixels have no defined range: the largest level is {largest:g}, and the file does"
            " not state whether that is dark or the white of a camera with fewer bits; give"
            " `pillqc --bits 12 ...`, or write TIFF's MaxSampleValue or PNG's sBIT"
        )
    if not 0 <= smallest <= largest <= white:
        raise UnknownRangeError(f"its levels go from {smallest:g} to {largest:g}, not 0 to {white}")
    shallow = levels.astype(np.float32) * np.float32(255 / white)
    shallow = 255 - shallow if inverted else shallow
    eight: NDArray[np.uint8] = shallow.round().astype(np.uint8)
    return eight
