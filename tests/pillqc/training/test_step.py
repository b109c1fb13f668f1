"""A step changes only what trains; rare classes weigh more; windows see the masks."""

from __future__ import annotations

import pytest
import torch

from pillqc.model.network import FROZEN_LAYERS, load_model
from pillqc.training.step import (
    EVIDENCE_OFFSET,
    class_weights,
    defect_loss,
    defect_shares,
    defect_weights,
    defect_window_loss,
    make_optimizer,
    training_step,
    window_loss,
    window_truth,
)

pytestmark = pytest.mark.torch


def test_a_step_of_the_real_model_changes_only_conv5_and_the_head() -> None:
    """Blocks 1 to 4 are frozen."""
    model = load_model("random").model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    labels = torch.tensor([0, 1])
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss = training_step(model, make_optimizer(model), images, labels, class_weights(labels))
    changed = {n for n, v in model.state_dict().items() if not torch.equal(before[n], v)}
    layers = {int(name.split(".")[1]) for name in changed if name.startswith("features")}
    assert layers == {24, 26, 28}
    assert min(layers) > FROZEN_LAYERS
    assert {"head.weight", "head.bias"} <= changed
    assert float(loss) > 0


def test_the_head_may_learn_faster_than_the_features() -> None:
    """Adam's first step is as long as the rate; frozen layers have none."""
    model = load_model("random").model.train()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = make_optimizer(model, lr=1e-3, head_rate=10.0)
    assert [len(group["params"]) for group in optimizer.param_groups] == [6, 2]
    for values in model.parameters():
        values.grad = torch.ones_like(values)
    optimizer.step()
    moved = {n: float((before[n] - v.detach()).abs().max()) for n, v in model.named_parameters()}
    assert moved["head.weight"] == pytest.approx(1e-2, rel=1e-2)
    assert moved["features.28.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert moved["features.0.weight"] == 0


def test_rare_classes_weigh_more() -> None:
    """Of 3 good and 1 bad, the bad one counts three times; the mean weight is 1."""
    weights = class_weights(torch.tensor([0, 0, 0, 1]))
    assert weights.tolist() == pytest.approx([0.5, 1.5])
    assert class_weights(torch.tensor([0, 0])).isfinite().all()


def test_a_window_is_defective_when_one_of_its_cells_is() -> None:
    """A mask in one cell marks the four windows around it; a single pixel leaves them unclear."""
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 17:30, 33:47] = True
    truth = window_truth(mask, 4)
    assert truth.shape == (1, 5, 5)
    assert truth[0].nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    speck = torch.zeros(1, 64, 64, dtype=torch.bool)
    speck[0, 20, 40] = True
    assert window_truth(speck, 4).max() == 0.5


def test_images_without_a_known_mask_add_nothing_to_the_window_loss() -> None:
    """A bad image without a mask says nothing about its windows."""
    cells = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[:, 17:30, 33:47] = True
    some = window_loss(cells, masks, torch.tensor([True, False]))
    assert float(some) == pytest.approx(float(window_loss(cells[:1], masks[:1])))
    assert float(some) != pytest.approx(float(window_loss(cells, masks)))


_NAN = float("nan")


def test_pills_with_a_defect_weigh_as_much_as_those_without() -> None:
    """Of four pills one has the first defect; the second is known of two; the mean weight is 1."""
    present = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, _NAN], [0.0, _NAN]])
    shares = defect_shares(present)
    assert shares.tolist() == [0.25, 0.5]
    weights = defect_weights(present, shares)
    assert weights[:, 0].tolist() == pytest.approx([2.0, 2 / 3, 2 / 3, 2 / 3])
    assert weights[:, 1].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert defect_weights(present[1:], defect_shares(present[1:])).isfinite().all()


def test_a_pill_whose_defects_are_not_known_adds_nothing_to_their_loss() -> None:
    """Whatever its scores are."""
    present = torch.tensor([[1.0, 0.0], [_NAN, _NAN]])
    weights = defect_weights(present, defect_shares(present))
    loss = defect_loss(torch.tensor([[0.0, 0.0], [9.0, -9.0]]), present, weights)
    assert float(loss[0]) > 0
    assert float(loss[1]) == 0


def test_a_pill_has_its_defect_and_rather_it_than_another() -> None:
    """Where all scores are high, the own one still has to be the highest."""
    present = torch.tensor([[1.0, 0.0]])
    scores = torch.tensor([[9.0, 9.0]], requires_grad=True)
    defect_loss(scores, present, torch.tensor([[1.0, 1.0]])).sum().backward()  # type: ignore[no-untyped-call] # untyped
    assert scores.grad is not None
    own, other = scores.grad[0].tolist()
    assert own == pytest.approx(-0.25, abs=1e-3), "half a cross-entropy of two even names"
    assert other == pytest.approx(0.75, abs=1e-3)


def _masked(*defective: bool) -> torch.Tensor:
    masks = torch.zeros(len(defective), 64, 64, dtype=torch.bool)
    masks[torch.tensor(defective), 17:30, 33:47] = True
    return masks


def test_a_window_has_its_own_defect_and_no_other() -> None:
    """The loss falls with that defect's evidence and rises with any other's."""
    cells = torch.full((1, 2, 5, 5), EVIDENCE_OFFSET, requires_grad=True)
    present = torch.tensor([[0.0, 1.0]])
    defect_window_loss(cells, _masked(True), present).backward()  # type: ignore[no-untyped-call] # untyped
    assert cells.grad is not None
    other, own = cells.grad[0, :, 1, 2].tolist()
    clean = cells.grad[0, :, 4, 4].tolist()
    assert own < 0 < other
    assert other == pytest.approx(-own), "with two defects the other weighs as much"
    assert clean == pytest.approx([other / (25 / 4)] * 2), "four windows of 25 have the defect"


def test_a_small_defect_weighs_as_much_as_a_large_one() -> None:
    """Another product is defective everywhere, a crack in a few windows."""
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 17:30, 33:47] = masks[1] = True
    cells = torch.full((2, 2, 5, 5), EVIDENCE_OFFSET, requires_grad=True)
    present = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    defect_window_loss(cells, masks, present).backward()  # type: ignore[no-untyped-call] # untyped
    assert cells.grad is not None
    small, large = float(cells.grad[0, 0, 1:3, 2:4].sum()), float(cells.grad[1, 1].sum())
    assert small == pytest.approx(large)
    assert small < 0


def test_windows_with_defects_that_are_not_known_say_nothing() -> None:
    """Those outside of the mask have none; without a mask no window says anything."""
    cells = torch.zeros(1, 2, 5, 5, requires_grad=True)
    present = torch.full((1, 2), _NAN)
    defect_window_loss(cells, _masked(True), present).backward()  # type: ignore[no-untyped-call] # untyped
    assert cells.grad is not None
    assert not cells.grad[0, :, 1:3, 2:4].any()
    assert bool((cells.grad[0, :, 4, 4] > 0).all())
    known = torch.tensor([False])
    assert float(defect_window_loss(cells.detach(), _masked(True), present, known)) == 0
