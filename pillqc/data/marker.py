"""How pillqc knows its own pictures again: heat maps, figures and masks are no photographs.

save_drawing(image, folder / "gallery.png")
is_drawing(folder / "gallery.png")     # True, whatever the file is called later
"""

from __future__ import annotations

import io
import os
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

MARK: Final = "drawn by pillqc, not a photograph"
"""Stands as a comment in the head of every picture that pillqc draws."""
_HEAD_BYTES: Final = 4096


def is_drawing(path: Path) -> bool:
    """Whether the file carries the mark; what cannot be opened does not."""
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return False
        with path.open("rb") as file:
            return MARK.encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False


def encoded(image: Image.Image, kind: str) -> bytes:
    """The file, `PNG` or `JPEG`, with the mark."""
    from PIL import PngImagePlugin

    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", MARK)
    content = io.BytesIO()
    options = {"pnginfo": about, "comment": MARK.encode(), "quality": 85, "compress_level": 3}
    image.save(content, kind, **options)
    return content.getvalue()


def save_drawing(image: Image.Image, path: Path) -> None:
    """Save with the mark, as JPEG where its name says so, else as PNG; whole or not at all."""
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    write_whole(path, encoded(image, "JPEG" if is_jpeg else "PNG"))


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file first: whoever walks the folder meanwhile never meets half of it."""
    partial = path.with_name(f".{zlib.crc32(path.name.encode(errors='replace')):x}-{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
