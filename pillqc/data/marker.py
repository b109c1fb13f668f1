"""Mark and recognise pillqc's own output, which is not input: pictures, and tables of results.

save_drawing(image, folder / "gallery.png")
is_drawing(folder / "gallery.png")     # True, whatever the file is called later
"""

from __future__ import annotations

import csv
import io
import os
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    return RESULTS if _FIRST_LINE.match(head) else None


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
    """Write to another name and rename, so that no reader of the folder finds half a file.

    A link stays a link. A pipe or a device takes the content; a file would replace it.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    partial = partial_name(path)
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def try_to_write(path: Path) -> None:
    """Make and remove a file beside `path`, which stays as it is; an OSError says why not."""
    partial = partial_name(path)
    partial.touch()
    partial.unlink()


def csv_line(values: Iterable[object]) -> str:
    r"""Return values as a line of CSV; `csv` quotes a `\r` in them only where lines end in one."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue()[:-2] + "\n"


def partial_name(path: Path) -> Path:
    """Return the name of a file while it is written; it is short, and no command looks at it."""
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
