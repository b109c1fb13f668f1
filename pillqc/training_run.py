"""From a folder to a model file: split, train, choose the threshold on validation data, save."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from pillqc.artifact import ModelCard, save_artifact
from pillqc.dataset import MEAN, STD, read_samples
from pillqc.errors import DataError, UsageError
from pillqc.evaluation import threshold_at
from pillqc.model import load_model
from pillqc.prediction import Unreadable, predict
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

FALSE_REJECTS: Final = 0.05
"""The threshold lets this share of good validation pills be called bad."""


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
        FileSource(splits["train"], size=run.size),
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
    save_artifact(run.out, model, _card(run, model, splits["validation"], result))
    return result


def _card(
    run: TrainingRun, model: CustomVGG, validation: Sequence[Sample], result: TrainingResult
) -> ModelCard:
    return ModelCard(
        threshold=_threshold(model, validation, run.size),
        size=run.size,
        mean=MEAN,
        std=STD,
        data={"root": run.data.name, "validation_images": len(validation)},
        training=_told(run)
        | {
            "seconds": result.seconds,
            "stopped": result.stopped,
            "history": [asdict(epoch) for epoch in result.history],
            "torch": torch.__version__,
        },
    )


def _threshold(model: CustomVGG, validation: Sequence[Sample], size: int) -> float:
    """The threshold at the accepted share of false rejects on validation data."""
    labels = np.array([sample.bad for sample in validation], dtype=np.bool_)
    if not len(labels) or labels.all():
        return 0.5
    bad = []
    for result in predict(model, (s.path for s in validation), size=size):
        if isinstance(result, Unreadable):
            raise DataError(result.path, result.reason)
        bad.append(result.bad)
    return min(threshold_at(labels, np.array(bad), FALSE_REJECTS), 1.0)


def _told(run: TrainingRun) -> dict[str, Any]:
    return {k: v for k, v in asdict(run).items() if k not in ("data", "out")}
