"""Check training with IPEX: `python -m tests.pillqc.training.ipex_training PILLS FOLDER DTYPES`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pillqc.model.artifact import read_artifact
from pillqc.model.network import load_model
from pillqc.model.optimizing import ipex_optimize
from pillqc.training.batches import TensorSource
from pillqc.training.loop import Epoch, TrainingOptions, TrainingResult, train
from pillqc.training.run import TrainingRun, run_training

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LAYERS = {"fp32": 13, "bf16": 14}


def learnt(
    dtype: str | None, weights: str | None = "random"
) -> tuple[TrainingResult, list[str], Tensor]:
    """Train from these weights; return the result, changed ones and probabilities."""
    model = load_model(weights, seed=1).model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images[1::2] += 1.0
    autocast = torch.bfloat16 if dtype == "bf16" else None
    options = TrainingOptions(epochs=2, batch_size=4, target_accuracy=1.1, autocast_dtype=autocast)
    source = TensorSource(all_images=images, labels=torch.tensor([0, 1] * 4))
    optimize = ipex_optimize(DTYPES[dtype]) if dtype else None
    result = train(model, source, options, optimize=optimize)
    changed = sorted(k for k, v in model.state_dict().items() if not torch.equal(before[k], v))
    with torch.no_grad():
        return result, changed, model(images)[0]


def check_learning(dtypes: list[str]) -> None:
    """IPEX replaces the layers, changes only what trains, and learns the same within its dtype."""
    for weights in ("random", None):  # the shipped weights have equal channels
        plain, changed, expected = learnt(None, weights)
        assert plain.optimized_layers == 0
        for dtype in dtypes:
            result, changed_too, got = learnt(dtype, weights)
            assert result.optimized_layers == LAYERS[dtype], result
            assert changed == changed_too, (changed, changed_too)
            tolerance = 1e-1 if dtype == "bf16" else 1e-2
            assert torch.allclose(expected, got, atol=tolerance), (expected - got).abs().max()


def check_resume(pills: Path, folder: Path, dtype: str) -> None:
    """Packed weights and the optimizer's packed state come back from a checkpoint."""

    def run(name: str) -> TrainingRun:
        return TrainingRun(
            data=pills,
            out=folder / f"{name}-{dtype}.safetensors",
            size=32,
            epochs=3,
            target_accuracy=None,
            narrow=True,
            backend="ipex",
            dtype=dtype,
        )

    def kill(_: Epoch) -> None:
        raise KeyboardInterrupt

    run_training(run("whole"))
    try:
        run_training(run("killed"), on_epoch=kill)
    except KeyboardInterrupt:
        done = run_training(run("killed"))
    assert done is not None
    assert done.result.resumed_at == 2
    assert done.result.optimized_layers >= 13, done.result
    expected, got = (read_artifact(run(name).out)[1] for name in ("whole", "killed"))
    assert all(torch.equal(expected[name], value) for name, value in got.items())


if __name__ == "__main__":
    root, output, *chosen = sys.argv[1:]
    check_learning(chosen)
    for each in chosen:
        check_resume(Path(root), Path(output), each)
