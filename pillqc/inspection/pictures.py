"""Pictures for people: an inspected pill with its heat map and boxes.

Album(Path("marked")).add(result)
"""

from __future__ import annotations

import hashlib
import os
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw

from pillqc.data.decoding_process import read_image
from pillqc.data.marker import save_drawing
from pillqc.errors import DataError, PillqcError

if TYPE_CHECKING:
    from pathlib import Path

    from pillqc.inspection.inspector import Inspection

_COLOURS: Final = {"good": (40, 170, 80), "bad": (220, 40, 40), "undecided": (230, 160, 20)}
_STRONGEST: Final = 0.6
"""Opacity of the hottest pixel: the pill stays visible beneath."""
_EDGE: Final = 6
"""Around the text under a picture, in pixels."""
_COLUMNS: Final = 72
_LONGEST: Final = 200
"""Bytes of a picture's name before its hash; most file systems take 255 in all."""


class Album:
    """Writes one picture for each inspected file; no folder, no pictures.

    A name is the file's own with its folder's and a few letters of the hash of its whole path, so
    that names do not clash and nothing need be remembered of millions of files.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise PillqcError(f"{folder}: cannot be written ({error.strerror})") from error

    def add(self, result: Inspection) -> Inspection:
        """Draw and save a picture, and give the result back, with the reason where there is none.

        A file without a decision has no picture; one that has gone since keeps its decision.
        """
        if self._folder is None or result.heat is None:
            return result
        path = self._folder / picture_name(result.path)
        try:
            save_drawing(draw(result), path)
        except DataError as error:
            return replace(result, picture_error=error.reason)
        except OSError as error:
            return replace(result, picture_error=f"cannot be written ({error.strerror or error})")
        return result


def picture_name(path: Path) -> str:
    """What the picture of an inspected file is called: printable, and not too long for any disk."""
    digest = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    name = "".join(c if c.isprintable() else "_" for c in f"{path.parent.name}-{path.stem}")
    return f"{name.encode()[:_LONGEST].decode(errors='ignore')}-{digest[:6]}.png"


def draw(result: Inspection) -> Image.Image:
    """The photograph with its boxes, and beside it with its heat map, above lines of text."""
    photo = read_image(result.path)
    colour = _COLOURS.get(result.decision, (128, 128, 128))
    marked = photo.copy()
    pen = ImageDraw.Draw(marked)
    for box in result.boxes:
        edges = (box.left, box.top, max(box.right - 1, box.left), max(box.bottom - 1, box.top))
        pen.rectangle(edges, outline=colour, width=max(photo.width // 150, 1))
    text = "\n".join(_told(result)).encode("ascii", "backslashreplace").decode()
    _, _, width, height = pen.multiline_textbbox((_EDGE, _EDGE), text)
    size = (max(2 * photo.width, int(width) + _EDGE), photo.height + int(height) + _EDGE)
    picture = Image.new("RGB", size, (255, 255, 255))
    picture.paste(marked, (0, 0))
    picture.paste(_heated(photo, result), (photo.width, 0))
    ImageDraw.Draw(picture).multiline_text((_EDGE, photo.height + _EDGE), text, fill=colour)
    return picture


def _told(result: Inspection) -> list[str]:
    lines = [f"{result.decision}, probability of bad {result.probability_bad:.3f}"]
    lines += [str(result.terms)] if result.terms else []
    lines += [f"unlike all that the model knows: {result.unlike}"] if result.unlike else []
    return [part for line in lines for part in textwrap.wrap(line, _COLUMNS)]


def _heated(photo: Image.Image, result: Inspection) -> Image.Image:
    heat = np.asarray(
        Image.fromarray(np.asarray(result.heat, np.float32)).resize(
            photo.size, Image.Resampling.BILINEAR
        )
    ).clip(0.0, 1.0)
    from matplotlib import colormaps  # here, so that who draws nothing need not have it

    colours = np.asarray(colormaps["inferno"](heat))[..., :3] * 255.0
    alpha = (heat * _STRONGEST)[..., None]
    mixed = np.asarray(photo, np.float64) * (1.0 - alpha) + colours * alpha
    return Image.fromarray(mixed.round().astype(np.uint8))
