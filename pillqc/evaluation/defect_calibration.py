"""Calibrate the probabilities of defects on validation data.

    slope, offset = fit_sigmoid(scores, present)
    scale_defects(model, [(slope, offset), ...])    # in place

Each defect has a sigmoid of its own, so each has a slope and an offset of its own (Platt,
*Probabilistic Outputs for Support Vector Machines*, 1999). They go into the head's weights, so that
every backend and export has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from scipy import optimize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pillqc.model.network import CustomVGG

_FLATTEST: Final = 1e-3
"""Least slope over the scores' deviation: a higher score never means less of the defect."""


def fit_sigmoid(
    scores: NDArray[np.floating[Any]], present: NDArray[np.float32]
) -> tuple[float, float]:
    """Return slope and offset with which the sigmoid of the scores is the probability.

    The targets are Platt's, a little inside 0 and 1: with few images, or separate scores, the
    probabilities do not become certain. Without both kinds the scores stay as they are.

    Args:
        scores: of one defect (pills).
        present: whether the pills have it (pills); NaN is not known.
    """
    known = ~np.isnan(present)
    scores, has_it = scores[known], present[known] > 0
    if not has_it.any() or has_it.all():
        return 1.0, 0.0
    with_it, without = int(has_it.sum()), int((~has_it).sum())
    targets = np.where(has_it, (with_it + 1.0) / (with_it + 2.0), 1.0 / (without + 2.0))
    centre, spread = float(scores.mean()), max(float(scores.std()), 1e-9)
    standard = (scores - centre) / spread

    def loss(line: NDArray[np.float64]) -> float:
        logits = line[0] * standard + line[1]
        return float(np.mean(np.logaddexp(0.0, logits) - targets * logits))

    found = optimize.minimize(
        loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(_FLATTEST, None), (None, None)]
    )
    slope = float(found.x[0]) / spread
    return slope, float(found.x[1]) - slope * centre


@torch.no_grad()
def scale_defects(model: CustomVGG, lines: Sequence[tuple[float, float]]) -> None:
    """Apply a slope and an offset to the scores and maps of each defect."""
    for output, (slope, offset) in enumerate(lines, start=model.n_classes):
        model.head.weight[output] *= slope
        model.head.bias[output] = slope * model.head.bias[output] + offset
