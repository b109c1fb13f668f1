"""Make the optimizer, its rates, class weights and losses, and one plain training step.

optimizer = make_optimizer(model)
loss = training_step(model, optimizer, images, labels, class_weights(all_labels))
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

if TYPE_CHECKING:
    from pillqc.training.distributed import Team

LEARNING_RATE: Final = 1e-4
"""The tutorial's."""
_RISE: Final = 0.2
"""Share of a cycle in which the learning rate rises."""
_LOWEST: Final = 0.04
"""Share of the highest learning rate at which a cycle begins."""
DEFECT_WEIGHT: Final = 8.0
"""A defective window weighs this much, because about one window in twenty is defective."""
EVIDENCE_OFFSET: Final = 10.0
EVIDENCE_SCALE: Final = 2.5
"""A window's evidence d (bad minus good score) is supervised as the logit (d - offset) / scale.

An image's score is the mean over some fifty windows, so one defective window must outweigh all the
others. With the offset, windows without a defect stay close together anywhere below it, and
defective ones rise far above it. Plain cross-entropy per window would push the background so far
down that its spread hides a single window."""


def make_optimizer(
    model: nn.Module, *, lr: float = LEARNING_RATE, head_rate: float = 1.0, fused: bool = False
) -> torch.optim.Adam:
    """Return Adam over the parameters that train; no step can change frozen ones.

    The head learns at `head_rate` times the rate of the features.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if head_rate == 1.0:
        return torch.optim.Adam(trained.values(), lr=lr, fused=fused)
    head = [trained.pop(name) for name in list(trained) if name.startswith("head.")]
    groups: list[dict[str, Any]] = [
        {"params": list(trained.values())},
        {"params": head, "lr": lr * head_rate},
    ]
    return torch.optim.Adam(groups, lr=lr, fused=fused)


def cycle(share: float) -> float:
    """Return the share of the highest learning rate after this share of all steps.

    It rises along half a cosine and falls to 0 along another half.
    """
    if share < _RISE:
        return _LOWEST + (1.0 - _LOWEST) * 0.5 * (1.0 - math.cos(math.pi * share / _RISE))
    return 0.5 * (1.0 + math.cos(math.pi * (share - _RISE) / (1.0 - _RISE)))


def class_weights(labels: Tensor, n_classes: int = 2) -> Tensor:
    """Return weights that give every class the same total weight; their mean is 1."""
    counts = torch.bincount(labels, minlength=n_classes).clamp_min(1).to(torch.float32)
    weights = 1.0 / counts
    balanced: Tensor = weights * (n_classes / weights.sum())
    return balanced


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    weights: Tensor,
    autocast_dtype: torch.dtype | None = None,
) -> Tensor:
    """Do one optimizer step (forward, loss, backward, update) and return the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=autocast_dtype, enabled=autocast_dtype is not None):
        scores = model(images)
    loss = F.cross_entropy(scores.float(), labels, weight=weights)
    loss.backward()  # type: ignore[no-untyped-call] # torch has no annotation there
    optimizer.step()
    return loss.detach()


def defect_shares(present: Tensor) -> Tensor:
    """Return the share of images (K) that have each defect, among those where that is known.

    Args:
        present: which defects the images have (N, K): 1 yes, 0 no, NaN not known.
    """
    least = 1.0 / max(len(present), 2)
    return present.nanmean(dim=0).nan_to_num(0.5).clamp(least, 1.0 - least)


def defect_weights(present: Tensor, shares: Tensor) -> Tensor:
    """Return weights (N, K) with which images that have a defect count as much as the others.

    Their mean is 1. Where it is not known whether an image has the defect, its weight is 0.
    """
    with_it, without = 0.5 / shares, 0.5 / (1.0 - shares)
    return torch.where(present == 1, with_it, without).where(~present.isnan(), 0.0)


def defect_loss(scores: Tensor, present: Tensor, weights: Tensor) -> Tensor:
    """Return the loss of each image (n): the mean over its defects' cross-entropies.

    Whether an image has a defect is one question, which one it has is another, and each has its
    cross-entropy: sigmoids alone learn long that bad pills have one before they learn its name.

    Args:
        scores: of the defects (n, K).
        present: which defects the images have (n, K), one at most where it is known.
        weights: from `defect_weights` (n, K).
    """
    truth, scores = present.nan_to_num(), scores.float()
    has_it = F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    which = -truth * F.log_softmax(scores, dim=1)
    return ((has_it + which) * weights).mean(dim=1)


def window_loss(
    cells: Tensor, masks: Tensor, known: Tensor | None = None, team: Team | None = None
) -> Tensor:
    """Return the loss of the map's windows against the masks.

    Args:
        cells: class scores of the windows (n, C, h+1, w+1).
        masks: where the images are defective, bool (n, H, W).
        known: images whose mask is to be trusted, bool (n,); None for all. A bad image without a
            mask says nothing about its windows.
        team: processes that share the batch; the losses of all of them add up to the batch's.
    """
    evidence = (cells[:, 1] - cells[:, 0]).float()
    truth = window_truth(masks, evidence.shape[-1] - 1)
    weight = torch.where(truth > 0.5, DEFECT_WEIGHT, 1.0) * (truth - 0.5).abs() * 2.0
    if known is not None:
        weight = weight * known[:, None, None]
    return _weighted_loss(evidence, (truth > 0.5).float(), weight, team)


def defect_window_loss(
    cells: Tensor,
    masks: Tensor,
    present: Tensor,
    known: Tensor | None = None,
    team: Team | None = None,
) -> Tensor:
    """Return the loss of the defects' windows against the masks.

    A window with a defect is one of that defect, and of no other. It weighs as much for its own as
    for all others together, so that naming is learnt as well as finding. The windows with a defect
    weigh in each image as much as all of its windows: else another product, which is defective
    everywhere, would outweigh a dozen cracks.

    Args:
        cells: scores of the defects' windows (n, K, h+1, w+1).
        masks: where the images are defective, bool (n, H, W).
        present: which defects the images have (n, K). Where that is not known (NaN), the windows
            inside of the mask say nothing; those outside have no defect.
        known: images whose mask is to be trusted, as for `window_loss`.
        team: as for `window_loss`.
    """
    truth = window_truth(masks, cells.shape[-1] - 1)[:, None]
    defective = truth > 0.5
    own = (present == 1)[:, :, None, None] & defective
    windows = truth.shape[-1] ** 2
    share = windows / defective.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    weight = (truth - 0.5).abs() * 2.0 * torch.where(defective, share, 1.0)
    weight = weight * torch.where(own, max(cells.shape[1] - 1.0, 1.0), 1.0)
    weight = weight * ~(present.isnan()[:, :, None, None] & defective)
    if known is not None:
        weight = weight * known[:, None, None, None]
    return _weighted_loss(cells.float(), own.float(), weight, team)


def _weighted_loss(evidence: Tensor, truth: Tensor, weight: Tensor, team: Team | None) -> Tensor:
    """Return the weighted mean of the windows' cross-entropies, over all processes."""
    per_window = F.binary_cross_entropy_with_logits(
        (evidence - EVIDENCE_OFFSET) / EVIDENCE_SCALE, truth, reduction="none"
    )
    total = weight.sum()
    if team is not None:
        total = team.total(total)
    return (per_window * weight).sum() / total.clamp_min(1.0)


def window_truth(masks: Tensor, side: int) -> Tensor:
    """Return for each pooling window whether it holds a defect: 1 yes, 0 no, .5 unclear.

    A cell of the map is defective if the mask covers more than 4 % of it. Fewer pixels make it
    unclear, and unclear windows have no weight in the loss.
    """
    covered = F.adaptive_avg_pool2d(masks[:, None].float(), side)
    cell = torch.where(covered > 0.04, 1.0, torch.where(covered > 0.0, 0.5, 0.0))
    return F.max_pool2d(cell, 2, stride=1, padding=1)[:, 0]
