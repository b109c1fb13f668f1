"""Vary how a pill is seen: pose, lamp, table, camera, and products that are not the default one.

    design, setting = seen("varied", image_seed, defect, design)

The real fixture is fixed: one pose, one lamp, one camera (`MEASURED`). A model that saw nothing
else takes every other light for a defect. So the settings `varied` show half of the pills as
measured, a quarter of them in other poses, lights and cameras, and a quarter of other products.
`unseen` is kept out of every training, to see how far what was learnt carries: tablets on a bright,
brushed belt, lit from the left.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from pillqc.rendering.design import Colour, PillDesign
from pillqc.rendering.imprint import GLYPHS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETTINGS: Final = ("measured", "varied", "unseen")
OWN_PRODUCTS: Final = SETTINGS[2]
"""The setting that shows other products in place of the one that is given."""
PILL_TYPE: Final = "pill_type"
"""The defect of a pill that is another product: no other product can have it."""
_AS_MEASURED: Final = 0.5
"""Share of the pills of `varied` that are seen as measured."""
_OTHER_PRODUCTS: Final = 0.5
"""Share of other products among the rest."""
_LEFT: Final = (math.radians(50.0), math.radians(130.0))
"""Turns of the lamp to the left, of which only `unseen` has any."""
_LIGHTNESS: Final = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """The light on a pill; 1 is as measured."""

    turn: float = 0.0
    """Radians from the top, to the left."""
    strength: float = 1.0
    """How much lighter the side of the lamp is, and how strong the shades of walls."""
    dome: float = 1.0
    """How much darker the rim is than the middle."""
    shine: float = 0.0
    """Grey levels of a highlight."""
    shadow: float = 0.0
    """Share of its light that the table loses beside the pill."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Lens and sensor; 1 is as measured."""

    blur: float = 1.0
    noise: float = 1.0
    gain: Colour = (1.0, 1.0, 1.0)
    """Of red, green and blue."""
    jpeg: int = 0
    """Quality of the compression; 0: none."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What the pill lies on."""

    lighter: Colour = (0.0, 0.0, 0.0)
    """Grey levels to add to the measured dark one."""
    brushed: float = 0.0
    """Grey levels by which its rows differ."""
    grain: float = 0.0
    """Grey levels by which its points differ."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a pill is seen."""

    shift: tuple[float, float] = (0.0, 0.0)
    """Of the centre, in shares of the image's side."""
    turn: float = 0.0
    """Of the pill, in radians."""
    zoom: float = 1.0
    letters: float = 1.0
    """Size of the letters, relative to those of the default product."""
    depth: float = 1.0
    """Depth of the imprint, relative to the measured one."""
    ink: float = 0.0
    """Grey levels by which printed letters are darker."""
    grain: float = 1.0
    """How uneven the surface is, relative to the measured coating."""
    scored: bool = False
    """Whether a line to break the pill by runs through its middle."""
    fibres: float = 0.0
    """Share of foreign particles that are fibres."""
    known_imprint: bool = True
    """Whether a wrong or a missing letter is a defect: only of a product that the model knows."""
    lamp: Lamp = field(default_factory=Lamp)
    table: Table = field(default_factory=Table)
    camera: Camera = field(default_factory=Camera)


MEASURED: Final = Setting()
"""The fixture of the photographs that the renderer was measured on."""


def seen(name: str, seed: int, defect: str, design: PillDesign) -> tuple[PillDesign, Setting]:
    """Return which product an image shows and how, in one of the `SETTINGS`.

    The same arguments give the same ones. Pictures of another product (`pill_type`) are always of
    something that is not `design`, so no further product is drawn for them.
    """
    if name == "measured":
        return design, MEASURED
    rng = np.random.default_rng((seed, 1))
    if name == OWN_PRODUCTS:
        return _tablet(rng), _on_a_belt(rng)
    if rng.uniform() < _AS_MEASURED:
        return design, MEASURED
    setting = _elsewhere(rng)
    if rng.uniform() >= _OTHER_PRODUCTS or defect == PILL_TYPE:
        return design, setting
    product = _other_product(rng)
    if rng.uniform() < 0.3:  # printed, not pressed
        setting = replace(setting, depth=rng.uniform(0.0, 0.3), ink=rng.uniform(30.0, 90.0))
    return product, replace(
        setting,
        letters=rng.uniform(0.45, 1.0),
        scored=bool(rng.uniform() < 0.3),
        known_imprint=False,
        table=_apart(rng, setting.table, product),
    )


def _elsewhere(rng: np.random.Generator) -> Setting:
    """Return another pose, lamp, table and camera; some of each stay as measured."""
    lamp = Lamp(
        turn=_outside(rng, _LEFT),
        strength=math.exp(rng.uniform(-1.0, 1.0)),
        dome=rng.uniform(0.3, 2.2),
        shine=rng.uniform(10.0, 50.0) if rng.uniform() < 0.4 else 0.0,
        shadow=rng.uniform(0.0, 0.6),
    )
    table = Table(grain=rng.uniform(0.0, 3.0))
    if rng.uniform() < 0.7:
        level = rng.uniform(0.0, 220.0)
        table = replace(table, lighter=_tinted(rng, level, 15.0))
    brightness = math.exp(rng.uniform(-0.35, 0.30))
    camera = Camera(
        blur=math.exp(rng.uniform(-0.7, 0.9)),
        noise=math.exp(rng.uniform(-0.5, 2.3)),
        gain=_gain(brightness * np.exp(rng.normal(0.0, 0.05, 3))),
        jpeg=int(rng.integers(70, 97)) if rng.uniform() < 0.5 else 0,
    )
    wide = rng.uniform() < 0.3
    return Setting(
        shift=_pair(rng.uniform(-0.04, 0.04, 2)),
        turn=float(rng.uniform(-math.pi, math.pi) if wide else rng.normal(0.0, 0.08)),
        zoom=rng.uniform(0.75, 1.08),
        depth=rng.uniform(0.6, 1.6),
        grain=math.exp(rng.uniform(-0.5, 1.2)),
        fibres=0.4,
        lamp=lamp,
        table=table,
        camera=camera,
    )


def _other_product(rng: np.random.Generator) -> PillDesign:
    """Return a product that cannot be taken for the default one: of another shape or colour."""
    kind = rng.choice(["round", "capsule", "oval"])
    if kind == "round":
        radius = rng.uniform(0.26, 0.42)
        axes = (radius, radius * rng.uniform(0.97, 1.0))
    elif kind == "capsule":
        axes = (rng.uniform(0.36, 0.45), rng.uniform(0.14, 0.24))
    else:
        axes = (rng.uniform(0.34, 0.44), rng.uniform(0.20, 0.31))
    pale = kind != "oval" and rng.uniform() < 0.5
    shade = rng.uniform(0.0, 0.12) if pale else rng.uniform(0.2, 0.75)
    body = _hue(rng.uniform(), shade, rng.uniform(0.55, 1.0), 200.0)
    least = int(rng.choice([0, 0, 5, 15, 30]))
    darker = [tuple(part * rng.uniform(0.3, 0.95) for part in body) for _ in range(4)]
    return PillDesign(
        colour=body,
        semi_axes=axes,
        shape="capsule" if kind == "capsule" else "oval",
        imprint=_letters(rng),
        specks=(least, least + 12),
        speck_colours=tuple((red, green, blue) for red, green, blue in darker),
    )


def _tablet(rng: np.random.Generator) -> PillDesign:
    radius = rng.uniform(0.33, 0.37)
    body = _hue(rng.uniform(0.08, 0.18), rng.uniform(0.25, 0.5), 0.95, 200.0)
    specks = tuple(_hue(rng.uniform(0.05, 0.15), 0.4, rng.uniform(0.5, 0.8), 200.0) for _ in "abc")
    return PillDesign(
        colour=body,
        semi_axes=(radius, radius),
        imprint=_letters(rng),
        specks=(5, 20),
        speck_colours=specks,
    )


def _on_a_belt(rng: np.random.Generator) -> Setting:
    lamp = Lamp(
        turn=rng.uniform(*_LEFT),
        strength=rng.uniform(1.2, 2.2),
        dome=rng.uniform(1.0, 2.0),
        shine=rng.uniform(15.0, 40.0),
        shadow=rng.uniform(0.2, 0.5),
    )
    table = Table(lighter=_tinted(rng, 130.0, 8.0), brushed=rng.uniform(3.0, 8.0), grain=2.0)
    return Setting(
        shift=_pair(rng.uniform(-0.02, 0.02, 2)),
        turn=float(rng.normal(0.0, 0.08)),
        letters=rng.uniform(0.5, 0.9),
        depth=rng.uniform(0.8, 1.4),
        grain=rng.uniform(1.0, 2.5),
        scored=bool(rng.uniform() < 0.5),
        fibres=0.5,
        known_imprint=False,
        lamp=lamp,
        table=table,
        camera=Camera(blur=rng.uniform(1.0, 1.8), noise=rng.uniform(3.0, 7.0), jpeg=88),
    )


def _apart(rng: np.random.Generator, table: Table, product: PillDesign) -> Table:
    """Return the table, made dark or bright where a pill of this colour could not be seen on it."""
    light = float(_LIGHTNESS @ np.asarray(product.colour))
    if abs(float(_LIGHTNESS @ np.asarray(table.lighter)) + 18.0 - light) > 40.0:
        return table
    return replace(table, lighter=_tinted(rng, 5.0 if light > 110.0 else 215.0, 8.0))


def _outside(rng: np.random.Generator, sector: tuple[float, float]) -> float:
    """Return an angle from 0 to 2 pi that does not lie in the sector."""
    low, high = sector
    return float((high + rng.uniform(0.0, 2.0 * math.pi - (high - low))) % (2.0 * math.pi))


def _hue(hue: float, saturation: float, value: float, white: float) -> Colour:
    red, green, blue = (white * part for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _tinted(rng: np.random.Generator, level: float, spread: float) -> Colour:
    red, green, blue = (max(level + part, 0.0) for part in rng.normal(0.0, spread, 3))
    return red, green, blue


def _gain(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _letters(rng: np.random.Generator) -> str:
    return "".join(rng.choice(sorted(GLYPHS), size=int(rng.integers(2, 4))))
