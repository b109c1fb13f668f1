"""The loop learns, stops when it should, keeps frozen weights, and reports bad input."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from pillqc.errors import PillqcError
from pillqc.training.batches import TensorSource
from pillqc.training.distributed import Team
from pillqc.training.loop import TrainingOptions, TrainingResult, train
from pillqc.training.step import cycle, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.torch


class _Tiny(nn.Module):
    """Learns in a few steps that brighter means bad."""

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


def test_training_reaches_the_target_accuracy_and_changes_only_what_trains() -> None:
    """An easy task stops long before the last epoch; frozen weights stay."""
    model = _Tiny()
    before = _copy(model)
    result = train(model, _source(), _FAST)
    assert result.stopped == "target accuracy"
    assert result.history[-1].accuracy >= 0.98
    assert len(result.history) < 30
    after = model.state_dict()
    assert torch.equal(before["frozen.weight"], after["frozen.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])


@pytest.mark.parametrize(
    ("options", "stopped", "epochs"),
    [
        ({"epochs": 2}, "epochs", 2),
        ({"epochs": 50, "max_seconds": 1e-9}, "time", 1),
        ({"epochs": 50, "patience": 2, "learning_rate": 1e-30}, "patience", 3),
    ],
)
def test_training_stops_after_epochs_time_or_patience(
    options: dict[str, Any], stopped: str, epochs: int
) -> None:
    """An accuracy that cannot be reached does not make it run for ever."""
    options = {"target_accuracy": 1.1, **options}
    result = train(_Tiny(), _source(), TrainingOptions(**options), validation=_source(8))
    assert (result.stopped, len(result.history)) == (stopped, epochs)


@dataclass(frozen=True, kw_only=True)
class _Beside(Team):
    """A process of a team whose processes are threads."""

    boxes: tuple[SimpleQueue[Tensor | None], ...]
    """Messages to each; None is the last."""

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all threads, in place."""
        self.boxes[1 - self.rank].put(values.clone())
        message = self.boxes[self.rank].get()
        if message is None:
            raise ConnectionResetError
        return values.add_(message)


@pytest.mark.parametrize("max_seconds", range(1, 12))
def test_processes_stop_after_the_same_epoch_though_their_clocks_differ(
    monkeypatch: pytest.MonkeyPatch, max_seconds: int
) -> None:
    """What one waits beside the others, as while it saves, does not end its training alone."""
    clocks = threading.local()  # of the second process: a second passes at each look

    def look() -> float:
        now: float = getattr(clocks, "now", 0.0) + clocks.rank
        clocks.now = now
        return now

    monkeypatch.setattr("pillqc.training.loop.time", SimpleNamespace(perf_counter=look))
    boxes: tuple[SimpleQueue[Tensor | None], ...] = (SimpleQueue(), SimpleQueue())
    options = TrainingOptions(epochs=50, max_seconds=max_seconds, target_accuracy=1.1)
    models = [_Tiny(), _Tiny()]  # here: the seed is one for all threads

    def one(rank: int) -> TrainingResult:
        clocks.rank = rank
        team = _Beside(rank=rank, size=2, boxes=boxes)
        try:
            return train(models[rank], _source(), options, team=team)
        finally:
            boxes[1 - rank].put(None)  # a process that has ended answers no other

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(one, range(2))
    assert first.stopped == second.stopped == "time"
    assert [e.loss for e in first.history] == [e.loss for e in second.history]


def test_the_same_seed_gives_the_same_bits() -> None:
    """Another seed gives other weights."""
    ends = []
    for seed in (1, 1, 2):
        model = _Tiny()
        options = TrainingOptions(seed=seed, epochs=2, batch_size=4, target_accuracy=1.1)
        train(model, _source(), options)
        ends.append(model.head.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_data_that_cannot_train_is_refused() -> None:
    """One kind of pill, no masks of bad images, and values that make the loss infinite."""
    good = TensorSource(all_images=torch.zeros(4, 3, 4, 4), labels=torch.zeros(4).long())
    with pytest.raises(PillqcError, match="one kind only"):
        train(_Tiny(), good)
    with pytest.raises(PillqcError, match="no masks of bad images"):
        train(_Tiny(), _source(), TrainingOptions(masks=True))
    images = torch.full((4, 3, 4, 4), float("inf"))
    endless = TensorSource(all_images=images, labels=torch.tensor([0, 1, 0, 1]))
    with pytest.raises(PillqcError, match="lower the learning rate"):
        train(_Tiny(), endless, _FAST)


def test_optimize_gets_a_training_model_and_its_weights_come_back() -> None:
    """The model that was passed in has what the optimized copy learnt."""
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


def test_a_cycle_rises_and_then_falls_to_0() -> None:
    """The highest rate comes after a fifth of the steps."""
    rates = [cycle(step / 100) for step in range(101)]
    assert max(rates) == rates[20] == 1.0
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0.0 < rates[0] < 0.1
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert not TrainingOptions().cycle


def test_a_whole_cycle_keeps_its_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rate falls to nothing for that; without one the best by validation stays."""
    kept = []
    for cycle_or_not in (True, False):
        aurocs = iter((0.9, 0.8, 0.7))
        monkeypatch.setattr(
            "pillqc.training.objective.metrics.roc_auc_score", lambda *_, a=aurocs: next(a)
        )
        options = TrainingOptions(epochs=3, target_accuracy=None, cycle=cycle_or_not)
        kept.append(train(_Tiny(), _source(), options, validation=_source()).best_epoch)
    assert kept == [3, 1]


def test_a_cycle_keeps_the_head_ahead_of_the_features() -> None:
    """Both rates fall, and one stays a multiple of the other."""
    kept: list[torch.optim.Optimizer] = []

    def keep(
        model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        kept.append(optimizer)
        return model, optimizer

    model = _Tiny()
    model.frozen.requires_grad_(requires_grad=True)
    options = TrainingOptions(
        learning_rate=1e-3, head_rate=10.0, epochs=1, batch_size=4, target_accuracy=None, cycle=True
    )
    train(model, _source(), options, optimize=keep)
    features, head = (group["lr"] for group in kept[0].param_groups)
    assert features == pytest.approx(1e-3 * cycle(3 / 4))
    assert head == pytest.approx(10.0 * features)
