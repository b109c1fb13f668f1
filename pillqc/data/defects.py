"""Decide which defects a model can name, and which of them each pill has.

names = defect_names(samples)                    # ("color", "crack")
presence(["good", "crack", "combined"], names)   # [[0, 0], [0, 1], [nan, nan]]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pillqc.data.images import Sample

COMBINED: Final = "combined"
"""MVTec AD's folder of pills with several defects; nothing in the data set says which ones."""
_FEWEST: Final = 2


def defect_names(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the defects that a model can learn to name, sorted; `combined` is none of them.

    Raises:
        PillqcError: there are fewer than two, so that a name would say nothing.
    """
    names = tuple(sorted({sample.defect for sample in samples if sample.bad} - {COMBINED}))
    if len(names) < _FEWEST:
        raise PillqcError(
            f"the training images have {', '.join(names) or 'no defect'} only: --classes defects"
            " needs a folder of images for each of two or more defects"
        )
    return names


def presence(defects: Sequence[str], names: Sequence[str]) -> NDArray[np.float32]:
    """Return which named defects each pill has (pills, names): 1 yes, 0 no, NaN not known.

    Args:
        defects: `good`, or the name of the defect's folder, of every pill.
        names: the defects that the model names.
    """
    pills = np.asarray(defects, np.str_)
    found: NDArray[np.bool_] = pills[:, None] == np.asarray(names, np.str_)[None, :]
    present = found.astype(np.float32)
    present[pills == COMBINED] = np.nan
    return present
