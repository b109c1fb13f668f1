"""Training as in the tutorial: class weights, Adam, a target accuracy, and an optional `optimize`.

    result = train(model, TensorSource(images, labels), TrainingOptions(target_accuracy=0.98))
    result = train(model, source, optimize=ipex_optimize(torch.bfloat16), ...)

Load weights before training, never after `optimize`: IPEX accepts them then and computes garbage.
Frozen parameters are not in the optimizer, so no step can change them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from pillqc.ahead import ahead
from pillqc.errors import PillqcError
from pillqc.feeding import Feed, FileSource, Loaded, Source, TensorSource, feed_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Epoch",
    "FileSource",
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
_READ_AHEAD: Final = 2
"""Batches whose files are read while a step computes."""

Optimize = Callable[[nn.Module, torch.optim.Optimizer], tuple[nn.Module, torch.optim.Optimizer]]
"""Turns a model in training mode and its optimizer into faster ones, before the first step."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train."""

    epochs: int = 20
    batch_size: int = 8
    learning_rate: float = LEARNING_RATE
    target_accuracy: float = 0.98
    """Training stops after the epoch whose training accuracy reaches this."""
    max_seconds: float | None = None
    """Training stops after the epoch that passes this."""
    autocast_dtype: torch.dtype | None = None
    """`torch.bfloat16` for mixed precision; None for fp32."""
    fused: bool = False
    seed: int = 0
    plain: bool = False
    """The plain loop: read, then compute, everything anew in every epoch. To compare with."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the data did."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What training did; the trained weights are in the model that was passed in."""

    history: tuple[Epoch, ...]
    seconds: float
    """Time to train, `optimize` included."""
    images_per_s: float
    stopped: str
    """Why it ended: `target accuracy`, `epochs` or `time`."""
    optimized_layers: int
    """How many layers `optimize` replaced; 0 means that it did nothing."""


def train(
    model: nn.Module,
    source: Source,
    options: TrainingOptions | None = None,
    *,
    optimize: Optimize | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train `model` in place until the target accuracy, the last epoch or the time limit."""
    options = options or TrainingOptions()
    labels = _checked_labels(source)
    started = time.perf_counter()
    optimizer: torch.optim.Optimizer = make_optimizer(
        model.train(), lr=options.learning_rate, fused=options.fused
    )
    running, optimizer = optimize(model, optimizer) if optimize else (model, optimizer)
    weights = class_weights(labels)
    feed = feed_for(running, source, reuse=not options.plain)
    generator = torch.Generator().manual_seed(options.seed)
    history: list[Epoch] = []
    stopped = "epochs"
    for number in range(options.epochs):
        epoch = _one_epoch(feed, optimizer, labels, number, weights, generator, options)
        history.append(epoch)
        if on_epoch:
            on_epoch(epoch)
        if epoch.accuracy >= options.target_accuracy:
            stopped = "target accuracy"
            break
        if options.max_seconds and time.perf_counter() - started >= options.max_seconds:
            stopped = "time"
            break
    seconds = time.perf_counter() - started
    replaced = _replaced_layers(model, running)
    _bring_back(model, running)
    model.eval()
    return TrainingResult(
        history=tuple(history),
        seconds=seconds,
        images_per_s=len(history) * len(labels) / seconds,
        stopped=stopped,
        optimized_layers=replaced,
    )


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
    loss, _ = _step(lambda: model(images), optimizer, labels, weights, autocast_dtype)
    return loss


def ipex_optimize(dtype: torch.dtype = torch.float32) -> Optimize:
    """`ipex.optimize(model=..., optimizer=..., dtype=...)`, as the tutorial calls it."""

    def optimize(
        model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        try:
            import intel_extension_for_pytorch as ipex
        except (ImportError, SystemExit, AttributeError) as error:
            # on a mismatch with torch its import prints a line and calls what does not exist
            raise PillqcError(
                f"intel-extension-for-pytorch cannot be used here ({error}); "
                "train with --backend stock"
            ) from error
        optimized: tuple[nn.Module, torch.optim.Optimizer] = ipex.optimize(
            model.train(), optimizer=optimizer, dtype=dtype
        )
        return optimized

    return optimize


def _step(
    scores_of: Callable[[], Tensor],
    optimizer: torch.optim.Optimizer,
    labels: Tensor,
    weights: Tensor,
    autocast_dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=autocast_dtype, enabled=autocast_dtype is not None):
        scores = scores_of()
    loss = F.cross_entropy(scores.float(), labels, weight=weights)
    loss.backward()  # type: ignore[no-untyped-call] # torch has no annotation there
    optimizer.step()
    return loss.detach(), scores.detach()


def _one_epoch(
    feed: Feed,
    optimizer: torch.optim.Optimizer,
    all_labels: Tensor,
    number: int,
    weights: Tensor,
    generator: torch.Generator,
    options: TrainingOptions,
) -> Epoch:
    started = time.perf_counter()
    order = torch.randperm(len(all_labels), generator=generator).tolist()
    loss_sum, right = 0.0, 0
    for loaded in ahead(
        lambda indices: feed.load(indices, number),
        _batches(order, options.batch_size),
        depth=0 if options.plain else _READ_AHEAD,
    ):
        labels = all_labels[loaded.indices]

        def scores_of(loaded: Loaded = loaded) -> Tensor:
            return feed.scores(feed.inputs(loaded))

        loss, scores = _step(scores_of, optimizer, labels, weights, options.autocast_dtype)
        loss_sum += float(loss) * len(labels)
        right += int((scores.argmax(dim=1) == labels).sum())
    if not torch.isfinite(torch.tensor(loss_sum)):
        raise PillqcError(f"training diverged in epoch {number + 1}; lower the learning rate")
    return Epoch(
        epoch=number + 1,
        loss=loss_sum / len(order),
        accuracy=right / len(order),
        seconds=time.perf_counter() - started,
    )


def _batches(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _checked_labels(source: Source) -> Tensor:
    labels = source.labels
    if len(labels) == 0 or int(labels.min()) == int(labels.max()):
        raise PillqcError("training needs good and bad images; the data holds one kind only")
    return labels


def _replaced_layers(model: nn.Module, running: nn.Module) -> int:
    if running is model:
        return 0
    return sum(1 for m in running.modules() if type(m).__name__.startswith("_IPEX"))


def _bring_back(model: nn.Module, running: nn.Module) -> None:
    """Copy what an optimised copy learnt into the plain model, whose layout never changed."""
    if running is model:
        return
    learnt = running.state_dict()
    missing = model.state_dict().keys() - learnt.keys()
    if missing:
        raise PillqcError(f"the optimised model lost {min(missing)}; train without it")
    model.load_state_dict(
        {
            name: learnt[name].float() if learnt[name].is_floating_point() else learnt[name]
            for name in model.state_dict()
        }
    )
