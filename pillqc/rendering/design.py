"""What one product looks like; the default is measured on photographs of the real pill.

design = PillDesign(imprint="K7", colour=(205.0, 170.0, 160.0), shape="capsule")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

Colour: TypeAlias = tuple[float, float, float]
"""Red, green and blue in grey levels, 0 to 255."""

SHAPES: Final = {"oval": 2.0, "capsule": 3.4}
"""Exponents of the superellipse."""


@dataclass(frozen=True, kw_only=True)
class PillDesign:
    """A product: everything that is the same for all of its good pills."""

    colour: Colour = (174.0, 174.0, 173.0)
    semi_axes: tuple[float, float] = (0.432, 0.296)
    shape: str = "oval"
    imprint: str = "FF"
    """One to four letters or digits of `imprint.GLYPHS`."""
    specks: tuple[int, int] = (17, 24)
    """How many a good pill carries, at least and at most."""
    speck_colours: tuple[Colour, ...] = (
        (116.0, 58.0, 54.0),
        (140.0, 84.0, 78.0),
        (104.0, 74.0, 70.0),
        (112.0, 104.0, 100.0),
        (138.0, 108.0, 102.0),
    )


DEFAULT_DESIGN: Final = PillDesign()
