"""Draw inspected pills with heat map and boxes.

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

from pillqc.data.decoding import TOO_LARGE
from pillqc.data.decoding_process import read_image
from pillqc.data.marker import save_drawing
from pillqc.errors import DataError, writing
from pillqc.inspection.inspector import likely_defects

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.inspection.inspector import Inspection

_COLOURS: Final = {"good": (40, 170, 80), "bad": (220, 40, 40), "undecided": (230, 160, 20)}
_STRONGEST: Final = 0.6
"""Opacity of the hottest pixel: the pill stays visible beneath."""
_EDGE: Final = 6
"""Margin of the text under a picture, in pixels."""
_COLUMNS: Final = 72
_LONGEST_SIDE: Final = 2048
"""Pixels of a photograph in a picture: drawing takes some 100 bytes a pixel, and people look at it
on a screen."""
_LONGEST: Final = 200
"""Bytes of a picture's name before its hash; most file systems allow 255 in all."""


class Album:
    """Writes one picture for each inspected file; without a folder none.

    A name consists of the file's folder, its name and a few letters of the hash of its path: names
    differ without a list of all files in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            with writing(folder):
                folder.mkdir(exist_ok=True)

    def add(self, result: Inspection) -> Inspection:
        """Save a picture; return the result, with the reason if the picture cannot be saved.

        A file without a decision gets no picture. A file that was deleted keeps its decision.
        """
        if self._folder is None or result.heat is None:
            return result
        path = self._folder / picture_name(result.path)
        try:
            save_drawing(draw(result), path)
        except DataError as error:
            return replace(result, picture_error=error.reason)
        except MemoryError:
            return replace(result, picture_error=TOO_LARGE)
        except OSError as error:
            return replace(result, picture_error=f"cannot be written ({error.strerror or error})")
        return result


def picture_name(path: Path) -> str:
    """Return the name of a file's picture: printable, and short enough for any file system."""
    path = path.parent.resolve() / path.name  # so that `.` and `..` have names
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    name = "".join(c if c.isprintable() else "_" for c in f"{path.parent.name}-{path.stem}")
    name = name.lstrip(".-")  # else hidden, or taken for an option
    return f"{name.encode()[:_LONGEST].decode(errors='ignore')}-{digest[:6]}.png"


def draw(result: Inspection) -> Image.Image:
    """Draw the photograph with boxes, beside it the heat map, and lines of text below.

    A large photograph is drawn smaller. For a pill that is not good, the map of the most likely
    defect is the third picture, if the model names defects.
    """
    photo = read_image(result.path)
    columns, rows = photo.size
    photo.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    colour = _COLOURS.get(result.decision, (128, 128, 128))
    marked = photo.copy()
    pen = ImageDraw.Draw(marked)
    for whole in result.boxes:
        box = whole.scaled(photo.width / columns, photo.height / rows)
        edges = (box.left, box.top, max(box.right - 1, box.left), max(box.bottom - 1, box.top))
        pen.rectangle(edges, outline=colour, width=max(photo.width // 150, 1))
    text = "\n".join(_text_lines(result)).encode("ascii", "backslashreplace").decode()
    _, _, width, height = pen.multiline_textbbox((_EDGE, _EDGE), text)
    maps = [np.asarray(result.heat, np.float32)]
    if result.decision != "good":
        maps += list(result.defect_heat.values())[:1]
    parts = [marked, *(_heated(photo, heat) for heat in maps)]
    size = (max(len(parts) * photo.width, int(width) + _EDGE), photo.height + int(height) + _EDGE)
    picture = Image.new("RGB", size, (255, 255, 255))
    for number, part in enumerate(parts):
        picture.paste(part, (number * photo.width, 0))
    ImageDraw.Draw(picture).multiline_text((_EDGE, photo.height + _EDGE), text, fill=colour)
    return picture


def _text_lines(result: Inspection) -> list[str]:
    lines = [f"{result.decision}, probability of bad {result.probability_bad:.3f}"]
    if result.defects and result.decision != "good":
        lines.append(f"most likely {likely_defects(result.defects)}; its map is on the right")
    lines += [str(result.terms)] if result.terms else []
    lines += [f"unlike all that the model knows: {result.unlike}"] if result.unlike else []
    return [part for line in lines for part in textwrap.wrap(line, _COLUMNS)]


def _heated(photo: Image.Image, values: NDArray[np.float32]) -> Image.Image:
    """Return the photograph with a map (size, size) over it."""
    resized = Image.fromarray(values).resize(photo.size, Image.Resampling.BILINEAR)
    heat = np.asarray(resized).clip(0.0, 1.0)
    from matplotlib import colormaps  # slow to import, and only needed for pictures

    colours = np.asarray(colormaps["inferno"](heat))[..., :3] * 255.0
    alpha = (heat * _STRONGEST)[..., None]
    mixed = np.asarray(photo, np.float64) * (1.0 - alpha) + colours * alpha
    return Image.fromarray(mixed.round().astype(np.uint8))
