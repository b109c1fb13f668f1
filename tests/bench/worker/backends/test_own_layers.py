"""What the backends do to layers that the inspector does not have."""

from __future__ import annotations

import pytest
import torch

from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task
from bench.worker.backends import stock

pytestmark = pytest.mark.torch


def prepared(model: torch.nn.Module, example: torch.Tensor, **changes: object) -> torch.Tensor:
    """The model's answer in a scenario of the stock backend."""
    fields = {"mode": Mode.EAGER, "dtype": Dtype.FP32, "layout": Layout.CHANNELS_LAST, **changes}
    scenario = Scenario(task=Task.INFERENCE, backend="stock", batch_size=2, **fields)  # type: ignore[arg-type] # by name
    with torch.inference_mode():
        return stock.prepare(model, scenario, example)(example)  # type: ignore[no-any-return] # a tensor


@pytest.mark.parametrize("mode", [Mode.EAGER, Mode.TORCHSCRIPT])
def test_an_encoder_layer_runs_in_bf16(mode: Mode) -> None:
    """It reads its linear layers' weights itself, which must be of one type."""
    torch.manual_seed(1)
    model = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu").eval()
    example = torch.randn(2, 4, 16)
    with torch.inference_mode():
        expected = model(example)
    fusion = True if mode is Mode.TORCHSCRIPT else None
    found = prepared(model, example, mode=mode, fusion=fusion, dtype=Dtype.BF16)
    assert torch.allclose(found.float(), expected, atol=0.05)


def test_volumes_and_tokens_have_layouts_of_their_own() -> None:
    """channels_last means five dimensions for volumes, and nothing for numbers of words."""
    volume = torch.nn.Conv3d(2, 4, 3)
    assert prepared(
        torch.nn.Sequential(volume, torch.nn.ReLU()), torch.randn(2, 2, 5, 5, 5)
    ).shape == (2, 4, 3, 3, 3)
    assert volume.weight.is_contiguous(memory_format=torch.channels_last_3d)
    words = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 3))
    assert prepared(words, torch.randint(9, (2, 7))).shape == (2, 7, 3)
