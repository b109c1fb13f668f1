"""Training learns, stops when it should, and never touches what is frozen."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from pillqc.errors import PillqcError
from pillqc.model.network import FROZEN_LAYERS, load_model
from pillqc.training.train import (
    TensorSource,
    TrainingOptions,
    class_weights,
    make_optimizer,
    train,
    training_step,
)
from tests.hardware import needs_onednn_bf16

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.torch


class _Tiny(nn.Module):
    """Brighter means bad: learnt in a few steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Conv2d(3, 3, 1)
        self.frozen.requires_grad_(requires_grad=False)
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.frozen(images).mean((2, 3)))
        return scores


def _source(n: int = 16) -> TensorSource:
    labels = torch.arange(n) % 2
    images = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return TensorSource(all_images=images + 4.0 * labels[:, None, None, None], labels=labels)


def _copy(model: nn.Module) -> Mapping[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


_FAST = TrainingOptions(learning_rate=0.1, batch_size=4, epochs=30)


def test_training_stops_at_the_target_accuracy() -> None:
    """An easy task reaches it long before the last epoch."""
    result = train(_Tiny(), _source(), _FAST)
    assert result.stopped == "target accuracy"
    assert result.history[-1].accuracy >= 0.98
    assert len(result.history) < 30


def test_training_stops_after_the_last_epoch() -> None:
    """A target that cannot be reached does not run for ever."""
    result = train(_Tiny(), _source(), TrainingOptions(epochs=2, target_accuracy=1.1))
    assert (result.stopped, len(result.history)) == ("epochs", 2)


def test_training_stops_when_its_time_is_over() -> None:
    """The epoch that passes the limit is the last."""
    options = TrainingOptions(epochs=50, target_accuracy=1.1, max_seconds=1e-9)
    result = train(_Tiny(), _source(), options)
    assert (result.stopped, len(result.history)) == ("time", 1)


def test_frozen_parameters_never_change() -> None:
    """What is frozen is not in the optimizer; what trains changes."""
    model = _Tiny()
    before = _copy(model)
    train(model, _source(), _FAST)
    after = model.state_dict()
    assert torch.equal(before["frozen.weight"], after["frozen.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_a_step_of_the_real_model_changes_conv5_and_the_head_only() -> None:
    """One step at 32 px: conv5_1 to conv5_3 and the head move, blocks 1 to 4 stay."""
    model = load_model("random").model.train()
    before = _copy(model)
    labels = torch.tensor([0, 1])
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss = training_step(model, make_optimizer(model), images, labels, class_weights(labels))
    changed = {n for n, v in model.state_dict().items() if not torch.equal(before[n], v)}
    layers = {int(name.split(".")[1]) for name in changed if name.startswith("features")}
    assert layers == {24, 26, 28}
    assert min(layers) > FROZEN_LAYERS
    assert {"head.weight", "head.bias"} <= changed
    assert float(loss) > 0


def test_the_same_seed_gives_the_same_bits() -> None:
    """Two trainings of one seed end with equal weights; another seed with others."""
    ends = []
    for seed in (1, 1, 2):
        model = _Tiny()
        options = TrainingOptions(seed=seed, epochs=2, batch_size=4, target_accuracy=1.1)
        train(model, _source(), options)
        ends.append(model.head.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_rare_classes_weigh_more() -> None:
    """With 3 good and 1 bad, the bad one counts three times; the mean weight is 1."""
    weights = class_weights(torch.tensor([0, 0, 0, 1]))
    assert weights.tolist() == pytest.approx([0.5, 1.5])
    assert class_weights(torch.tensor([0, 0])).isfinite().all()


def test_data_of_one_kind_is_refused() -> None:
    """Good pills alone teach nothing."""
    source = TensorSource(all_images=torch.zeros(4, 3, 4, 4), labels=torch.zeros(4).long())
    with pytest.raises(PillqcError, match="one kind only"):
        train(_Tiny(), source)


def test_a_diverged_training_is_said_and_not_saved() -> None:
    """A loss that is no number ends the training with what to do."""
    images = torch.full((4, 3, 4, 4), float("inf"))
    source = TensorSource(all_images=images, labels=torch.tensor([0, 1, 0, 1]))
    with pytest.raises(PillqcError, match="lower the learning rate"):
        train(_Tiny(), source, _FAST)


def test_the_optimize_step_gets_a_training_model_and_its_weights_come_back() -> None:
    """What an optimised copy learns ends up in the model that was passed in."""
    seen: list[Any] = []

    def optimize(
        model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        seen.append((model.training, len(optimizer.param_groups[0]["params"])))
        copy = _Tiny()
        copy.load_state_dict(model.state_dict())
        return copy, make_optimizer(copy, lr=0.1)

    model = _Tiny()
    before = _copy(model)
    result = train(model, _source(), _FAST, optimize=optimize)
    assert seen == [(True, 2)]
    assert not torch.equal(before["head.weight"], model.state_dict()["head.weight"])
    assert result.optimized_layers == 0
    assert not model.training


_IPEX = """
import torch
from pillqc.model.network import load_model
from pillqc.training.train import TensorSource, TrainingOptions, ipex_optimize, train
def run(optimize, dtype=None):
    model = load_model("random", seed=1).model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    labels = torch.tensor([0, 1] * 4)
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images[1::2] += 1.0
    options = TrainingOptions(epochs=2, batch_size=4, target_accuracy=1.1, autocast_dtype=dtype)
    source = TensorSource(all_images=images, labels=labels)
    result = train(model, source, options, optimize=optimize)
    changed = sorted(k for k, v in model.state_dict().items() if not torch.equal(before[k], v))
    with torch.no_grad():
        return result, changed, model(images)[0]
plain, changed, wanted = run(None)
fp32, changed32, got32 = run(ipex_optimize())
bf16, changed16, got16 = run(ipex_optimize(torch.bfloat16), torch.bfloat16)
assert plain.optimized_layers == 0 and fp32.optimized_layers == 13 and bf16.optimized_layers == 14
assert changed == changed32 == changed16, (changed, changed32, changed16)
assert torch.allclose(wanted, got32, atol=1e-2), (wanted - got32).abs().max()
assert torch.allclose(wanted, got16, atol=1e-1), (wanted - got16).abs().max()
"""


@pytest.mark.ipex
@pytest.mark.slow
@needs_onednn_bf16
def test_ipex_trains_the_same_model_in_both_dtypes() -> None:
    """IPEX replaces the layers, changes only what trains, and learns the same within its dtype."""
    pytest.importorskip("importlib.metadata").version("intel-extension-for-pytorch")
    done = subprocess.run(
        [sys.executable, "-c", _IPEX], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
