"""A user's model in a real IPEX worker: int8, training and labels, from one file of theirs."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.engine.worker_process import WorkerCommand, WorkerProcess, worker_arguments
from bench.plan.scenario import FULL, Dtype, Layout, Mode, Scenario, Task
from bench.worker import protocol
from tests.hardware import needs_onednn_bf16, needs_vnni

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.ipex, pytest.mark.timeout(300)]

CODE = """
import torch

class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(50, 64)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64)
        )
        self.around = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, tokens, mask):
        mixed = self.around(self.words(tokens)[:, None])[:, 0]
        return {"logits": self.layers(mixed) * mask[..., None], "hidden": None}

def inputs(size):
    return {"tokens": torch.randint(50, (size, 16)), "mask": torch.ones(size, 16)}

def calibration(size):
    return (inputs(size) for _ in range(4))

def label(outputs):
    return outputs["logits"].sum(1).argmax(1)

def loss(model, batch):
    return model(**batch)["logits"].square().mean()
"""
SCRIPT = Scenario(
    task=Task.INFERENCE,
    backend="ipex",
    mode=Mode.TORCHSCRIPT,
    fusion=True,
    layout=Layout.CHANNELS_LAST,
    batch_size=2,
)
STEP = replace(SCRIPT, task=Task.TRAINING, mode=Mode.EAGER, fusion=None, options=(FULL,))
TIMEOUT_S = 200.0


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """An IPEX worker of that file's model."""
    if find_spec("intel_extension_for_pytorch") is None:
        pytest.skip("intel-extension-for-pytorch is not installed")
    folder = tmp_path_factory.mktemp("own")
    (folder / "shop.py").write_text(CODE)
    names = {"model": "Tokens", "inputs": "inputs", "calibration": "calibration"}
    names |= {"decide": "label", "train-step": "loss"}
    options = [f"--{option}={folder}/shop.py:{name}" for option, name in names.items()]
    command = WorkerCommand(
        arguments=worker_arguments(
            sys.executable, ["--backend", "ipex", "--threads", "1", *options]
        ),
        environment={"PATH": "/usr/bin:/bin"},
        log=folder / "ipex.log",
    )
    process = WorkerProcess(command)
    process.greet(TIMEOUT_S)
    process.ask("rehearse", TIMEOUT_S, training_batch=2)
    yield process
    process.stop()


def outputs(worker: WorkerProcess, scenario: Scenario, folder: Path) -> dict[str, Any]:
    """Prepare the scenario, call it, and return its arrays."""
    worker.ask("prepare", TIMEOUT_S, scenario=protocol.encode(scenario))
    worker.ask("call", TIMEOUT_S, n=1, phase="first_call")
    worker.ask("outputs", TIMEOUT_S, path=str(folder / "found.npz"), within_s=0.0)
    with np.load(folder / "found.npz") as arrays:
        return dict(arrays)


@needs_vnni
def test_int8_is_calibrated_on_the_users_data_by_keyword(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    """Its kernels took 8-bit numbers, and its numbers and labels are near to fp32's."""
    expected = outputs(worker, SCRIPT, tmp_path)
    found = outputs(worker, replace(SCRIPT, dtype=Dtype.INT8), tmp_path)
    assert worker.ask("kernels", TIMEOUT_S)["contradiction"] is None
    scale = np.abs(expected["output_0"]).max()
    error = np.abs(found["output_0"] - expected["output_0"]).max()
    assert 0 < error < 0.1 * scale
    assert len(found["labels"]) >= 8
    assert len(set(expected["labels"])) > 1
    assert np.mean(found["labels"] == expected["labels"]) > 0.5


@pytest.mark.parametrize("dtype", [Dtype.FP32, pytest.param(Dtype.BF16, marks=needs_onednn_bf16)])
def test_a_training_step_runs_the_users_loss(
    worker: WorkerProcess, tmp_path: Path, dtype: Dtype
) -> None:
    """`ipex.optimize` gets the user's module with our Adam; the loss falls."""
    losses = outputs(worker, replace(STEP, dtype=dtype), tmp_path)["losses"]
    assert losses[0] > losses[1] > losses[2]
