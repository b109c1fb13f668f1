"""A widened model trains in its narrow form and comes back to full width; nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import torch

from pillqc.model.narrowing import (
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
    """A quarter of the width, within what half precision rounds."""
    shipped = load_model().model
    narrow = narrow_form(shipped)
    assert narrow.head.in_features == 128
    for mine, its in zip(answers(narrow, IMAGES), answers(shipped, IMAGES), strict=True):
        assert float((mine - its).abs().max()) < 0.02 * float(its.abs().max())


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
