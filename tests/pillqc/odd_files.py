"""Image files that people have, good and bad, by the functions that write them."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 48, 3)).astype(np.uint8)
PHOTO = Image.fromarray(PIXELS)


def truncated(path: Path) -> None:
    """Write the start of a PNG."""
    PHOTO.save(path, "PNG")
    path.write_bytes(path.read_bytes()[:2000])


def bomb(path: Path) -> None:
    """Write a small PNG that states 3,600 megapixels."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT" + bytes(100)))


def turned(path: Path) -> None:
    """Write a JPEG that its metadata turn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    PHOTO.save(path, "JPEG", exif=exif)


def in_mode(name: str) -> Callable[[Path], None]:
    """Return a writer of an image in another mode."""
    return lambda path: PHOTO.convert(name).save(path, "TIFF")


USABLE: dict[str, Callable[[Path], None]] = {
    "greyscale": in_mode("L"),
    "palette": in_mode("P"),
    "alpha": in_mode("RGBA"),
    "cmyk": in_mode("CMYK"),
    "sixteen_bit": lambda p: Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(p),
    "exif_rotated": turned,
    "two_frames": lambda p: PHOTO.save(p, "GIF", save_all=True, append_images=[PHOTO.rotate(90)]),
}
USELESS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncated, "truncated"),
    "bomb": (bomb, "megapixels"),
    "no_image": (lambda p: p.write_text("hello"), "not an image"),
    "empty": (lambda p: p.write_bytes(b""), "not an image"),
    "loop": (lambda p: p.symlink_to(p), "leads nowhere"),
    "pipe": (os.mkfifo, "not a regular file"),
}
