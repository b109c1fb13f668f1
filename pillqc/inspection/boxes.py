"""Find boxes around the connected hot regions of a heat map.

boxes = find_boxes(heat, threshold=0.5)      # sorted, the hottest first
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_AREA: Final = 0.0005
"""Smaller regions, as shares of the image, are noise: the smallest real defect covers .003."""
_TOUCHING: Final = np.ones((3, 3), np.int64)
"""Pixels that touch at a corner are connected."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in pixels; `right` and `bottom` are the first column and row outside it."""

    left: int
    top: int
    right: int
    bottom: int
    score: float
    """The highest heat inside, 0 to 1."""
    area: float
    """Share of the image that the region covers; the box covers more."""

    def scaled(self, x: float, y: float) -> Box:
        """Return the box in an image that is `x` times as wide and `y` times as high."""
        return replace(
            self,
            left=round(self.left * x),
            top=round(self.top * y),
            right=round(self.right * x),
            bottom=round(self.bottom * y),
        )


def find_boxes(
    heat: NDArray[Any], *, threshold: float = 0.5, min_area: float = MIN_AREA
) -> list[Box]:
    """Return boxes around the connected regions from heat `threshold` on, hottest first."""
    labels, count = connected(heat >= threshold)
    boxes = []
    for number, window in enumerate(ndimage.find_objects(labels, count), start=1):
        inside = labels[window] == number
        area = float(inside.sum()) / heat.size
        if area >= min_area:
            rows, columns = window
            box = Box(
                left=int(columns.start),
                top=int(rows.start),
                right=int(columns.stop),
                bottom=int(rows.stop),
                score=float(heat[window][inside].max()),
                area=area,
            )
            boxes.append(box)
    return sorted(boxes, key=lambda box: (-box.score, box.top, box.left))


def connected(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the connected regions of a mask from 1, and count them."""
    labels = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask, structure=_TOUCHING, output=labels)
    return labels, int(count)  # type: ignore[arg-type] # with `output` it returns the count only


def boxes_of_mask(mask: NDArray[np.bool_]) -> list[Box]:
    """Return boxes around all connected regions of a mask."""
    return find_boxes(mask.astype(np.float32), threshold=0.5, min_area=0.0)


def intersection_over_union(first: Box, second: Box) -> float:
    """Return the overlap of two boxes, 0 to 1."""
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / (_size(first) + _size(second) - common)


def _size(box: Box) -> int:
    return (box.right - box.left) * (box.bottom - box.top)
