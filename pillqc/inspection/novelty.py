"""Recognise pictures that are unlike those that the model knows.

    limits = known_limits(image_statistics(read_image(path)) for path in training_images)
    outside_limits(limits, image_statistics(picture))   # None, or "colour 0.0, known 3.2 to 167.7"

A model answers for any input, and with the highest confidence for inputs that it has never seen. So
a model file stores the range of a few statistics of whole pictures, and a picture outside these
ranges is reported. This checks light, colour and layout only: another white oval passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SIDE: Final = 128
_MARGIN, _MARGIN_OF_FEW = 0.25, 10.0
"""A range is extended at both ends by this part of itself, plus the second divided by the number of
pictures: few pictures do not show how far others go."""
_LOGARITHMIC: Final = frozenset({"colour", "sharpness"})
"""Statistics that may be near 0, where factors matter and not differences."""

Limits = dict[str, tuple[float, float]]
"""Statistic -> its smallest and largest known value, in grey levels."""


def image_statistics(image: Image.Image) -> dict[str, float]:
    """Return statistics of an RGB picture, reduced to 128 px, in grey levels from 0 to 255."""
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
    """Return the extended range of every statistic over the pictures; empty without pictures."""
    rows = list(pictures)
    limits = {}
    for name in rows[0] if rows else ():
        values = [
            float(np.log1p(v)) if name in _LOGARITHMIC else v for v in (r[name] for r in rows)
        ]
        margin = (_MARGIN + _MARGIN_OF_FEW / len(rows)) * (max(values) - min(values))
        ends = (min(values) - margin, max(values) + margin)
        low, high = (float(np.expm1(end)) if name in _LOGARITHMIC else end for end in ends)
        limits[name] = (round(low, 2), round(high, 2))
    return limits


def outside_limits(limits: Mapping[str, Sequence[float]], found: Mapping[str, float]) -> str | None:
    """List the statistics outside their limits in one line; None if all are inside."""
    outside = [
        f"{name} {found[name]:.1f}, known {low:.1f} to {high:.1f}"
        for name, (low, high) in limits.items()
        if name in found and not low <= found[name] <= high
    ]
    return "; ".join(outside) or None


def advice(unlike: int, pictures: int) -> str | None:
    """Return what to do where most of the pictures are unlike; None if they are not."""
    if 2 * unlike <= pictures:
        return None
    return (
        f"{unlike} of {pictures} pictures are unlike all that the model knows; if they show another"
        " product, make a model of good pictures of it with `pillqc compare`, of unsorted ones with"
        " `pillqc compare --mixed`, or adapt one with `pillqc train --adapt`"
    )
