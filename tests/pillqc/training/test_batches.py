"""Outputs of frozen blocks are computed once and change nothing about what is learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import torch

from pillqc.model.network import CustomVGG, load_model
from pillqc.training.batches import FrozenFeed, ImageFeed, TensorSource, feed_for
from pillqc.training.train import TrainingOptions, train

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = pytest.mark.torch

_OPTIONS = TrainingOptions(epochs=2, batch_size=2, target_accuracy=1.1)


def _source() -> TensorSource:
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return TensorSource(all_images=images, labels=torch.arange(6) % 2)


def _trained(options: TrainingOptions) -> dict[str, Tensor]:
    model = load_model("random", seed=1).model
    train(model, _source(), options)
    return model.state_dict()


def test_reuse_learns_what_the_plain_loop_learns() -> None:
    """Weights agree within float error after two epochs, and differ from where they began."""
    fast, plain = _trained(_OPTIONS), _trained(replace(_OPTIONS, plain=True))
    assert all(torch.allclose(fast[name], plain[name], atol=1e-5) for name in plain)
    assert not torch.equal(fast["head.weight"], load_model("random", seed=1).model.head.weight)


def test_the_same_seed_gives_the_same_bits_on_the_real_model() -> None:
    """Reading ahead and reuse do not make a training depend on timing."""
    first, second = _trained(_OPTIONS), _trained(_OPTIONS)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_frozen_blocks_see_every_image_once() -> None:
    """Two epochs of six images, and six images go through blocks 1 to 4."""
    seen = []
    original = CustomVGG.frozen_outputs

    def counting(model: CustomVGG, images: Tensor) -> Tensor:
        seen.append(len(images))
        return original(model, images)

    with mock.patch.object(CustomVGG, "frozen_outputs", counting):
        _trained(_OPTIONS)
    assert sum(seen) == 6


def test_what_has_no_room_is_computed_again() -> None:
    """With room for one image the rest is computed in every epoch, in the right order."""
    model = load_model("random").model.train()
    source = _source()
    with torch.no_grad():
        wanted = model.frozen_outputs(source.all_images[:3])
    feed = FrozenFeed(model, source, room_bytes=wanted[0].numel() * 4)
    for _ in range(2):
        loaded = feed.load([2, 0, 1], 0)
        assert torch.allclose(feed.inputs(loaded), wanted[[2, 0, 1]], atol=1e-5)
    again = feed.load([0, 2], 1)
    assert again.images is not None
    assert len(again.images) == 1


@pytest.mark.parametrize(("fixed", "freeze"), [(False, True), (True, False)])
def test_augmentation_and_trained_blocks_forbid_reuse(fixed: bool, freeze: bool) -> None:
    """Then every image goes through the whole model, every time."""
    model = load_model("random", freeze=freeze).model
    source = replace(_source(), fixed=fixed)
    assert isinstance(feed_for(model, source), ImageFeed)
    assert isinstance(feed_for(model, source, reuse=False), ImageFeed)
    assert isinstance(feed_for(load_model("random").model, _source()), FrozenFeed)


def test_evidence_is_added_up_in_full_precision_under_autocast() -> None:
    """In bf16 the scores of unlike images would come out as the same multiple of a quarter."""
    model = load_model("random", freeze=False).model.train()
    source = _source()
    feed = ImageFeed(model=model, source=source)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores, cells = feed.scores(source.all_images), feed.cells(source.all_images)
        assert model(source.all_images).dtype == torch.bfloat16
    assert scores.dtype == cells.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
