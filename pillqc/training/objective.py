"""Compute what a training minimises, and what its epochs are judged by.

    objective = Objective(source)
    loss = objective.image_loss(scores, mine, batch) + objective.window_loss(cells, masks, mine)

The first two scores are those of good and bad. Where the source has named defects, a score for each
of them follows, and its own loss is added to that of good and bad.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from sklearn import metrics
from torch import Tensor

from pillqc.errors import PillqcError
from pillqc.evaluation.naming import mean_auroc
from pillqc.model.network import CLASSES
from pillqc.training.step import (
    class_weights,
    defect_loss,
    defect_shares,
    defect_weights,
    defect_window_loss,
    window_loss,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillqc.training.batches import Source
    from pillqc.training.distributed import Team

_FIRST: Final = len(CLASSES)
"""Number of the first defect's score."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Figures of a model on validation images."""

    auroc: float
    """Of bad against good."""
    loss: float
    defect_auroc: float | None
    """Mean over the named defects, each against all other pills; None without any."""


class Objective:
    """The loss of a source's images."""

    def __init__(self, source: Source) -> None:
        self.labels = source.labels
        self.names_defects = source.present.shape[1] > 0
        self._present, self._masked = source.present, source.masked
        self._weights = class_weights(self.labels)
        self._defect_weights = defect_weights(self._present, defect_shares(self._present))

    def image_loss(self, scores: Tensor, mine: Sequence[int], batch: Sequence[int]) -> Tensor:
        """Return this process's share of a batch's loss of images.

        Args:
            scores: of this process's images (n, 2 + K).
            mine: their indices.
            batch: the indices of the whole batch.
        """
        labels = self.labels[list(mine)]
        classes = scores[:, :_FIRST].float()
        summed = F.cross_entropy(classes, labels, weight=self._weights, reduction="sum")
        loss = summed / self._weights[self.labels[list(batch)]].sum()
        if not self.names_defects:
            return loss
        present, weights = self._present[list(mine)], self._defect_weights[list(mine)]
        each = defect_loss(scores[:, _FIRST:], present, weights)
        return loss + each.sum() / len(batch)

    def window_loss(
        self, cells: Tensor, masks: Tensor, mine: Sequence[int], team: Team | None = None
    ) -> Tensor:
        """Return the loss of the windows (n, 2 + K, h+1, w+1) of this process's images."""
        known, present = self._masked[list(mine)], self._present[list(mine)]
        loss = window_loss(cells, masks, known, team)
        if not self.names_defects:
            return loss
        return loss + defect_window_loss(cells[:, _FIRST:], masks, present, known, team)

    @property
    def totals(self) -> int:
        """How often `window_loss` adds up a value over all processes."""
        return 2 if self.names_defects else 1

    def right(self, scores: Tensor, mine: Sequence[int]) -> int:
        """Count the images that are classified rightly, and whose one defect is the likeliest."""
        right = scores[:, :_FIRST].argmax(dim=1) == self.labels[list(mine)]
        if self.names_defects:
            present = self._present[list(mine)] == 1
            likeliest = scores[:, _FIRST:].argmax(dim=1, keepdim=True)
            right &= present.gather(1, likeliest)[:, 0] | ~present.any(dim=1)
        return int(right.sum())

    def validation(self, scores: Tensor) -> Validation:
        """Judge the scores (N, 2 + K) of all images.

        Raises:
            PillqcError: a score is not finite: the last step of an epoch may have led there.
        """
        if not bool(scores.isfinite().all()):
            raise PillqcError(
                "training diverged: scores of validation images are not finite; lower the learning"
                " rate"
            )
        everything = range(len(self.labels))
        present = self._present.numpy()
        return Validation(
            auroc=float(metrics.roc_auc_score(self.labels, scores[:, 1] - scores[:, 0])),
            loss=float(self.image_loss(scores, everything, everything)),
            defect_auroc=mean_auroc(present, scores[:, _FIRST:].double().numpy()),
        )
