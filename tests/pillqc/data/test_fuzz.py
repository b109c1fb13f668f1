"""Whatever decoding raises is that file's error: damaged files of every format that is opened.

    PILLQC_FUZZ_FILES=50000 PILLQC_FUZZ_SEED=7 python -m pytest -n 0 -s
    tests/pillqc/data/test_fuzz.py

Bytes flipped and cut off, and structure that checksums vouch for: chunks of PNG too short for what
they should hold, and EXIF and TIFF entries of any type, count and offset.
"""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, features

from pillqc.data.decoding import FORMATS
from pillqc.data.decoding_process import Decoder
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = int(os.environ.get("PILLQC_FUZZ_FILES", "600"))
SEED = int(os.environ.get("PILLQC_FUZZ_SEED", "0"))
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
PHOTO = Image.fromarray(PIXELS)
OPTIONAL = {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}
BYTE_ORDER = ">"


def saved(kind: str, image: Image.Image = PHOTO, **how: Any) -> bytes:
    """A file that Pillow writes."""
    file = io.BytesIO()
    image.copy().save(file, kind, **how)  # a copy: Pillow keeps its settings in the image
    return file.getvalue()


def psd() -> bytes:
    """One that it does not: 24 x 32, RGB, raw."""
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 24, 32, 8, 3)
    return head + bytes(12) + b"\0\0" + PIXELS.transpose(2, 0, 1).tobytes()


def sun() -> bytes:
    """Nor this one."""
    return struct.pack(">8I", 0x59A66A95, 32, 24, 24, PIXELS.size, 1, 0, 0) + PIXELS.tobytes()


def exif(rng: random.Random, order: str = BYTE_ORDER) -> bytes:
    """A directory of entries of any type, count and offset; orientation and sub-directories first.

    As a TIFF file begins, and as an EXIF block does behind its six bytes.
    """
    tags = [0x0112, 0x8769, 0x8825, 0xA005, 0x0100, 0x011A, 0x9286, rng.randrange(65536)]
    entries = b"".join(
        struct.pack(
            f"{order}HHII",
            tag,
            rng.randrange(15),
            rng.choice([0, 1, 1, 2, 3, 5, 2**31, 2**32 - 1]),
            rng.choice([0, 1, 6, 8, 60, 2**16, 2**32 - 1]),
        )
        for tag in rng.sample(tags, rng.randrange(1, len(tags)))
    )
    cut = entries[: len(entries) - rng.choice([0, 0, 0, 1, 5, 11])]
    return struct.pack(f"{order}2sHIH", b"MM", 42, 8, len(entries) // 12) + cut


def jpeg_with_exif(rng: random.Random) -> bytes:
    """A JPEG whose EXIF block holds anything."""
    body, block = saved("JPEG"), b"Exif\0\0" + exif(rng)
    return body[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + body[2:]


def png_with_chunk(rng: random.Random) -> bytes:
    """A PNG with one more chunk, sound by its checksum, of any length."""
    kinds = (
        "tRNS PLTE gAMA cHRM iCCP pHYs sRGB tEXt zTXt iTXt eXIf acTL fcTL fdAT sBIT IDAT IHDR tIME"
    )
    kind = rng.choice(kinds.split()).encode()
    content = exif(rng) if kind == b"eXIf" else rng.randbytes(rng.choice([0, 1, 2, 3, 5, 8, 26]))
    chunk = kind + content
    whole = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    body = saved("PNG", rng.choice([PHOTO, PHOTO.convert("P"), PHOTO.convert("L")]))
    at = rng.choice([33, len(body) - 12, 8])  # behind the header, before the end, first
    return body[:at] + whole + body[at:]


def tiff_with_entry(rng: random.Random) -> bytes:
    """A TIFF of which some entries say something else."""
    body = bytearray(
        saved("TIFF", compression=rng.choice([None, "tiff_lzw", "jpeg", "tiff_deflate"]))
    )
    start = struct.unpack("<I", body[4:8])[0]
    count = struct.unpack("<H", body[start : start + 2])[0]
    for _ in range(rng.randrange(1, 4)):
        at = start + 2 + 12 * rng.randrange(count) + rng.choice([0, 2, 4, 8])
        body[at : at + 2] = struct.pack("<H", rng.choice([0, 1, 3, 5, 12, 0x0112, 0x8769, 65535]))
    return bytes(body)


def seeds() -> dict[str, list[bytes]]:
    """Whole files of every format that pillqc opens, as far as this Pillow can."""

    def frames() -> dict[str, Any]:
        return {"save_all": True, "append_images": [PHOTO.rotate(90)]}

    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    made: dict[str, Callable[[], list[bytes]]] = {
        "PNG": lambda: [saved("PNG"), saved("PNG", deep), saved("PNG", **frames())],
        "JPEG": lambda: [saved("JPEG"), saved("JPEG", PHOTO.convert("CMYK"), progressive=True)],
        "TIFF": lambda: [
            *(saved("TIFF", compression=way) for way in (None, "tiff_lzw", "jpeg", "packbits")),
            *(saved("TIFF", deep), saved("TIFF", **frames())),
        ],
        "WEBP": lambda: [saved("WEBP"), saved("WEBP", lossless=True), saved("WEBP", **frames())],
        "AVIF": lambda: [saved("AVIF", speed=10)],
        "GIF": lambda: [saved("GIF"), saved("GIF", **frames())],
        "MPO": lambda: [saved("MPO", **frames())],
        "JPEG2000": lambda: [saved("JPEG2000"), saved("JPEG2000", no_jp2=True)],
        "PPM": lambda: [saved("PPM"), saved("PPM", deep), b"P3 1 1 4095 1 2 3\n"],
        "SGI": lambda: [saved("SGI"), saved("SGI", bpc=2)],
        "TGA": lambda: [saved("TGA"), saved("TGA", compression="tga_rle")],
        "PSD": lambda: [psd()],
        "SUN": lambda: [sun()],
    }
    here = [kind for kind in FORMATS if features.check(OPTIONAL.get(kind, "zlib"))]
    return {kind: made.get(kind, lambda kind=kind: [saved(kind)])() for kind in here}


def damaged(body: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, most of them near the front, or the end cut off, or both."""
    changed = bytearray(body)
    for _ in range(rng.choice([0, 1, 2, 8, 32])):
        place = int(len(changed) * rng.random() ** rng.choice([1, 4]))
        changed[place] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(changed[: rng.randrange(len(changed)) if rng.random() < 0.3 else None])


def test_whole_files_of_every_format_are_read(tmp_path: Path) -> None:
    """What is fuzzed is sound before."""
    path, decoder = tmp_path / "x", Decoder()
    for kind, bodies in seeds().items():
        for number, body in enumerate(bodies):
            path.write_bytes(body)
            assert decoder.picture(path, 60.0).image.mode == "RGB", f"{kind} {number}"
    decoder.close()


@pytest.mark.timeout(max(300, FILES))
def test_damaged_files_are_data_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a picture, as a mask and for its layout: no other exception, and no lost process."""
    rng, path, decoder = random.Random(SEED), tmp_path / "x", Decoder()
    whole, outcomes, escaped = seeds(), Counter[str](), []
    kinds = [*whole, "EXIF", "chunks", "entries"]
    structured = {"EXIF": jpeg_with_exif, "chunks": png_with_chunk, "entries": tiff_with_entry}
    for number in range(FILES):
        kind = kinds[number % len(kinds)]
        make = structured.get(kind)
        body = make(rng) if make else damaged(rng.choice(whole[kind]), rng)
        path.write_bytes(body)
        try:
            decoder.request(("picture", "mask", "layout")[number % 3], path, 20.0)
            outcomes["read"] += 1
        except DataError as error:
            outcomes["refused"] += 1
            if "decoder crashed" in error.reason or "not decoded within" in error.reason:
                escaped.append((kind, number, error.reason))
    decoder.close()
    with capsys.disabled():
        print(f"\nfuzz: {FILES} files, {len(whole)} formats, seed {SEED}: {dict(outcomes)}")
    assert not escaped
    assert min(outcomes.values()) > FILES // 20, "nearly all files had one fate"
