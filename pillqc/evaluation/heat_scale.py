"""Choose one scale for the maps of a class, from maps and masks of validation images.

heat = HeatSamples()
heat.add(values, mask)      # image by image
low, high = heat.scale()    # what becomes 0, and twice what becomes .5
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUIET: Final = 0.999
"""Without a mask of the class, this share of all pixels stays below the cut."""
_NARROWEST: Final = 1e-3


class HeatSamples:
    """Unscaled heat of one class, inside and outside of its defects."""

    def __init__(self) -> None:
        self._inside: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        self._outside: list[NDArray[np.float32]] = [np.empty(0, np.float32)]

    def add(self, values: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Add one image's map, or a sample of its pixels; the mask of another class is empty."""
        self._inside.append(values[mask])
        self._outside.append(values[~mask])

    @property
    def has_masks(self) -> bool:
        """Whether any pixel was inside of a defect."""
        return any(len(values) for values in self._inside)

    def scale(self, slope: float = 1.0, offset: float = 0.0) -> tuple[float, float]:
        """Return low and high: the median outside of defects, and twice as far as the cut from it.

        At the cut, the share of defective pixels below equals the share of other pixels above.
        `slope` and `offset` are what calibration did to the scores, and so to the maps.
        """
        inside, outside = (
            np.concatenate(parts) * slope + offset for parts in (self._inside, self._outside)
        )
        low = float(np.median(outside))
        if len(inside):
            cuts = np.quantile(np.concatenate([inside, outside]), np.linspace(0.0, 1.0, 2001))
            missed = np.searchsorted(np.sort(inside), cuts) / len(inside)
            false = 1.0 - np.searchsorted(np.sort(outside), cuts) / len(outside)
            cut = float(cuts[int(np.argmin(np.abs(missed - false)))])
        else:
            cut = float(np.quantile(outside, _QUIET))
        return low, low + max(2.0 * (cut - low), _NARROWEST)
