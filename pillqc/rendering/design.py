"""Set the look of a product; the default is measured on photographs of the real pill.

design = PillDesign(imprint="K7", colour=(205.0, 170.0, 160.0), shape="capsule")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

Colour: TypeAlias = tuple[float, float, float]
"""Red, green and blue in grey levels, 0 to 255."""

SHAPES: Final = {"oval": 2.0, "capsule": 3.4}
"""Exponents of the superellipse."""


def colours(text: str) -> tuple[Colour, ...]:
    """Return the colours of a text such as `d0b260 ce8e58`."""
    found = (tuple(map(float, bytes.fromhex(word))) for word in text.split())
    return tuple((red, green, blue) for red, green, blue in found)


@dataclass(frozen=True, kw_only=True)
class PillDesign:
    """Everything that all good pills of a product share."""

    colour: Colour = (174.0, 174.0, 173.0)
    semi_axes: tuple[float, float] = (0.432, 0.296)
    shape: str = "oval"
    imprint: str = "FF"
    """One to three characters of `imprint.GLYPHS`."""
    specks: tuple[int, int] = (17, 24)
    """The least and the most specks on a good pill."""
    speck_colours: tuple[Colour, ...] = colours("743a36 8c544e 684a46 706864 8a6c66")


DEFAULT_DESIGN: Final = PillDesign()
