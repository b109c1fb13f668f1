"""Training as in the tutorial: class weights, Adam, a target accuracy, and an optional `optimize`.

    result = train(model, TensorSource(images, labels), TrainingOptions(target_accuracy=0.98))
    result = train(model, source, validation=held_out, optimize=ipex_optimize(torch.bfloat16))

Frozen parameters are not in the optimizer, so no step can change them. With validation images the
weights of the epoch that was best on them are kept. The same seed and backend give the same bits,
also across a kill and a resume from the checkpoint; `team` shares every batch between processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from pillqc.model.optimizing import Optimize, ipex_optimize
from pillqc.training.batches import FileSource, Source, TensorSource
from pillqc.training.distributed import Team

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "Epoch",
    "FileSource",
    "Kept",
    "Optimize",
    "TensorSource",
    "TrainingOptions",
    "TrainingResult",
    "class_weights",
    "ipex_optimize",
    "make_optimizer",
    "train",
    "training_step",
]

LEARNING_RATE: Final = 1e-4
"""The tutorial's."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train."""

    epochs: int = 20
    batch_size: int = 8
    """Of all processes together."""
    learning_rate: float = LEARNING_RATE
    target_accuracy: float | None = 0.98
    """Training stops after the epoch whose training accuracy reaches this; None: it does not."""
    patience: int | None = None
    """Training stops after so many epochs in which validation did not get better."""
    max_seconds: float | None = None
    """Training stops after the epoch that passes this."""
    autocast_dtype: torch.dtype | None = None
    """`torch.bfloat16` for mixed precision; None for fp32."""
    fused: bool = False
    seed: int = 0
    masks: bool = False
    """Whether the map's windows are told what the masks say, beside the image's label."""
    cycle: bool = False
    """The learning rate rises over the first fifth of all steps and falls to nothing over the rest,
    and gradients are kept from bursting; else it stays as it is."""
    plain: bool = False
    """The plain loop: read, then compute, everything anew in every epoch. To compare with."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Where the checkpoint of a training is, and what must be the same to go on from it."""

    path: Path
    told: str
    seconds: float = 60.0
    """Between checkpoints inside an epoch; there is one after every epoch in any case."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the data did."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    validation_loss: float | None = None
    validation_auroc: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What training did; the trained weights are in the model that was passed in."""

    history: tuple[Epoch, ...]
    seconds: float
    """Time to train, `optimize`, validation and earlier sessions included."""
    images_per_s: float
    stopped: str
    """Why it ended: `target accuracy`, `patience`, `epochs` or `time`."""
    optimized_layers: int
    """How many layers `optimize` replaced; 0 means that it did nothing."""
    best_epoch: int | None = None
    """Whose weights were kept; None without validation images: the last one's."""
    resumed_at: int | None = None
    """Epoch in which this session went on from a checkpoint."""


def train(
    model: nn.Module,
    source: Source,
    options: TrainingOptions | None = None,
    *,
    validation: Source | None = None,
    optimize: Optimize | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    team: Team | None = None,
    kept: Kept | None = None,
) -> TrainingResult:
    """Train `model` in place until the target accuracy, the last epoch or the time limit."""
    from pillqc.training.loop import TrainingLoop

    loop = TrainingLoop(
        model,
        source,
        options or TrainingOptions(),
        validation=validation,
        optimize=optimize,
        team=team or Team(),
        kept=kept,
    )
    return loop.run(on_epoch)


def make_optimizer(
    model: nn.Module, *, lr: float = LEARNING_RATE, fused: bool = False
) -> torch.optim.Adam:
    """Adam over the parameters that train; frozen ones are not in it."""
    return torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=lr, fused=fused)


def class_weights(labels: Tensor, n_classes: int = 2) -> Tensor:
    """Weights under which every class counts the same, however rare it is; their mean is 1."""
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
    """Do one optimiser step (forward, loss, backward, step) and return the loss."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=autocast_dtype, enabled=autocast_dtype is not None):
        scores = model(images)
    loss = F.cross_entropy(scores.float(), labels, weight=weights)
    loss.backward()  # type: ignore[no-untyped-call] # torch has no annotation there
    optimizer.step()
    return loss.detach()
