"""Embed pictures of the tutorial's parts as data URIs, so that the page loads nothing."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LARGEST_SIDE = 1000
"""Pixels; a page that is 1280 wide shows no more."""
_LARGEST_FILE = 40_000_000
_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture and its caption."""

    source: str
    """A data URI."""
    caption: str
    kind: str = ""
    """The file's name without its ending, if it is one of ours: the style sheet knows some."""


def pictures_in(
    folder: Path, captions: Mapping[str, str], *, most: int | None = None
) -> tuple[Picture, ...]:
    """Return the PNG files of a folder, those with captions first and in their order.

    Files of which there are too many, or that are no pictures, are left out.
    """
    found = sorted(folder.glob("*.png"))
    order = {name: place for place, name in enumerate(captions)}
    found.sort(key=lambda path: order.get(path.name, len(order)))
    step = max(1, len(found) // most) if most else 1
    chosen = found[::step][:most]
    made = ((path, _source(path)) for path in chosen)
    return tuple(
        Picture(
            source=source,
            caption=captions.get(path.name, path.stem.replace("_", " ")),
            kind=path.stem if path.name in captions else "",
        )
        for path, source in made
        if source
    )


def _source(path: Path) -> str:
    from PIL import Image

    try:
        if path.stat().st_size > _LARGEST_FILE:
            return ""
        with Image.open(path, formats=("PNG",)) as image:
            shown = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    shown.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
