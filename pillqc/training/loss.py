"""What a training step is measured by: the label of the image, or its mask as well.

    goal = LabelGoal(class_weights(labels))
    loss = goal.loss(cells, batch, team)

With masks, every window of the map is told whether it holds a defect. It is what the shipped model
learnt from, and what lets it learn another product from few defective examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor

if TYPE_CHECKING:
    from pillqc.training.distributed import Team


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of the images of this process's part of a batch."""

    labels: Tensor
    """Classes (n,)."""
    all_labels: Tensor
    """Of the whole batch."""
    masks: Tensor | None = None
    """Where the defects are, bool (n, H, W); None to learn from labels only."""
    masked: Tensor | None = None
    """Which of the images have a mask or are good, bool (n,)."""


def image_loss(scores: Tensor, truth: Truth, weights: Tensor) -> Tensor:
    """This part's share of the batch's class-weighted cross-entropy; shares add up to it."""
    summed = F.cross_entropy(scores.float(), truth.labels, weight=weights, reduction="sum")
    return summed / weights[truth.all_labels].sum()


def window_loss(cells: Tensor, truth: Truth, team: Team) -> Tensor:
    """This part's share of the loss of the map's windows against the masks.

    A bad image without a mask says nothing about its windows.
    """
    from pillqc.training.recipe import DEFECT_WEIGHT, EVIDENCE_OFFSET, EVIDENCE_SCALE, window_truth

    assert truth.masks is not None  # noqa: S101 - whoever asks for this loss gives masks
    assert truth.masked is not None  # noqa: S101 - the same
    evidence = (cells[:, 1] - cells[:, 0]).float()
    holds = window_truth(truth.masks, evidence.shape[-1] - 1)
    weight = torch.where(holds > 0.5, DEFECT_WEIGHT, 1.0) * (holds - 0.5).abs() * 2.0
    weight = weight * truth.masked[:, None, None]
    per_window = F.binary_cross_entropy_with_logits(
        (evidence - EVIDENCE_OFFSET) / EVIDENCE_SCALE, (holds > 0.5).float(), reduction="none"
    )
    total = team.total(weight.sum().detach().clone()).clamp_min(1.0)
    return (per_window * weight).sum() / total
