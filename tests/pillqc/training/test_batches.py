"""Outputs of frozen blocks are computed once, and training learns the same from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from PIL import Image

from pillqc.data.decoding_process import read_image
from pillqc.data.folders import read_samples
from pillqc.model.narrowing import wide_form
from pillqc.model.network import CustomVGG
from pillqc.training.batches import BatchPipeline, FileSource, TensorSource
from pillqc.training.loop import TrainingOptions, train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

pytestmark = pytest.mark.torch

_OPTIONS = TrainingOptions(epochs=2, batch_size=2, target_accuracy=1.1)
_SOURCE = TensorSource(
    all_images=torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
    labels=torch.arange(6) % 2,
)


def _model(*, freeze: bool = True) -> CustomVGG:
    torch.manual_seed(1)
    return CustomVGG(freeze=freeze, narrowing=8)


def _trained(options: TrainingOptions) -> dict[str, Tensor]:
    model = _model()
    train(model, _SOURCE, options)
    return model.state_dict()


def test_reuse_learns_what_the_plain_loop_learns_with_the_same_bits_every_time() -> None:
    """Reading ahead and reuse do not make a training depend on timing."""
    fast, again = _trained(_OPTIONS), _trained(_OPTIONS)
    plain = _trained(replace(_OPTIONS, plain=True))
    assert all(torch.equal(fast[name], again[name]) for name in fast)
    assert all(torch.allclose(fast[name], plain[name], atol=1e-5) for name in plain)
    assert not torch.equal(fast["head.weight"], _model().head.weight)


def test_a_widened_model_learns_from_narrow_blocks_what_the_plain_loop_learns() -> None:
    """Losses are the same, and weights but for Adam's steps where a gradient is only rounding."""
    start, ours, plain = (wide_form(_model()).train() for _ in range(3))
    mine = train(ours, _SOURCE, _OPTIONS)
    its = train(plain, _SOURCE, replace(_OPTIONS, plain=True))
    losses = [[epoch.loss for epoch in result.history] for result in (mine, its)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for layer in (24, 26, 28):
        name = f"features.{layer}.weight"
        before, one, other = (model.state_dict()[name] for model in (start, ours, plain))
        assert float((one - other).norm()) < 0.05 * float((other - before).norm())


def test_of_equal_channels_one_is_kept() -> None:
    """An eighth of the outputs of blocks 1 to 4, from which the features are the model's own."""
    model = wide_form(_model()).train()
    pipeline = BatchPipeline(model, _SOURCE)
    inputs = pipeline.inputs(pipeline.load([4, 1], 0))
    assert inputs.shape[1] == 512 // 8
    with torch.no_grad():
        expected = model.scores(model.features(_SOURCE.all_images[[4, 1]]))
        assert torch.allclose(pipeline.scores(inputs), expected, rtol=1e-4, atol=1e-5)


def test_frozen_blocks_see_every_image_once() -> None:
    """In two epochs of six images, six images go through blocks 1 to 4."""
    seen = []
    original = CustomVGG.frozen_outputs

    def counting(model: CustomVGG, images: Tensor) -> Tensor:
        seen.append(len(images))
        return original(model, images)

    with mock.patch.object(CustomVGG, "frozen_outputs", counting):
        _trained(_OPTIONS)
    assert sum(seen) == 6


def test_outputs_without_room_are_computed_again() -> None:
    """With room for one image, the others are computed in every epoch, in the right order."""
    model = _model().train()
    with torch.no_grad():
        expected = model.frozen_outputs(_SOURCE.all_images[:3])
    pipeline = BatchPipeline(model, _SOURCE, room_bytes=expected[0].numel() * 4)
    for _ in range(2):
        loaded = pipeline.load([2, 0, 1], 0)
        assert torch.allclose(pipeline.inputs(loaded), expected[[2, 0, 1]], atol=1e-5)
    again = pipeline.load([0, 2], 1)
    assert again.images is not None
    assert len(again.images) == 1


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("reuse", [True, False])
def test_augmentation_and_trained_blocks_prevent_reuse(
    fixed: bool, freeze: bool, reuse: bool
) -> None:
    """Then every image goes through the whole model, every time."""
    source = replace(_SOURCE, fixed=fixed)
    pipeline = BatchPipeline(_model(freeze=freeze), source, reuse=reuse)
    assert pipeline.reuses is (fixed and freeze and reuse)


def test_evidence_is_added_up_in_full_precision_under_autocast() -> None:
    """In bf16 the scores of different images would be the same multiple of a quarter."""
    model = _model(freeze=False).train()
    pipeline = BatchPipeline(model, _SOURCE)
    images = _SOURCE.all_images
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores, cells = pipeline.scores(images), pipeline.cells(images)
        assert model(images).dtype == torch.bfloat16
    assert scores.dtype == cells.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())


@pytest.mark.parametrize(("scale", "learns"), [(1e-42, False), (1e-6, True)])
def test_an_image_that_is_learnt_has_no_denormal_gradients(scale: float, learns: bool) -> None:
    """A CPU multiplies them many times slower; small ones that move weights stay as they are."""
    model = _model().train()
    pipeline = BatchPipeline(model, _SOURCE)
    inputs = pipeline.inputs(pipeline.load([0, 1], 0))
    found = torch.autograd.grad(pipeline.scores(inputs).sum() * scale, model.features[28].weight)
    expected = torch.autograd.grad(
        model.scores(model.features[24:](inputs)).sum() * scale, model.features[28].weight
    )
    assert expected[0].any()
    assert torch.equal(found[0], expected[0] if learns else torch.zeros_like(expected[0]))


@pytest.mark.parametrize(
    ("keep", "free_bytes", "decoded"),
    [(True, 1 << 30, 2), (True, 10 * 3 * 24**2, 4), (False, 1 << 30, 6)],
)
def test_a_kept_picture_is_decoded_once(
    rendered: Path, monkeypatch: pytest.MonkeyPatch, keep: bool, free_bytes: int, decoded: int
) -> None:
    """As far as there is room: a tenth of the free memory holds both pictures, or one."""
    decodes: list[Path] = []

    def read(path: Path) -> Image.Image:
        decodes.append(path)
        return read_image(path)

    monkeypatch.setattr("pillqc.training.batches.read_image", read)
    monkeypatch.setattr("pillqc.training.batches.free_memory", lambda: free_bytes)
    source = FileSource(read_samples(rendered), size=24, augment_seed=1, keep=keep)
    first, again, later = (source.images([0, 2], epoch) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert len(decodes) == decoded


def test_defects_of_bad_pictures_lie_on_good_ones_with_their_masks(rendered: Path) -> None:
    """Good pictures stay as they are; a bad one is another in most epochs, where its mask says."""
    samples = read_samples(rendered)
    plain, source = FileSource(samples, size=64), FileSource(samples, size=64, paste_seed=1)
    assert not source.fixed
    indices = range(len(samples))
    bad = [index for index in indices if samples[index].bad]
    good = [index for index in indices if not samples[index].bad]
    images, masks = plain.images(indices, 0), plain.masks(indices, 0)
    elsewhere = 0
    for epoch in range(4):
        made, moved = source.images(indices, epoch), source.masks(indices, epoch)
        assert torch.equal(made, source.images(indices, epoch))
        assert torch.equal(made[good], images[good])
        assert not moved[good].any()
        for index in bad:
            if torch.equal(made[index], images[index]):
                assert torch.equal(moved[index], masks[index])
                continue
            elsewhere += 1
            # outside of the mask and its margin it is a good picture, pixel by pixel
            near = F.max_pool2d(moved[index][None].float(), 25, stride=1, padding=12)[0] > 0
            assert any(
                torch.equal(made[index][:, ~near], images[number][:, ~near]) for number in good
            )
    assert 0.4 < elsewhere / (4 * len(bad)) < 0.95


def test_a_bad_picture_without_a_mask_stays_as_it_is(rendered: Path) -> None:
    """Nothing tells which part of it is defective."""
    samples = [replace(sample, mask=None) for sample in read_samples(rendered)]
    source = FileSource(samples, size=24, paste_seed=1)
    plain = FileSource(samples, size=24).images(range(len(samples)), 0)
    assert torch.equal(source.images(range(len(samples)), 0), plain)


def test_a_bad_picture_always_shows_its_defect(rendered: Path, tmp_path: Path) -> None:
    """One at the picture's edge is not moved out of it."""
    samples, at_edge = read_samples(rendered), tmp_path / "mask.png"
    found = np.zeros((64, 64), np.uint8)
    found[0] = 255
    Image.fromarray(found).save(at_edge)
    samples = [replace(one, mask=at_edge if one.bad else None) for one in samples]
    source = FileSource(samples, size=64, paste_seed=1)
    bad = [index for index, sample in enumerate(samples) if sample.bad]
    good = source.images([i for i, sample in enumerate(samples) if not sample.bad], 0)
    set_in_mask = int(FileSource(samples, size=64).masks(bad[:1], 0).sum())
    assert set_in_mask
    for epoch in range(10):
        assert (2 * source.masks(bad, epoch).sum((1, 2)) >= set_in_mask).all()
        for image in source.images(bad, epoch):
            assert not (good == image).flatten(1).all(dim=1).any()
