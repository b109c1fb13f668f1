"""Cameras of 10 to 14 bits: the same pill in any depth is the same picture, or it is refused."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from pillqc.data.decoding import decode_picture
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

COLOURS = np.random.default_rng(1).integers(0, 256, (6, 7, 3)).astype(np.uint8)
COLOURS[0, 0] = 255
GREY = np.repeat(COLOURS[..., :1], 3, axis=2)
KINDS = {"grey": GREY, "colour": COLOURS}


def deep(pixels: NDArray[np.uint8], bits: int) -> NDArray[np.uint16]:
    """The same picture in more bits, at the low end of 16; grey where its colours are equal."""
    levels = np.rint(pixels.astype(np.float64) * ((1 << bits) - 1) / 255).astype(np.uint16)
    return levels[..., 0] if np.array_equal(pixels, GREY) else levels


def png(levels: NDArray[np.uint16], bits: int | None = None) -> bytes:
    """A PNG of 16 bits, grey or RGB, which states `bits` significant ones."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        sound = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + sound

    height, width = levels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if levels.ndim == 2 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    said = chunk(b"sBIT", bytes([bits] * (1 if levels.ndim == 2 else 3))) if bits else b""
    whole = chunk(b"IHDR", header) + said + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + whole + chunk(b"IEND", b"")


def tiff(levels: NDArray[np.uint16], largest: int | None = None, order: str = "<") -> bytes:
    """A TIFF of 16 bits, grey or RGB, in either byte order, which states its largest value."""
    height, width = levels.shape[:2]
    samples = 1 if levels.ndim == 2 else 3
    entries: dict[int, tuple[int, ...]] = {256: (width,), 257: (height,), 258: (16,) * samples}
    entries |= {259: (1,), 262: (1 if samples == 1 else 2,), 277: (samples,), 278: (height,)}
    entries |= {279: (levels.nbytes,)} | ({281: (largest,) * samples} if largest else {})
    after = 8 + 2 + 12 * (len(entries) + 1) + 4
    long = b"".join(struct.pack(f"{order}3H", *v) for v in entries.values() if len(v) == 3)
    entries[273] = (after + len(long),)
    table = b""
    for tag, values in sorted(entries.items()):
        if len(values) == 3:
            table += struct.pack(f"{order}HHII", tag, 3, 3, after)
            after += 6
        else:
            table += struct.pack(f"{order}HHIHH", tag, 3, 1, values[0], 0)
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    return head + table + bytes(4) + long + levels.astype(f"{order}u2").tobytes()


def pnm(levels: NDArray[np.uint16], largest: int) -> bytes:
    """A PGM or PPM, which must state its largest value."""
    height, width = levels.shape[:2]
    kind = "P5" if levels.ndim == 2 else "P6"
    return f"{kind} {width} {height} {largest}\n".encode() + levels.astype(">u2").tobytes()


def read(path: Path, body: bytes, bits: int | None = None) -> NDArray[Any]:
    """The pixels that the model sees."""
    path.write_bytes(body)
    return np.asarray(decode_picture(path, bits=bits).image).astype(int)


STATED: dict[str, Callable[[NDArray[np.uint16], int], bytes]] = {
    "png": png,
    "tiff": lambda levels, bits: tiff(levels, (1 << bits) - 1),
    "big_endian_tiff": lambda levels, bits: tiff(levels, (1 << bits) - 1, ">"),
    "pnm": lambda levels, bits: pnm(levels, (1 << bits) - 1),
}


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", STATED)
def test_the_stated_range_counts(tmp_path: Path, form: str, kind: str, bits: int) -> None:
    """The pixels are those of the same picture in 8 bits, low bytes of colours included."""
    pixels = read(tmp_path / "x", STATED[form](deep(KINDS[kind], bits), bits))
    assert np.abs(pixels - KINDS[kind]).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [png, tiff, lambda levels: tiff(levels, None, ">")])
def test_without_a_range_it_is_refused_with_its_largest_level_unless_the_user_says(
    tmp_path: Path, form: Callable[[NDArray[np.uint16]], bytes], kind: str
) -> None:
    """Nearly black it would be called bad, and brightened by a guess it would not be the same."""
    body = form(deep(KINDS[kind], 12))
    with pytest.raises(DataError, match=r"4095.*--bits 12"):
        read(tmp_path / "x", body)
    assert np.abs(read(tmp_path / "x", body, bits=12) - KINDS[kind]).max() <= 1
    with pytest.raises(DataError, match=r"4095.*1023"):
        read(tmp_path / "x", body, bits=10)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_sixteen_bits_are_as_they_were(tmp_path: Path, kind: str) -> None:
    """Also where PNG states fewer bits and, by its standard, scales them to all 16."""
    levels = deep(KINDS[kind], 16)
    bodies = (png(levels), png(levels, 12), tiff(levels), tiff(levels, None, ">"))
    for body in (*bodies, pnm(levels, 65_535)):
        assert np.abs(read(tmp_path / "x", body) - KINDS[kind]).max() <= 1


def test_a_picture_that_is_white_at_zero_is_turned(tmp_path: Path) -> None:
    """Pillow does so for 8 bits only."""
    body = bytearray(tiff(65_535 - deep(GREY, 16)))
    place = body.index(struct.pack("<HHIH", 262, 3, 1, 1))
    body[place + 8] = 0
    assert np.abs(read(tmp_path / "x", bytes(body)) - GREY).max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_32_bits_need_a_range(tmp_path: Path, dtype: type) -> None:
    """`bits` does not apply to them; a largest value of all ones does."""
    path = tmp_path / "x.tif"
    Image.fromarray(GREY[..., 0].astype(dtype)).save(path)
    for bits in (None, 12):
        with pytest.raises(DataError, match=r"range.* 255"):
            decode_picture(path, bits=bits)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 255
    Image.fromarray(GREY[..., 0].astype(dtype)).save(path, tiffinfo=tags)
    assert np.array_equal(np.asarray(decode_picture(path).image), GREY)


def test_planes_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    """Pillow reads each as a plane of 8 bits, which shows another picture."""
    body = bytearray(tiff(deep(COLOURS, 16)))
    place = body.index(struct.pack("<HHIH", 278, 3, 1, 6))  # rows a strip: one strip is the default
    body[place : place + 12] = struct.pack("<HHIHH", 284, 3, 1, 2, 0)
    place = body.index(struct.pack("<HH", 273, 3))
    strips, sizes = body.index(struct.pack("<HH", 273, 3)), body.index(struct.pack("<HH", 279, 3))
    plane, start = 6 * 7 * 2, struct.unpack_from("<H", body, place + 8)[0]
    for entry, numbers in ((strips, [start + n * plane for n in range(3)]), (sizes, [plane] * 3)):
        body[entry : entry + 12] = struct.pack(
            "<HHII", *struct.unpack_from("<HH", body, entry), 3, len(body)
        )
        body += struct.pack("<3H", *numbers)
    with pytest.raises(DataError, match="planes of 16 bits"):
        read(tmp_path / "x", bytes(body))
