"""A widened model trains in its narrow form and comes back to full width; nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import torch

from pillqc.model.narrowing import (
    decision_form,
    narrow_blocks,
    narrow_form,
    wide_form,
    with_defects_of,
    with_features_of,
)
from pillqc.model.network import CustomVGG, load_model, with_defects

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = pytest.mark.torch


def answers(model: CustomVGG, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores and raw evidence: saturated probabilities would hide differences."""
    with torch.inference_mode():
        features = model.features(images)
        return model.scores(features), model.evidence(features, images.shape[-2:])


def narrow_model(n_defects: int = 0) -> CustomVGG:
    """An eighth of the width, with a scale of maps."""
    torch.manual_seed(5)
    model = CustomVGG(n_defects=n_defects, freeze=False, narrowing=8).eval()
    low, high = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 3.0])
    model.calibrate_maps(*(torch.cat([v, torch.ones(n_defects) * v[1]]) for v in (low, high)))
    return model


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_the_shipped_model_has_a_narrow_form_that_answers_alike() -> None:
    """Half of the width, within what half precision rounds: a quarter decides, another names."""
    shipped = load_model().model
    narrow = narrow_form(shipped)
    assert narrow.head.in_features == 256
    for mine, its in zip(answers(narrow, IMAGES), answers(shipped, IMAGES), strict=True):
        assert float((mine - its).abs().max()) < 0.02 * float(its.abs().max())


def test_the_decision_of_the_shipped_model_needs_a_quarter_of_the_width() -> None:
    """Its names read features of their own, and trainings of good and bad do not pay for them."""
    shipped = load_model(freeze=False).model
    decision = decision_form(shipped)
    assert (decision.head.weight.shape, decision.n_defects) == ((2, 512), 0)
    assert narrow_form(decision).head.in_features == 128
    assert not decision.is_frozen()
    for mine, its in zip(answers(decision, IMAGES), answers(shipped, IMAGES), strict=True):
        assert torch.allclose(mine, its[:, :2], rtol=1e-4, atol=1e-3)
    assert torch.equal(decision.map_high, shipped.map_high[:2])
    assert bool(decision.map_calibrated)


def test_names_that_share_the_features_leave_them_whole() -> None:
    """Then the decision without names is the same network with fewer outputs."""
    named = wide_form(narrow_model(n_defects=3))
    decision = decision_form(named)
    assert decision.n_defects == 0
    expected = named.features.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in decision.features.state_dict().items())
    assert torch.equal(decision.head.weight, named.head.weight[:2])
    assert decision_form(decision) is decision


@pytest.mark.parametrize("n_defects", [0, 3])
def test_there_and_back_again_nothing_changes(n_defects: int) -> None:
    """Neither evidence nor the scale of the maps, whichever part of the width it is."""
    narrow = narrow_model(n_defects)
    wide = wide_form(narrow)
    assert wide.head.in_features == 512
    again = narrow_form(wide)
    assert again.head.in_features == 64
    for model in (wide, again):
        assert (model.n_classes, model.n_defects) == (2, n_defects)
        for mine, its in zip(answers(model, IMAGES), answers(narrow, IMAGES), strict=True):
            assert torch.allclose(mine, its, rtol=1e-4, atol=1e-5)
        assert torch.equal(model.map_low, narrow.map_low)
        assert bool(model.map_calibrated)


def test_defects_learnt_in_the_narrow_form_are_those_of_the_wide_one() -> None:
    """Good and bad of the wide one keep their weights, whatever happened to them there."""
    trained = narrow_model(n_defects=3)
    expected = answers(trained, IMAGES)
    wide = with_defects(wide_form(trained), 0)
    with torch.no_grad():
        trained.head.weight[:2] += 1.0
    made = with_defects_of(wide, trained)
    assert torch.equal(made.head.weight[:2], wide.head.weight)
    assert torch.equal(made.map_high, trained.map_high)
    for mine, its in zip(answers(made, IMAGES), expected, strict=True):
        assert torch.allclose(mine, its, rtol=1e-4, atol=1e-4)


def test_names_with_features_of_their_own_leave_the_decision_as_it_was() -> None:
    """Good and bad are the wide model's, defects the trained one's, and both fit in full width."""
    trained = narrow_model(n_defects=3)
    decides = with_defects(wide_form(trained), 0)
    with torch.no_grad():  # it has learnt other features, and other things of good and bad
        for values in trained.parameters():
            values.mul_(1.1)
    made = with_features_of(decides, trained)
    assert (made.head.in_features, made.n_defects, made.training) == (128, 3, False)
    wide = wide_form(made)
    assert wide.head.in_features == 512
    assert narrow_form(wide).head.in_features == 128
    parts = list(zip(answers(decides, IMAGES), answers(trained, IMAGES), strict=True))
    for model in (made, wide):
        for mine, (decided, named) in zip(answers(model, IMAGES), parts, strict=True):
            expected = torch.cat([decided, named[:, 2:]], dim=1)
            assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(model.map_high, torch.tensor([1.0, 3.0, 3.0, 3.0, 3.0]))
        assert bool(model.map_calibrated)


def test_new_names_take_the_place_of_old_ones() -> None:
    """A model that names with features of its own has room again for the features of others."""
    before, after = narrow_model(n_defects=3), narrow_model(n_defects=2)
    with torch.no_grad():
        for values in after.parameters():
            values.mul_(0.9)
    decides = with_defects(wide_form(before), 0)
    named = wide_form(with_features_of(decides, before))
    again = with_features_of(named, after)
    assert (again.head.in_features, again.n_defects) == (128, 2)
    parts = zip(answers(decides, IMAGES), answers(after, IMAGES), strict=True)
    for mine, (decided, its) in zip(answers(again, IMAGES), parts, strict=True):
        expected = torch.cat([decided, its[:, 2:]], dim=1)
        assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-4)


def test_a_model_that_is_no_widened_one_stays_as_it_is() -> None:
    """Taking unlike channels together would destroy what it has learnt."""
    wide = wide_form(narrow_model())
    with torch.no_grad():
        cast("torch.nn.Conv2d", wide.features[10]).weight[1] *= 1.1
    assert narrow_form(wide) is wide
    random = load_model("random").model
    assert narrow_form(random) is random
    assert wide_form(random) is random


def test_frozen_blocks_have_a_narrow_form_even_where_later_layers_have_diverged() -> None:
    """One of each eight equal channels; a model that was never widened has none."""
    narrow = narrow_model()
    wide = wide_form(narrow)
    with torch.no_grad():
        for layer in wide.features[24:].parameters():
            layer.add_(torch.randn_like(layer))
    assert narrow_form(wide) is wide
    found = narrow_blocks(wide)
    assert found is not None
    blocks, copies = found
    with torch.inference_mode():
        few, all_of_them = blocks(IMAGES), wide.frozen_outputs(IMAGES)
    assert (copies, few.shape) == (8, (2, 64, 4, 4))
    assert torch.allclose(few.repeat_interleave(copies, dim=1), all_of_them, rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for p in blocks.parameters())
    assert narrow_blocks(CustomVGG()) is None
