"""How pillqc knows its own pictures again: heat maps, galleries and figures are no photographs.

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


def save_drawing(image: Image.Image, path: Path) -> None:
    """Save as the suffix says, PNG or JPEG, with the mark, whole or not at all."""
    from PIL import Image, PngImagePlugin

    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", MARK)
    content = io.BytesIO()
    kind = Image.registered_extensions()[path.suffix.lower()]
    image.save(content, kind, pnginfo=about, comment=MARK.encode(), quality=85)
    write_whole(path, content.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file first: whoever walks the folder meanwhile never meets half of it."""
    partial = path.with_name(f".{zlib.crc32(path.name.encode(errors='replace')):x}-{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
