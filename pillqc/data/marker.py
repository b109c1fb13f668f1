"""Mark and recognise pillqc's own output, which is not input: pictures, and tables of results.

save_drawing(image, folder / "gallery.png")
is_drawing(folder / "gallery.png")     # True, whatever the file is called later
"""

from __future__ import annotations

import io
import os
import re
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

MARK: Final = "drawn by pillqc, not a photograph"
"""A comment at the start of every picture that pillqc draws."""
_HEAD_BYTES: Final = 4096
DRAWN: Final = "pictures that pillqc drew itself, left out"
RESULTS: Final = "results that pillqc wrote itself, left out"
_FIRST_LINE: Final = re.compile(
    rb'path,decision,probability_bad,|\{"images": \d+, "inspection": "|'
    rb'\{"path": ".*", "decision": "'
)
"""Of `inspect --csv`, of a shard, and of `inspect --json`."""


def is_drawing(path: Path) -> bool:
    """Return whether the file carries the mark; False for a file that cannot be opened."""
    return MARK.encode() in _head(path)


def own_output(path: Path) -> str | None:
    """Return which kind of pillqc's output the file is, `DRAWN` or `RESULTS`; None for others."""
    head = _head(path)
    if MARK.encode() in head:
        return RESULTS if path.suffix.lower() == ".html" else DRAWN
    is_table = path.suffix.lower() in (".csv", ".jsonl", ".json")
    return RESULTS if is_table and _FIRST_LINE.match(head) else None


def encode_marked(image: Image.Image, kind: str) -> bytes:
    """Encode an image as `PNG` or `JPEG`, with the mark."""
    from PIL import PngImagePlugin

    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", MARK)
    content = io.BytesIO()
    options = {"pnginfo": about, "comment": MARK.encode(), "quality": 85, "compress_level": 3}
    image.save(content, kind, **options)
    return content.getvalue()


def save_drawing(image: Image.Image, path: Path) -> None:
    """Save with the mark, as JPEG if the name says so, else as PNG; the whole file or none."""
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    write_whole(path, encode_marked(image, "JPEG" if is_jpeg else "PNG"))


def write_whole(path: Path, content: bytes) -> None:
    """Write to another name and rename, so that no reader of the folder finds half a file."""
    partial = _partial(path)
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def try_to_write(path: Path) -> None:
    """Make and remove a file beside `path`, which stays as it is; an OSError says why not."""
    partial = _partial(path)
    partial.touch()
    partial.unlink()


def _partial(path: Path) -> Path:
    digest = zlib.crc32(path.name.encode(errors="replace"))
    return path.with_name(f".pillqc-{digest:x}-{os.getpid()}")


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():  # reading a pipe would block
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""
