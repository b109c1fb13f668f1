"""Draw SVG inside the page: a canvas, scales and data markers.

    canvas = Canvas("memory-w", (980, 380), "Peak memory", "Stock default: 760 MB")
    canvas.line(0, 10, 300, 10, stroke=MUTED)
    canvas.text(310, 14, "1,040 MB")
    canvas.markup()

Colours are the page's CSS variables, so dark mode and print need no second drawing. Texts are
escaped, and the same numbers give the same markup.
"""

from __future__ import annotations

import math
import textwrap
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from bench.text.wording import TIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDE, NARROW = 980, 330
"""Widths in CSS pixels of the drawing for a desktop and of the one for a phone."""

MUTED, GRID, PAPER = "var(--muted)", "var(--grid)", "var(--paper)"
INK, BAND = "var(--ink)", "var(--band)"
COLOURS = {"stock": "var(--stock)", "ipex": "var(--ipex)", "placebo": "var(--placebo)"}
"""Colours by backend."""

SHAPES = {
    "circle": "m-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "square": "m-4,-4h8v8h-8z",
    "up": "m0,-5l5,9h-10z",
    "down": "m0,5l5,-9h-10z",
    "diamond": "m0,-5l5,5l-5,5l-5,-5z",
    "left": "m-5,0l9,-5v10z",
    "right": "m5,0l-9,-5v10z",
}
"""Outlines of the data markers, relative to their centre."""


class Canvas:
    """One SVG drawing. Coordinates are CSS pixels from the upper left corner.

    `name` prefixes the drawing's ids and must not come from a file. Title and description are its
    text alternative.
    """

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        title: str,
        description: str,
        css_class: str = "drawing",
    ) -> None:
        self.name = name
        self.width, self.height = size
        self._root = ET.Element(
            "svg",
            {
                "class": css_class,
                "viewBox": f"0 0 {self.width} {self.height}",
                "role": "img",
                "aria-labelledby": f"{name}-title {name}-desc",
            },
        )
        self.add("title", id=f"{name}-title").text = title
        self.add("desc", id=f"{name}-desc").text = description

    @property
    def is_narrow(self) -> bool:
        """Whether this is the drawing for a phone."""
        return self.width == NARROW

    def add(self, tag: str, /, **attributes: str | float) -> ET.Element:
        """Add an element; `stroke_width=2` becomes `stroke-width="2"`."""
        return add_element(self._root, tag, **attributes)

    def line(self, x1: float, y1: float, x2: float, y2: float, **style: str | float) -> None:
        """Add a straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, **style)

    def rectangle(self, x1: float, y1: float, x2: float, y2: float, **style: str | float) -> None:
        """Add a rectangle between two opposite corners."""
        x, y = min(x1, x2), min(y1, y2)
        self.add("rect", x=x, y=y, width=abs(x2 - x1), height=abs(y2 - y1), **style)

    def text(self, x: float, y: float, words: str, **style: str | float) -> None:
        """Add a text whose middle line is at `y`."""
        self.add("text", x=x, y=y + 4, **style).text = words

    def marker(self, x: float, y: float, shape: str, colour: str, *, hollow: bool = False) -> None:
        """Add a data marker: one of `SHAPES`."""
        self.add(
            "path",
            class_=f"{shape} hollow" if hollow else shape,
            d=f"M{_spell(x)},{_spell(y)}{SHAPES[shape]}",
            fill=PAPER if hollow else colour,
            stroke=colour,
            stroke_width=1.5,
        )

    def markup(self) -> Markup:
        """Return the drawing as safe markup."""
        return Markup(ET.tostring(self._root, encoding="unicode"))  # noqa: S704 -- ET escapes


def add_element(parent: ET.Element, tag: str, /, **attributes: str | float) -> ET.Element:
    """Add an element to another one as `Canvas.add` does; empty attributes are left out."""
    named = {
        name.rstrip("_").replace("_", "-"): _spell(value)
        for name, value in attributes.items()
        if value != ""
    }
    return ET.SubElement(parent, tag, named)


def _spell(value: str | float) -> str:
    """Spell an attribute; a tenth of a pixel is enough."""
    return value if isinstance(value, str) else f"{round(value, 1):g}"


@dataclass(frozen=True)
class Scale:
    """Map values between `low` and `high` to pixels; values beyond land on the nearer end."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def has(self, value: float) -> bool:
        """Return whether the value lies on the scale."""
        return self.low <= value <= self.high


def round_ticks(highest: float, most: int = 8) -> list[float]:
    """Return up to `most` round numbers from 0, in equal steps, that reach towards `highest`."""
    power = 10.0 ** math.floor(math.log10(highest / most))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if highest / (size * power) <= most)
    return [number * step for number in range(math.floor(highest / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the numbers 1, 2 and 5 times a power of ten that enclose a range above 0."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    first = max(tick for tick in every if tick <= low)
    last = min(tick for tick in every if tick >= high and tick > first)
    return [tick for tick in every if first <= tick <= last]


_RATIOS = (
    *(0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20),
    *(0.3, 0.4, 0.6, 1.3, 1.4, 1.6, 1.8, 2.5, 4, 7, 50),
)
"""Round ratios, the preferred ones first."""


def ratio_ticks(low: float, high: float, most: int) -> list[float]:
    """Return up to about `most` round ratios on a logarithmic axis, 1 among them."""
    gap = math.log(high / low) / most
    ticks = [1.0]
    for ratio in _RATIOS:
        if low <= ratio <= high and all(abs(math.log(ratio / tick)) >= gap for tick in ticks):
            ticks.append(ratio)
    return sorted(ticks)


def spell_ratio(ratio: float) -> str:
    """Spell a tick of a ratio axis: `1.2x`."""
    return f"{ratio:g}{TIMES}"


def shorten(label: str, characters: int) -> str:
    """Cut a label that is too long at a word."""
    return textwrap.shorten(label, characters, placeholder="…")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One chart in two widths; the page shows the one that fits."""

    name: str
    caption: str
    wide: Markup
    narrow: Markup


def in_two_widths(
    name: str,
    words: Sequence[str],
    heights: tuple[int, int],
    paint: Callable[[Canvas], None],
) -> Drawing:
    """Paint a chart for a desktop and for a phone.

    `words` are its title, description and caption; `heights` those of the wide and the narrow one.
    """
    title, description, caption = words
    wide = Canvas(f"{name}-w", (WIDE, heights[0]), title, description)
    narrow = Canvas(f"{name}-n", (NARROW, heights[1]), title, description)
    for canvas in (wide, narrow):
        paint(canvas)
    return Drawing(name=name, caption=caption, wide=wide.markup(), narrow=narrow.markup())
