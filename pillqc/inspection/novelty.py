"""Is a picture like those that the model knows?

    limits = known_limits(described(read_image(path)) for path in training_images)
    unlike(limits, described(picture))     # None, or "colour 0.0, known 3.2 to 167.7"

A model answers whatever it is shown, and most surely about what it has never seen. So a model file
keeps the range of a few statistics of whole pictures, and what lies outside is said to be unlike
them. It is a check of light, colour and layout, and no proof: another white oval passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SIDE: Final = 128
_MARGIN: Final = 0.25
_OF_FEW: Final = 10.0
"""A quarter of the known range is added at both ends, and ten times it shared by the pictures."""
_BY_RATIO: Final = frozenset({"colour", "sharpness"})

Limits = dict[str, tuple[float, float]]
"""Statistic -> the smallest and largest value that is not unlike, in grey levels."""


def described(image: Image.Image) -> dict[str, float]:
    """Return the statistics of an RGB picture, all in grey levels from 0 to 255, seen at 128 px."""
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float32)
    grey = pixels.mean(axis=2)
    half, edge = _SIDE // 2, _SIDE // 8
    inner = grey[2 * edge : -2 * edge, 2 * edge : -2 * edge].mean()
    rim = np.concatenate([grey[:edge].ravel(), grey[-edge:].ravel()]).mean()
    found = {
        "brightness": grey.mean(),
        "contrast": grey.std(),
        "colour": np.quantile(np.ptp(pixels, axis=2), 0.99),
        "warmth": pixels[..., 0].mean() - pixels[..., 2].mean(),
        "sharpness": np.abs(np.diff(grey, 2)).mean() + np.abs(np.diff(grey, 2, axis=0)).mean(),
        "middle against rim": inner - rim,
        "left against right": grey[:, :half].mean() - grey[:, half:].mean(),
        "top against bottom": grey[:half].mean() - grey[half:].mean(),
    }
    return {name: round(float(value), 2) for name, value in found.items()}


def known_limits(pictures: Iterable[Mapping[str, float]]) -> Limits:
    """Return the range of every statistic over the pictures, widened; nothing of no picture.

    Few pictures do not show how far others go, so their range is widened more.
    """
    rows = list(pictures)
    limits = {}
    for name in rows[0] if rows else ():
        values = [_even(name, row[name]) for row in rows]
        margin = (_MARGIN + _OF_FEW / len(rows)) * (max(values) - min(values))
        ends = (min(values) - margin, max(values) + margin)
        low, high = (float(np.expm1(end)) if name in _BY_RATIO else end for end in ends)
        limits[name] = (round(low, 2), round(high, 2))
    return limits


def unlike(limits: Mapping[str, Sequence[float]], found: Mapping[str, float]) -> str | None:
    """Return which statistics lie outside their limits; None where none does."""
    outside = [
        f"{name} {found[name]:.1f}, known {low:.1f} to {high:.1f}"
        for name, (low, high) in limits.items()
        if name in found and not low <= found[name] <= high
    ]
    return "; ".join(outside) or None


def _even(name: str, value: float) -> float:
    """Of what a picture may hardly have, twice as much counts, and not so many levels more."""
    return float(np.log1p(value)) if name in _BY_RATIO else value
