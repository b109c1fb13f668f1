"""Make coordinates, windows, smooth noise and irregular blobs.

grid = Grid(224)
texture = smooth_noise(rng, grid, cell=0.05)
where, edge = blob(rng, grid, x=0.4, y=0.5, radius=0.03)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable

Field: TypeAlias = NDArray[np.float32]
Window: TypeAlias = tuple[slice, slice]
Segment: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in shares of the image side."""
EVERYWHERE: Final[Window] = (slice(None), slice(None))


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a square image, in shares of its side."""

    size: int

    @cached_property
    def x(self) -> Field:
        """Columns, shape (1, size)."""
        return ((np.arange(self.size) + 0.5) / self.size).astype(np.float32)[None, :]

    @cached_property
    def y(self) -> Field:
        """Rows, shape (size, 1)."""
        return self.x.reshape(-1, 1)

    def window(self, x0: float, y0: float, x1: float, y1: float) -> Window:
        """Return the slices of a rectangle's pixels; never empty, never outside the image."""

        def span(low: float, high: float) -> slice:
            start = min(max(math.floor(low * self.size), 0), self.size - 1)
            return slice(start, max(min(math.ceil(high * self.size), self.size), start + 1))

        return span(y0, y1), span(x0, x1)

    def zeros(self) -> Field:
        """Return a field of zeros."""
        return np.zeros((self.size, self.size), np.float32)


def smooth_noise(rng: np.random.Generator, grid: Grid, cell: float) -> Field:
    """Return noise of mean 0 and deviation about 1 with bumps of width `cell`."""
    knots = max(round(1.0 / cell), 2) + 3
    coarse = rng.standard_normal((knots, knots), dtype=np.float32)
    margin = 1.0 / (knots - 1)
    image = Image.fromarray(coarse).resize(
        (grid.size, grid.size),
        Image.Resampling.BICUBIC,
        box=(margin * knots, margin * knots, (1 - margin) * knots, (1 - margin) * knots),
    )
    # interpolation between independent knots reduces the deviation to about two thirds
    return np.asarray(image, dtype=np.float32) * np.float32(1.5)


def soft_step(distance: Field, width: float) -> Field:
    """Return 1 inside (distance below 0) and 0 outside, with a smooth edge of `width`."""
    t: Field = np.clip(0.5 - distance * np.float32(1.0 / max(width, 1e-6)), 0.0, 1.0)
    smooth: Field = t * t * (3.0 - 2.0 * t)
    return smooth


def blob(
    rng: np.random.Generator,
    grid: Grid,
    *,
    x: float,
    y: float,
    radius: float,
    roughness: float = 0.25,
    stretch: float = 1.0,
) -> tuple[Window, Field]:
    """Return an irregular spot's window, and the signed distance to its edge there."""
    reach = radius * (1.0 + 2.5 * roughness) * max(stretch, 1.0) + 0.03
    window = grid.window(x - reach, y - reach, x + reach, y + reach)
    angle = rng.uniform(0.0, math.pi)
    dx, dy = grid.x[:, window[1]] - np.float32(x), grid.y[window[0]] - np.float32(y)
    along = (dx * math.cos(angle) + dy * math.sin(angle)) / math.sqrt(stretch)
    across = (dy * math.cos(angle) - dx * math.sin(angle)) * math.sqrt(stretch)
    theta = np.arctan2(across, along)
    edge = _wobbling(rng, theta, roughness) * np.float32(radius)
    distance: Field = np.hypot(along, across).astype(np.float32) - edge
    return window, distance


def distance_to(grid: Grid, segments: Iterable[Segment], window: Window) -> Field:
    """Return the distance of the window's pixels to the nearest segment, at most 2."""
    rows, columns = window
    px, py = grid.x[:, columns], grid.y[rows]
    nearest = np.full((py.shape[0], px.shape[1]), 2.0, np.float32)
    for x0, y0, x1, y1 in segments:
        dx, dy = x1 - x0, y1 - y0
        length2 = max(dx * dx + dy * dy, 1e-12)
        along = np.clip(
            (px - np.float32(x0)) * np.float32(dx / length2)
            + (py - np.float32(y0)) * np.float32(dy / length2),
            0.0,
            1.0,
        )
        ex = px - np.float32(x0) - along * np.float32(dx)
        ey = py - np.float32(y0) - along * np.float32(dy)
        np.minimum(nearest, np.sqrt(ex * ex + ey * ey), out=nearest)
    return nearest


def extent(segments: Iterable[Segment], margin: float) -> tuple[float, float, float, float]:
    """Return the rectangle around segments, widened by `margin`."""
    points = np.asarray(list(segments), dtype=np.float64).reshape(-1, 2)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0 - margin), float(y0 - margin), float(x1 + margin), float(y1 + margin)


def _wobbling(rng: np.random.Generator, theta: Field, roughness: float) -> Field:
    """Return an irregular radius by angle; the outline encloses the area of a unit circle."""
    orders = np.array([1, 2, 3, 5, 8], np.float32)
    amplitudes = (roughness * 1.4 * rng.standard_normal(len(orders)) / orders).astype(np.float32)
    phases = rng.uniform(0.0, 2.0 * math.pi, len(orders)).astype(np.float32)

    def outline(angles: Field) -> Field:
        waves = sum(
            amplitude * np.cos(order * angles + phase)
            for amplitude, order, phase in zip(amplitudes, orders, phases, strict=True)
        )
        line: Field = np.maximum(np.float32(1.0) + waves, np.float32(0.3))
        return line

    around = outline(np.linspace(0.0, 2.0 * math.pi, 64, endpoint=False, dtype=np.float32))
    scaled: Field = outline(theta) / np.float32(math.sqrt(float(np.square(around).mean())))
    return scaled
