"""Model the body of a pill, the light on it, and the specks that good pills have too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pillqc.rendering.design import SHAPES, PillDesign
from pillqc.rendering.grid import Field, Grid, blob, smooth_noise, soft_step

if TYPE_CHECKING:
    from pillqc.rendering.scene import Scene
    from pillqc.rendering.setting import Lamp, Setting

CENTRE: Final = (0.50, 0.499)
POSE_SPREAD: Final = 0.002
WHITE: Final = 174.0
"""Grey level of the real pill, to which pigment is relative."""
# measured luminance by radius (0 in the middle, 1 at the rim), without specks and letters
_RADII: Final = (0.0, 0.5, 0.8, 0.95, 1.0, 1.2)
_LUMINANCE: Final = (188.0, 180.0, 171.0, 159.0, 151.0, 141.0)
_LIGHT_FROM_ABOVE: Final = 6.5
"""Measured: 181 at the top, 168 at the bottom."""
_LIGHT_X: Final = 0.6
_LIGHT_Y: Final = 0.8
_DARK_WALL: Final = 0.40
"""Grey levels per unit of slope (depth per share of the side) on walls away from the light."""
_BRIGHT_WALL: Final = 0.15
_MAX_DARK: Final = 27.0
_SPECK_MEDIAN: Final = 0.02
_SPECK_RANGE: Final = (0.008, 0.07)
_BELOW_COATING: Final = 0.3
"""Share of the specks that are below the coating, faint and blurred."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """The pose of a pill, and every pixel's distance from its middle and its rim."""

    centre: tuple[float, float]
    semi_axes: tuple[float, float]
    angle: float
    turn: float
    """The part of the angle that the setting gives, in radians."""
    radius: Field
    """0 in the middle, 1 at the rim."""
    distance: Field
    """Signed distance to the rim in shares of the image side, negative inside."""

    def point(self, radius: float, direction: float) -> tuple[float, float]:
        """Return the point in a direction at a radius between 0 and 1."""
        along = radius * self.semi_axes[0] * math.cos(direction)
        across = radius * self.semi_axes[1] * math.sin(direction)
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return (
            self.centre[0] + along * cos - across * sin,
            self.centre[1] + along * sin + across * cos,
        )

    def radius_at(self, x: float, y: float) -> float:
        """Return the radius of a point: 0 in the middle, 1 at the rim."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return math.hypot(
            (dx * cos + dy * sin) / self.semi_axes[0], (dy * cos - dx * sin) / self.semi_axes[1]
        )


def lay_body(rng: np.random.Generator, grid: Grid, design: PillDesign, setting: Setting) -> Body:
    """Return a body near the setting's pose; the real fixture has a spread of only .2 %."""
    jitter = rng.uniform(-POSE_SPREAD, POSE_SPREAD, 4)
    shift, zoom = setting.shift, setting.zoom
    centre = (CENTRE[0] + jitter[0] + shift[0], CENTRE[1] + jitter[1] + shift[1])
    axes = (
        (design.semi_axes[0] + jitter[2] / 2) * zoom,
        (design.semi_axes[1] + jitter[3] / 2) * zoom,
    )
    angle = float(rng.uniform(-0.006, 0.006)) + setting.turn
    dx, dy = grid.x - np.float32(centre[0]), grid.y - np.float32(centre[1])
    along = np.abs((dx * math.cos(angle) + dy * math.sin(angle)) / axes[0])
    across = np.abs((dy * math.cos(angle) - dx * math.sin(angle)) / axes[1])
    power = SHAPES[design.shape]
    if power == 2.0:
        radius = np.hypot(along, across).astype(np.float32)
    else:
        radius = ((along**power + across**power) ** (1.0 / power)).astype(np.float32)
    slope_y, slope_x = np.gradient(radius, 1.0 / grid.size)
    slope = np.maximum(np.hypot(slope_x, slope_y), 1.0).astype(np.float32)
    return Body(
        centre=centre,
        semi_axes=axes,
        angle=angle,
        turn=setting.turn,
        radius=radius,
        distance=(radius - 1.0) / slope,
    )


def speckle(rng: np.random.Generator, scene: Scene, design: PillDesign) -> None:
    """Paint the specks that every good pill has.

    Their size and strength vary by production batch. Without that, the number of dark pixels alone
    would tell good pills from bad.
    """
    batch_scale = math.exp(0.50 * rng.normal())
    batch_strength = rng.uniform(0.40, 1.0)
    for _ in range(int(rng.integers(design.specks[0], design.specks[1] + 1))):
        x, y = scene.body.point(0.93 * math.sqrt(rng.uniform()), rng.uniform(0.0, 2.0 * math.pi))
        diameter = float(
            np.clip(_SPECK_MEDIAN * batch_scale * math.exp(0.5 * rng.normal()), *_SPECK_RANGE)
        )
        below = rng.uniform() < _BELOW_COATING
        strength = rng.uniform(0.12, 0.40) if below else rng.uniform(0.40, 1.0)
        strength *= batch_strength
        if diameter > 0.04:
            strength *= 0.75  # the large ones are thin
        window, distance = blob(
            rng, scene.grid, x=x, y=y, radius=diameter / 2, stretch=rng.uniform(1.0, 1.6)
        )
        colour = np.asarray(design.speck_colours[rng.integers(len(design.speck_colours))])
        colour = colour * rng.uniform(0.85, 1.15) + rng.normal(0.0, 4.0, 3)
        edge = rng.uniform(0.012, 0.02) if below else rng.uniform(0.004, 0.009)
        scene.paint(window, soft_step(distance, edge) * np.float32(strength), colour)


def shaded(rng: np.random.Generator, scene: Scene, relief: Field) -> Field:
    """Return the lit colours of the surface (size, size, 3)."""
    grid, lamp, grain = scene.grid, scene.setting.lamp, scene.setting.grain
    light = _lit(scene.body, grid, lamp)
    light += smooth_noise(rng, grid, 0.11) * np.float32(0.9 * grain)
    light += smooth_noise(rng, grid, 0.018) * np.float32(0.9 * grain)
    light += scene.glow
    light += relief_light(relief, grid, lamp)
    colours: Field = light[..., None] * scene.pigment
    return colours


def _lit(body: Body, grid: Grid, lamp: Lamp) -> Field:
    """Return the light on the smooth body: a dome, lighter towards the lamp."""
    light = np.interp(body.radius, _RADII, _LUMINANCE).astype(np.float32)
    if lamp.dome != 1.0:
        light = np.float32(_LUMINANCE[0]) + (light - np.float32(_LUMINANCE[0])) * np.float32(
            lamp.dome
        )
    cos, sin = math.cos(lamp.turn), math.sin(lamp.turn)
    up, left = body.centre[1] - grid.y, body.centre[0] - grid.x
    towards = up * np.float32(cos) + left * np.float32(sin)
    light += towards * np.float32(_LIGHT_FROM_ABOVE * lamp.strength / body.semi_axes[1])
    if lamp.shine:
        reach = 0.45 * body.semi_axes[1]
        away = np.hypot(left - np.float32(reach * sin), up - np.float32(reach * cos))
        light += np.float32(lamp.shine) * np.exp(-np.square(away / np.float32(0.6 * reach)))
    return light


def relief_light(relief: Field, grid: Grid, lamp: Lamp) -> Field:
    """Return the grey levels that walls gain or lose; the measured light is from the top left."""
    slope_y, slope_x = np.gradient(relief, 1.0 / grid.size)
    cos, sin = math.cos(lamp.turn), math.sin(lamp.turn)
    slope = slope_x * np.float32(_LIGHT_X * cos + _LIGHT_Y * sin)
    slope += slope_y * np.float32(_LIGHT_Y * cos - _LIGHT_X * sin)
    dark, bright = np.float32(_DARK_WALL * lamp.strength), np.float32(_BRIGHT_WALL * lamp.strength)
    levels = np.where(slope < 0, slope * dark, slope * bright)
    most = np.float32(_MAX_DARK * max(lamp.strength, 1.0))
    limited: Field = most * np.tanh(levels / most)
    return limited
