"""The recipe trains, resumes with the images it would have seen, and folds exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from pillqc.errors import ModelFileError, PillqcError
from pillqc.evaluation.calibration import divide_head, fit_temperature, symmetrise_head
from pillqc.model.artifact import read_artifact
from pillqc.model.batch_norm import NormedVGG, fold_batch_norm, image_scores
from pillqc.model.network import load_model
from pillqc.rendering.stream import StreamPlan, kind_of, stream
from pillqc.training.augmentation import LIMITS, Limits, augment
from pillqc.training.augmentation import moved as moved_masks
from pillqc.training.recipe import Phase, Recipe, Report, grow, window_truth
from pillqc.training.shipped_model import Judging, train_from_scratch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

_TINY = Recipe(
    images=12,
    phases=(Phase(size=32, share=0.5, batch_size=6), Phase(size=48, share=0.5, batch_size=6)),
    validation_images=12,
    validations=2,
    narrowing=8,
    jobs=0,
)


@pytest.mark.parametrize("narrowing", [1, 4])
def test_folding_the_norms_changes_nothing(narrowing: int) -> None:
    """The plain network has the probabilities of the batch-norm network, and a symmetric head."""
    torch.manual_seed(0)
    net = NormedVGG(narrowing=narrowing).eval()
    for layer in net.features:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.1)
            nn.init.normal_(layer.bias, 0.0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type] # a buffer
            nn.init.normal_(layer.running_mean, 0.0, 0.1)  # type: ignore[arg-type] # a buffer
    nn.init.normal_(net.head.weight, 0.0, 0.3)
    images = torch.randn(2, 3, 64, 64)
    model = fold_batch_norm(net)
    with torch.no_grad():
        wanted = torch.softmax(image_scores(net(images)), dim=1)
        assert torch.allclose(model(images)[0], wanted, atol=1e-5)
    assert torch.allclose(model.head.weight[0], -model.head.weight[1])


def test_only_widths_that_divide_vgg16_are_known() -> None:
    """A third of 64 channels is no number of channels."""
    with pytest.raises(PillqcError, match="cannot be divided by 3"):
        NormedVGG(narrowing=3)


@pytest.mark.parametrize("size", sorted({phase.size for phase in Recipe().phases}))
def test_no_phase_loses_the_edge_of_the_image(size: int) -> None:
    """The map's side is even, so that pooling leaves no row or column out."""
    assert size % 32 == 0


@pytest.mark.parametrize("side", [4, 5])
def test_image_scores_are_what_the_plain_network_pools(side: int) -> None:
    """For even and for odd feature maps, whose last row and column are not pooled."""
    model = load_model("random").model
    features = torch.rand(2, 512, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(
            image_scores(model.cells(features)), model.scores(features), atol=1e-5
        )


def test_a_stream_goes_on_with_the_images_it_would_have_shown() -> None:
    """From image 4 on, a stream is the tail of the one from image 0."""
    plan = StreamPlan(size=32, batch_size=4, jobs=0)
    whole = list(stream(plan, start=0, count=8))
    tail = list(stream(plan, start=4, count=4))
    assert all(torch.equal(a, b) for a, b in zip(whole[1], tail[0], strict=True))
    assert not torch.equal(whole[0][0], whole[1][0])


def test_a_stream_shows_good_pills_and_every_defect() -> None:
    """Half of the pills are good; masks are empty for these only."""
    kinds = [kind_of(0, number) for number in range(400)]
    assert 0.4 < kinds.count("good") / 400 < 0.6
    assert len(set(kinds)) == 8
    (_, masks, bad) = next(stream(StreamPlan(size=64, batch_size=16, jobs=0), start=0, count=16))
    assert torch.equal(masks.flatten(1).any(dim=1), bad.bool())


def test_a_window_is_defective_when_one_of_its_cells_is() -> None:
    """A mask in one cell marks the four windows that see it; single pixels mark none."""
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 17:30, 33:47] = True
    truth = window_truth(mask, 4)
    assert truth.shape == (1, 5, 5)
    assert truth[0].nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    speck = torch.zeros(1, 64, 64, dtype=torch.bool)
    speck[0, 20, 40] = True
    assert window_truth(speck, 4).max() == 0.5


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_end(tmp_path: Path) -> None:
    """Stopped in the middle and called again, it ends with the weights of an unbroken run."""
    whole = grow(_TINY, tmp_path / "whole.pt")

    class _KilledError(Exception):
        pass

    def kill(report: Report) -> None:
        if report.step == 1:
            raise _KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pillqc.training.recipe.CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(_KilledError):
            grow(_TINY, tmp_path / "cut.pt", on_report=kill)
    resumed = grow(_TINY, tmp_path / "cut.pt")
    assert resumed.steps == whole.steps == 2
    wanted = whole.net.state_dict()
    assert all(torch.equal(v, wanted[name]) for name, v in resumed.net.state_dict().items())


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    """Going on with other settings would give a model that nobody can repeat."""
    path = tmp_path / "c.pt"
    grow(replace(_TINY, images=6, validations=1), path)
    with pytest.raises(ModelFileError, match="other settings"):
        grow(_TINY, path)
    path.write_bytes(b"garbage")
    with pytest.raises(ModelFileError, match="not a checkpoint that can be read"):
        grow(_TINY, path)


def test_a_missing_gpu_is_said(tmp_path: Path) -> None:
    """`--device cuda` without a GPU is one line."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PillqcError, match="no GPU"):
        grow(replace(_TINY, device="cuda"), tmp_path / "c.pt")


@pytest.mark.slow
def test_the_result_is_a_model_file_with_its_figures(tmp_path: Path) -> None:
    """Half precision, threshold and temperature from validation, metrics with their command."""
    out = tmp_path / "m.safetensors"
    judging = Judging(validation_good=6, validation_per_defect=1, test_good=4, test_per_defect=1)
    report = train_from_scratch(_TINY, out, tmp_path / "c.pt", judging=judging)
    card, tensors = read_artifact(out)
    assert tensors["head.weight"].dtype == torch.float16
    assert out.stat().st_size < 32_000_000
    assert card.metrics["image_auroc"] == report.image_auroc
    assert "--seed 2000000" in card.metrics["command"]
    assert card.threshold == report.threshold
    assert card.temperature != 1.0
    assert bool(tensors["map_calibrated"])
    assert json.dumps(card.training)


def test_no_augmentation_changes_a_label() -> None:
    """Neither a flip (a mirrored imprint) nor a hue (a colour defect) can be asked for."""
    assert set(vars(LIMITS)) == {
        "rotation_degrees",
        "shift",
        "brightness",
        "contrast",
        "blur_share",
        "noise",
    }
    assert LIMITS.rotation_degrees <= 5
    assert LIMITS.shift <= 0.05


def test_augmented_pills_keep_their_side_and_their_colour() -> None:
    """The left half stays left, and the ratio of the channels stays what it is."""
    images = torch.zeros(16, 3, 32, 32)
    images[:, :, :, :16] = 1.0
    masks = torch.zeros(16, 32, 32, dtype=torch.bool)
    masks[:, 8:24, 4:12] = True
    changed, moved = augment(images, torch.Generator().manual_seed(0), masks)
    assert (changed[..., 2:14].mean((1, 2, 3)) > changed[..., 18:30].mean((1, 2, 3)) + 0.5).all()
    assert moved is not None
    overlap = (moved & masks).sum((1, 2)) / (moved | masks).sum((1, 2))
    assert (overlap > 0.6).all()
    alone = moved_masks(masks, torch.Generator().manual_seed(0))
    assert torch.equal(alone, moved), "masks alone go where they go with their images"
    quiet = replace(LIMITS, noise=0.0, blur_share=0.0, rotation_degrees=0.0, shift=0.0)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    grey = ((torch.full((8, 3, 4, 4), 0.5) - mean) / std).clone()
    lit, _ = augment(grey, torch.Generator().manual_seed(0), limits=quiet)
    light = lit * std + mean
    assert (light.amax(1) - light.amin(1)).max() < 1e-5


def test_augmentation_is_repeatable_and_can_be_nothing() -> None:
    """One seed, one result; with all limits at 0 the image stays as it is."""
    images = torch.rand(2, 3, 16, 16)
    first, _ = augment(images, torch.Generator().manual_seed(3))
    again, _ = augment(images, torch.Generator().manual_seed(3))
    assert torch.equal(first, again)
    none = Limits(rotation_degrees=0, shift=0, brightness=0, contrast=0, blur_share=0, noise=0)
    same, _ = augment(images, torch.Generator(), limits=none)
    assert torch.allclose(same, images, atol=1e-5)


def test_the_temperature_makes_overconfident_logits_honest() -> None:
    """Logits three times too large are divided by about three."""
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(20_000, generator=generator) * 2.0
    labels = torch.rand(20_000, generator=generator) < torch.sigmoid(honest)
    logits = (3.0 * honest).double().numpy()
    assert fit_temperature(logits, labels.numpy()) == pytest.approx(3.0, rel=0.1)


def test_temperature_and_symmetry_keep_the_order_of_images() -> None:
    """Neither changes who is more suspicious; symmetry changes no probability at all."""
    model = load_model("random").model
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(images)[0]
        symmetrise_head(model)
        assert torch.allclose(model(images)[0], before, atol=1e-6)
        divide_head(model, 2.0)
        after = model(images)[0]
    assert after[:, 1].argsort().equal(before[:, 1].argsort())
    wanted = torch.sigmoid(torch.logit(before[:, 1]) / 2.0)
    assert torch.allclose(after[:, 1], wanted, atol=1e-5)
