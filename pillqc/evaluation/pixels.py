"""How well heat maps show where the defects are.

    gathered = PixelGatherer(box_threshold=0.5)
    gathered.add(heat, mask)        # image by image
    gathered.metrics().pixel_auroc

Pixels are gathered in histograms of 65,536 levels of heat, so that memory does not grow with the
data; a test holds them against scikit-learn's exact values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn import metrics

from pillqc.inspection.boxes import boxes_of_mask, connected, find_boxes, intersection_over_union

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRO_LIMIT: Final = 0.3
"""AUPRO integrates up to this false-positive rate, as MVTec AD's authors do."""
POINTING_TOLERANCE: Final = 15 / 224
"""Pixels around the mask that still count, as in Zhang et al. 2016, in shares of the side."""
_LEVELS: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class PixelMetrics:
    """How well the heat maps show where the defects are; None where no masks exist."""

    pixel_auroc: float | None
    aupro: float | None
    pointing_game: float | None
    box_iou: float | None


class PixelGatherer:
    """Gathers heat maps and masks image by image."""

    def __init__(self, *, box_threshold: float = 0.5) -> None:
        self._box_threshold = box_threshold
        self._inside = np.zeros(_LEVELS)
        self._outside = np.zeros(_LEVELS)
        self._components = np.zeros(_LEVELS)
        self._component_count = 0
        self._pointed: list[bool] = []
        self._overlaps: list[float] = []

    def add(self, heat: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Add one image; a mask without a pixel is a good pill."""
        levels = (np.clip(heat, 0.0, 1.0) * (_LEVELS - 1)).astype(np.int64)
        self._inside += np.bincount(levels[mask], minlength=_LEVELS)
        self._outside += np.bincount(levels[~mask], minlength=_LEVELS)
        if mask.any():
            self._add_components(levels, mask)
            self._pointed.append(_points_at(heat, mask))
            self._overlaps.extend(self._box_overlaps(heat, mask))

    def metrics(self) -> PixelMetrics:
        """What the images so far say."""
        if not self._component_count or not self._outside.any():
            return PixelMetrics(pixel_auroc=None, aupro=None, pointing_game=None, box_iou=None)
        false_positives = _from_the_top(self._outside)
        return PixelMetrics(
            pixel_auroc=float(metrics.auc(false_positives, _from_the_top(self._inside))),
            aupro=_area_below(false_positives, _from_the_top(self._components), limit=PRO_LIMIT),
            pointing_game=float(np.mean(self._pointed)),
            box_iou=float(np.mean(self._overlaps)),
        )

    def _add_components(self, levels: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        """Every component counts the same, however small it is."""
        regions, count = connected(mask)
        for number in range(1, count + 1):
            mine = levels[regions == number]
            self._components += np.bincount(mine, minlength=_LEVELS) / len(mine)
        self._component_count += count

    def _box_overlaps(self, heat: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[float]:
        found = find_boxes(heat, threshold=self._box_threshold)
        return [
            max((intersection_over_union(real, box) for box in found), default=0.0)
            for real in boxes_of_mask(mask)
        ]


def _from_the_top(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the mass at or above each level, from the highest level down, starting at 0."""
    return np.concatenate([[0.0], np.cumsum(histogram[::-1]) / histogram.sum()])


def _area_below(x: NDArray[np.float64], y: NDArray[np.float64], *, limit: float) -> float:
    """Mean of y over x from 0 to `limit`."""
    inside = x <= limit
    xs = np.append(x[inside], limit)
    ys = np.append(y[inside], np.interp(limit, x, y))
    return float(np.trapezoid(ys, xs)) / limit


def _points_at(heat: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    point = np.unravel_index(int(heat.argmax()), heat.shape)
    nearest = np.linalg.norm(np.argwhere(mask) - np.asarray(point), axis=1).min()
    return bool(nearest <= POINTING_TOLERANCE * heat.shape[0])
