"""Good and bad are learnt as before, and beside them the names of defects."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pillqc.training.batches import TensorSource
from pillqc.training.loop import Epoch, TrainingOptions, train
from pillqc.training.objective import Objective

pytestmark = pytest.mark.torch

_NAN = float("nan")
LABELS = torch.tensor([0, 1, 1, 1])
PRESENT = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [_NAN, _NAN]])


def source(present: Tensor | None = PRESENT) -> TensorSource:
    """A good pill, one with each of two defects, and one with several."""
    return TensorSource(all_images=torch.zeros(4, 3, 4, 4), labels=LABELS, defects=present)


def scores() -> Tensor:
    """Scores of good, bad and two defects."""
    return torch.randn(4, 4, generator=torch.Generator().manual_seed(0))


def test_without_names_the_loss_is_that_of_good_and_bad() -> None:
    """The defects add theirs, and change nothing of it."""
    everything = range(4)
    plain, named = Objective(source(None)), Objective(source())
    alone = plain.image_loss(scores()[:, :2], everything, everything)
    known = torch.nn.functional.cross_entropy(
        scores()[:, :2], LABELS, weight=torch.tensor([1.5, 0.5])
    )
    assert float(alone) == pytest.approx(float(known))
    changed = scores()
    changed[3, 2:] = 99.0  # of the pill with several defects
    both = [float(named.image_loss(s, everything, everything)) for s in (scores(), changed)]
    assert both[0] == both[1] > float(alone)


def test_the_shares_of_processes_add_up_to_the_batch() -> None:
    """A team computes what one process computes."""
    objective, batch = Objective(source()), [2, 0, 3, 1]
    whole = objective.image_loss(scores()[batch], batch, batch)
    parts = [objective.image_loss(scores()[part], part, batch) for part in ([2, 0], [3, 1])]
    assert float(sum(parts)) == pytest.approx(float(whole))


def test_an_image_is_right_if_its_likeliest_defect_is() -> None:
    """Of a pill with several defects only good or bad counts."""
    objective = Objective(source())
    found = torch.tensor(
        [
            [1.0, 0.0, 9.0, 0.0],
            [0.0, 1.0, 0.2, 0.1],
            [0.0, 1.0, 0.2, 0.1],
            [0.0, 1.0, 0.0, 0.0],
        ]
    )
    assert objective.right(found, range(4)) == 3
    assert Objective(source(None)).right(found[:, :2], range(4)) == 4


def test_a_validation_tells_naming_from_finding() -> None:
    """All bad pills found, and the two defects taken for each other."""
    found = torch.tensor(
        [
            [1.0, 0.0, 0.5, 0.5],
            [0.0, 1.0, 0.0, 1.0],
            [0.0, 1.0, 1.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
        ]
    )
    validation = Objective(source()).validation(found)
    assert (validation.auroc, validation.defect_auroc) == (1.0, 0.0)
    assert Objective(source(None)).validation(found[:, :2]).defect_auroc is None


class _Colours(nn.Module):
    """Learns from mean colours."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 4)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(images.mean((2, 3)))
        return found


def test_a_training_learns_names_and_keeps_the_epoch_that_names_best() -> None:
    """Red pills have one defect, green ones another; each is bad."""
    kinds = torch.arange(24) % 3
    images = torch.randn(24, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images += 4.0 * nn.functional.one_hot(kinds, 3)[:, :, None, None]
    pills = TensorSource(
        all_images=images,
        labels=(kinds > 0).long(),
        defects=nn.functional.one_hot(kinds, 3)[:, 1:].float(),
    )
    epochs: list[Epoch] = []
    options = TrainingOptions(epochs=30, batch_size=6, learning_rate=0.1, target_accuracy=1.0)
    model = _Colours()
    result = train(model, pills, options, validation=pills, on_epoch=epochs.append)
    assert result.stopped == "target accuracy"
    named = model(images)[:, 2:].argmax(dim=1)
    assert torch.equal(named[kinds > 0], kinds[kinds > 0] - 1)
    best = max(e.validation_auroc + e.validation_defect_auroc for e in epochs)  # type: ignore[operator] # measured
    kept = epochs[(result.best_epoch or 0) - 1]
    assert kept.validation_auroc is not None
    assert kept.validation_defect_auroc is not None
    assert kept.validation_auroc + kept.validation_defect_auroc == best
