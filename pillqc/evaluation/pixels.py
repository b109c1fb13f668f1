"""Measure how well heat maps show where the defects are.

    gathered = PixelGatherer(box_threshold=0.5)
    gathered.add(heat, mask)        # image by image
    gathered.metrics().pixel_auroc

Pixels are counted in histograms of 65,536 levels of heat, so that memory does not grow with the
data. A test compares the results with scikit-learn's exact ones.
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
"""AUPRO integrates up to this false-positive rate, as in MVTec AD's paper."""
POINTING_TOLERANCE: Final = 15 / 224
"""Distance to the mask that still counts as a hit (Zhang et al. 2016), as a share of the side."""
_LEVELS: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class PixelMetrics:
    """Figures of heat maps against masks; None where there are no masks."""

    pixel_auroc: float | None
    aupro: float | None
    pointing_game: float | None
    box_iou: float | None


class PixelGatherer:
    """Adds up heat maps and masks, image by image."""

    def __init__(self, *, box_threshold: float = 0.5) -> None:
        self._box_threshold = box_threshold
        self._inside = np.zeros(_LEVELS)
        self._outside = np.zeros(_LEVELS)
        self._components = np.zeros(_LEVELS)
        self._component_count = 0
        self._pointed: list[bool] = []
        self._overlaps: list[float] = []

    def add(self, heat: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Add one image; the mask of a good pill is empty."""
        levels = (np.clip(heat, 0.0, 1.0) * (_LEVELS - 1)).astype(np.int64)
        self._inside += np.bincount(levels[mask], minlength=_LEVELS)
        self._outside += np.bincount(levels[~mask], minlength=_LEVELS)
        if mask.any():
            regions, count = connected(mask)
            for number in range(1, count + 1):  # every component counts the same, whatever its size
                mine = levels[regions == number]
                self._components += np.bincount(mine, minlength=_LEVELS) / len(mine)
            self._component_count += count
            self._pointed.append(_points_at(heat, mask))
            found = find_boxes(heat, threshold=self._box_threshold)
            for real in boxes_of_mask(mask):
                overlaps = (intersection_over_union(real, box) for box in found)
                self._overlaps.append(max(overlaps, default=0.0))

    def metrics(self) -> PixelMetrics:
        """Return the figures of the images so far."""
        if not self._component_count or not self._outside.any():
            return PixelMetrics(pixel_auroc=None, aupro=None, pointing_game=None, box_iou=None)
        false_positives = _from_the_top(self._outside)
        return PixelMetrics(
            pixel_auroc=float(metrics.auc(false_positives, _from_the_top(self._inside))),
            aupro=_area_below(false_positives, _from_the_top(self._components), limit=PRO_LIMIT),
            pointing_game=float(np.mean(self._pointed)),
            box_iou=float(np.mean(self._overlaps)),
        )


def _from_the_top(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the mass at or above each level, from the highest level down."""
    return np.concatenate([[0.0], np.cumsum(histogram[::-1]) / histogram.sum()])


def _area_below(x: NDArray[np.float64], y: NDArray[np.float64], *, limit: float) -> float:
    """Return the mean of y over x from 0 to `limit`."""
    inside = x <= limit
    xs = np.append(x[inside], limit)
    ys = np.append(y[inside], np.interp(limit, x, y))
    return float(np.trapezoid(ys, xs)) / limit


def _points_at(heat: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    point = np.unravel_index(int(heat.argmax()), heat.shape)
    nearest = np.linalg.norm(np.argwhere(mask) - np.asarray(point), axis=1).min()
    return bool(nearest <= POINTING_TOLERANCE * heat.shape[0])
