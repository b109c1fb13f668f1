"""Draw the strokes of letters, and the height map that they press into the surface.

strokes = imprint_strokes("FF", centre=(0.5, 0.5))
height = pressed(grid, strokes)      # 0 at the surface, -1 at the floor of a stroke
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pillqc.rendering.grid import Field, Grid, Segment, distance_to, extent, soft_step

if TYPE_CHECKING:
    from collections.abc import Sequence

STROKE_WIDTH: Final = 0.033
WALL_WIDTH: Final = 0.014
LETTER_HEIGHT: Final = 0.235
LETTER_WIDTH: Final = 0.125
PITCH: Final = 0.21
TOP: Final = -0.1145
"""Top of the letters, from the pill's centre: measured y .385 with the centre at .4995."""
SCORE_LINE: Final = -1
"""The index of a stroke that is no letter's: a line to break the pill by."""
_MIDDLE: Final = 0.42
"""Height of the middle arm in the letter: measured at y .484."""

# strokes in a unit box, x to the right, y down
GLYPHS: Final[dict[str, tuple[Segment, ...]]] = {
    "A": ((0, 1, 0.5, 0), (0.5, 0, 1, 1), (0.22, 0.6, 0.78, 0.6)),
    "C": ((1, 0, 0, 0.12), (0, 0.12, 0, 0.88), (0, 0.88, 1, 1)),
    "D": ((0, 0, 0, 1), (0, 0, 0.9, 0.25), (0.9, 0.25, 0.9, 0.75), (0.9, 0.75, 0, 1)),
    "E": ((0, 0, 0, 1), (0, 0, 1, 0), (0, _MIDDLE, 0.8, _MIDDLE), (0, 1, 1, 1)),
    "F": ((0, 0, 0, 1), (0, 0, 1, 0), (0, _MIDDLE, 0.8, _MIDDLE)),
    "H": ((0, 0, 0, 1), (1, 0, 1, 1), (0, 0.5, 1, 0.5)),
    "I": ((0.5, 0, 0.5, 1),),
    "K": ((0, 0, 0, 1), (1, 0, 0, 0.5), (0, 0.5, 1, 1)),
    "L": ((0, 0, 0, 1), (0, 1, 1, 1)),
    "M": ((0, 1, 0, 0), (0, 0, 0.5, 0.6), (0.5, 0.6, 1, 0), (1, 0, 1, 1)),
    "N": ((0, 1, 0, 0), (0, 0, 1, 1), (1, 1, 1, 0)),
    "P": ((0, 0, 0, 1), (0, 0, 1, 0.05), (1, 0.05, 1, 0.45), (1, 0.45, 0, 0.5)),
    "T": ((0, 0, 1, 0), (0.5, 0, 0.5, 1)),
    "V": ((0, 0, 0.5, 1), (0.5, 1, 1, 0)),
    "X": ((0, 0, 1, 1), (1, 0, 0, 1)),
    "Y": ((0, 0, 0.5, 0.5), (1, 0, 0.5, 0.5), (0.5, 0.5, 0.5, 1)),
    "Z": ((0, 0, 1, 0), (1, 0, 0, 1), (0, 1, 1, 1)),
    "0": ((0, 0, 1, 0), (1, 0, 1, 1), (1, 1, 0, 1), (0, 1, 0, 0)),
    "1": ((0.2, 0.2, 0.55, 0), (0.55, 0, 0.55, 1)),
    "2": ((0, 0, 1, 0), (1, 0, 1, 0.5), (1, 0.5, 0, 1), (0, 1, 1, 1)),
    "4": ((0.8, 1, 0.8, 0), (0.8, 0, 0, 0.7), (0, 0.7, 1, 0.7)),
    "7": ((0, 0, 1, 0), (1, 0, 0.35, 1)),
    "8": ((0, 0, 1, 0), (1, 0, 1, 1), (1, 1, 0, 1), (0, 1, 0, 0), (0, 0.5, 1, 0.5)),
}


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """One straight stroke of a letter."""

    letter: int
    """Index of the letter in the imprint."""
    segment: Segment
    depth: float = 1.0
    scale: float = 1.0
    """Of its width, relative to that of the default product's letters."""


def imprint_strokes(
    text: str, *, centre: tuple[float, float], angle: float = 0.0, scale: float = 1.0
) -> list[Stroke]:
    """Return the strokes of an imprint whose middle is at the pill's centre."""
    strokes = []
    left = -((len(text) - 1) * PITCH + LETTER_WIDTH) / 2.0 - 0.0025
    for index, letter in enumerate(text):
        x = left + index * PITCH
        for x0, y0, x1, y1 in GLYPHS[letter]:
            placed = (
                (x + x0 * LETTER_WIDTH) * scale,
                (TOP + y0 * LETTER_HEIGHT) * scale,
                (x + x1 * LETTER_WIDTH) * scale,
                (TOP + y1 * LETTER_HEIGHT) * scale,
            )
            segment = turned(placed, angle, centre)
            strokes.append(Stroke(letter=index, segment=segment, scale=scale))
    return strokes


def pressed(grid: Grid, strokes: Sequence[Stroke]) -> Field:
    """Return the height map of the strokes: 0 at the surface, -depth at the floor."""
    height = grid.zeros()
    for depth, scale in sorted({(stroke.depth, stroke.scale) for stroke in strokes}):
        segments = [s.segment for s in strokes if (s.depth, s.scale) == (depth, scale)]
        width, wall = STROKE_WIDTH * scale, WALL_WIDTH * scale
        window = grid.window(*extent(segments, width + wall))
        floor = soft_step(distance_to(grid, segments, window) - width / 2.0, wall)
        part = height[window]
        part[...] = np.minimum(part, -floor * np.float32(depth))
    return height


def turned(segment: Segment, angle: float, centre: tuple[float, float]) -> Segment:
    """Return a segment turned around (0, 0) and then moved to `centre`."""
    cos, sin = math.cos(angle), math.sin(angle)
    x0, y0, x1, y1 = segment
    return (
        centre[0] + x0 * cos - y0 * sin,
        centre[1] + x0 * sin + y0 * cos,
        centre[0] + x1 * cos - y1 * sin,
        centre[1] + x1 * sin + y1 * cos,
    )


def moved(segment: Segment, dx: float, dy: float) -> Segment:
    """Return a segment moved by (dx, dy)."""
    x0, y0, x1, y1 = segment
    return x0 + dx, y0 + dy, x1 + dx, y1 + dy
