"""From a folder to a model file: split, train, choose the threshold on validation data, save."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from pillqc.artifact import ModelCard, save_artifact
from pillqc.calibration import Chosen, choose
from pillqc.dataset import MEAN, STD, read_samples
from pillqc.errors import UsageError
from pillqc.model import CLASSES, load_model
from pillqc.splits import split_samples
from pillqc.training import (
    Epoch,
    FileSource,
    Optimize,
    TrainingOptions,
    TrainingResult,
    ipex_optimize,
    train,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pillqc.dataset import Sample
    from pillqc.model import CustomVGG


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What `pillqc train` was asked for."""

    data: Path
    out: Path
    weights: str | None = None
    backend: str = "stock"
    dtype: str = "fp32"
    epochs: int = 20
    batch_size: int = 8
    learning_rate: float = 1e-4
    target_accuracy: float = 0.98
    full: bool = False
    augment: bool = False
    size: int = 224
    seed: int = 0


def run_training(
    run: TrainingRun, *, on_epoch: Callable[[Epoch], None] | None = None
) -> TrainingResult:
    """Train on a part of the data, choose the threshold on another, and write the model file."""
    if run.out.suffix != ".safetensors":
        raise UsageError(f"{run.out}: a model file ends in .safetensors")
    splits = split_samples(read_samples(run.data), seed=run.seed)
    model = load_model(run.weights, freeze=not run.full, seed=run.seed).model
    dtype = torch.bfloat16 if run.dtype == "bf16" else None
    optimize: Optimize | None = None
    if run.backend == "ipex":
        optimize = ipex_optimize(dtype or torch.float32)
    result = train(
        model,
        FileSource(splits["train"], size=run.size, augment_seed=run.seed if run.augment else None),
        TrainingOptions(
            epochs=run.epochs,
            batch_size=run.batch_size,
            learning_rate=run.learning_rate,
            target_accuracy=run.target_accuracy,
            autocast_dtype=dtype,
            seed=run.seed,
        ),
        optimize=optimize,
        on_epoch=on_epoch,
    )
    chosen = _chosen(model, splits["validation"], run.size)
    save_artifact(run.out, model, _card(run, chosen, result))
    return result


def _card(run: TrainingRun, chosen: Chosen | None, result: TrainingResult) -> ModelCard:
    told = {
        "seconds": result.seconds,
        "stopped": result.stopped,
        "optimized_layers": result.optimized_layers,
        "history": [asdict(epoch) for epoch in result.history],
        "torch": torch.__version__,
    }
    card = ModelCard(
        size=run.size,
        mean=MEAN,
        std=STD,
        data={"folder": run.data.name, "split": "by content", "split_seed": run.seed},
        training=_told(run) | told,
    )
    if chosen is None:
        return replace(card, known_failures=("no validation data: the threshold is a guess",))
    return replace(
        card,
        threshold=chosen.threshold,
        undecided=chosen.undecided,
        temperature=chosen.temperature,
        data=card.data | {"validation_images": chosen.images},
    )


def _chosen(model: CustomVGG, validation: Sequence[Sample], size: int) -> Chosen | None:
    """Choose on validation data, or nothing where it lacks one of the kinds."""
    if len({sample.bad for sample in validation}) < len(CLASSES):
        return None
    return choose(model, validation, size=size)


def _told(run: TrainingRun) -> dict[str, Any]:
    return {k: v for k, v in asdict(run).items() if k not in ("data", "out")}
