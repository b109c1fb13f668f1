"""The network keeps the tutorial's interface and none of its weaknesses."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest
import torch
from torch import Tensor
from torchvision.models import vgg

from pillqc.errors import PillqcError
from pillqc.model.network import (
    FROZEN_LAYERS,
    CustomVGG,
    count_parameters,
    load_model,
    with_defects,
)
from tests.fresh_process import python

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def model() -> CustomVGG:
    """A seeded model in evaluation mode."""
    return load_model("random").model


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Three small images of noise."""
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_tutorials_number_of_parameters_trains() -> None:
    """conv5 and the head train: 7,080,450 of 14,715,714 parameters."""
    assert count_parameters(CustomVGG()) == (7_080_450, 14_715_714)


def test_only_the_first_four_blocks_are_frozen() -> None:
    """features[:23] get no gradient; everything after does."""
    model = CustomVGG()
    assert not any(p.requires_grad for p in model.features[:FROZEN_LAYERS].parameters())
    assert all(p.requires_grad for p in model.features[FROZEN_LAYERS:].parameters())
    assert all(p.requires_grad for p in CustomVGG(freeze=False).parameters())


def test_the_layers_are_torchvisions_without_the_last_pool() -> None:
    """Convolutions have the shapes of torchvision's VGG-16, and nothing follows the last ReLU."""
    layers = CustomVGG().features
    shapes = [tuple(m.weight.shape[:2]) for m in layers if isinstance(m, torch.nn.Conv2d)]
    widths = [w for w in vgg.cfgs["D"] if w != "M"]
    assert shapes == list(zip(widths, [3, *widths[:-1]], strict=True))
    assert isinstance(layers[-1], torch.nn.ReLU)


def test_training_mode_returns_scores(model: CustomVGG, images: Tensor) -> None:
    """In training mode the loss gets plain scores."""
    try:
        scores = model.train()(images)
    finally:
        model.eval()
    assert isinstance(scores, Tensor)
    assert scores.shape == (3, 2)


def test_evaluation_mode_returns_probabilities_and_maps(model: CustomVGG, images: Tensor) -> None:
    """Probabilities add up to 1; a map per class, as large as the input, lies in 0..1."""
    with torch.no_grad():
        probabilities, maps = model(images)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(3))
    assert maps.shape == (3, 2, 64, 64)
    assert maps.min() == 0.0
    assert maps.max() == 1.0


def test_defects_are_further_classes_that_leave_good_and_bad_alone(
    model: CustomVGG, images: Tensor
) -> None:
    """Each defect has a probability and a map of its own, and takes nothing from the two."""
    named = with_defects(model, 3)
    with torch.no_grad():
        named.head.bias[2:] = torch.tensor([-50.0, 0.0, 50.0])
        probabilities, maps = named(images)
        expected, expected_maps = model(images)
    assert torch.allclose(probabilities[:, :2], expected, atol=1e-6)
    assert torch.allclose(maps[:, :2], expected_maps, atol=1e-4)
    assert maps.shape == (3, 5, 64, 64)
    assert probabilities[:, 2].max() < 1e-6
    assert probabilities[:, 4].min() > 1 - 1e-6, "a pill may have several defects"


def test_a_defect_starts_as_the_evidence_for_bad(images: Tensor) -> None:
    """Its score is that of bad minus that of good, and its map has the same scale."""
    model = load_model("random").model
    model.calibrate_maps(torch.tensor([-1.0, 0.5]), torch.tensor([-0.5, 1.0]))
    named = with_defects(model, 2)
    with torch.no_grad():
        scores = named.scores(named.features(images))
    assert torch.allclose(scores[:, 3], scores[:, 1] - scores[:, 0], atol=1e-5)
    assert named.map_low.tolist() == [-1.0, 0.5, 1.0, 1.0]
    assert bool(named.map_calibrated)
    assert named.is_frozen()
    assert not named.training


def test_a_model_can_lose_its_defects_again(model: CustomVGG) -> None:
    """A training for good and bad only starts from what it knew of these."""
    named = with_defects(model, 2)
    plain = with_defects(named, 0)
    assert plain.n_defects == 0
    assert torch.equal(plain.head.weight, model.head.weight)
    assert with_defects(model, 0) is model


def test_tracing_keeps_the_defects(images: Tensor) -> None:
    """TorchScript gives the same probabilities and maps."""
    torch.manual_seed(0)
    model = CustomVGG(n_defects=2, narrowing=8).eval()
    with torch.no_grad():
        traced = _traced(model, images[:1])
        for got, wanted in zip(traced(images[1:2]), model(images[1:2]), strict=True):
            assert torch.allclose(got, wanted, atol=1e-6)
            assert wanted.shape[1] == 4


def test_the_head_is_the_tutorials_at_224() -> None:
    """MaxPool, AvgPool over 7 x 7, Flatten, Linear give the same scores."""
    model = load_model("random").model
    features = torch.rand(1, 512, 14, 14, generator=torch.Generator().manual_seed(0))
    tutorial = torch.nn.Sequential(
        torch.nn.MaxPool2d(2), torch.nn.AvgPool2d(7), torch.nn.Flatten(), model.head
    )
    with torch.no_grad():
        assert torch.allclose(model.scores(features), tutorial(features), atol=1e-6)


def test_the_map_adds_up_to_the_score(model: CustomVGG, images: Tensor) -> None:
    """Every second cell of the map is what the classifier averages."""
    with torch.no_grad():
        features = model.features(images)
        cells = model.cells(features)[:, :, 1::2, 1::2]
        assert torch.allclose(cells.mean((2, 3)), model.scores(features), atol=1e-5)


def test_the_map_shows_where_a_feature_is() -> None:
    """A single active cell is hot over its own place in the image, and nowhere else."""
    model = load_model("random").model
    features = torch.zeros(1, 512, 4, 4)
    features[0, :, 2, 1] = 1.0
    with torch.no_grad():
        model.head.weight.fill_(1.0)
        model.head.bias.zero_()
        heat = model.evidence(features, (64, 64))[0, 0]
    assert (heat > 0.99 * heat.max()).nonzero().float().mean(0).tolist() == [39.5, 23.5]
    rows, columns = (heat > 0.5 * heat.max()).nonzero().T
    assert (int(rows.min()), int(rows.max()) + 1) == (32, 48)
    assert (int(columns.min()), int(columns.max()) + 1) == (16, 32)


def test_the_hottest_place_stays_one_place() -> None:
    """Evidence far above the scale's end still differs: a map of ones would point at a corner."""
    model = load_model("random").model
    model.calibrate_maps(torch.tensor([0.0, 0.0]), torch.tensor([10.0, 10.0]))
    evidence = torch.tensor([[[[-5.0, 0.0, 5.0], [10.0, 100.0, 200.0]]]]).expand(1, 2, 2, 3)
    heat = model.scaled(evidence)[0, 0].flatten().tolist()
    assert heat[:3] == pytest.approx([0.0, 0.0, 0.5])
    assert 0.5 < heat[3] < heat[4] < heat[5] < 1.0


def test_a_flat_map_is_zero_and_not_a_division_by_zero(model: CustomVGG) -> None:
    """Where the features are the same everywhere the map is 0."""
    flat = torch.full((1, 2, 8, 8), 0.7)
    assert torch.equal(model.scaled(flat), torch.zeros(1, 2, 8, 8))


def test_a_calibrated_map_has_one_scale_for_all_images(images: Tensor) -> None:
    """After calibration an image without heat stays cold; before, each had a peak of 1."""
    model = load_model("random").model
    with torch.no_grad():
        _, before = model(images)
        model.calibrate_maps(torch.tensor([-100.0, -100.0]), torch.tensor([100.0, 100.0]))
        _, after = model(images)
    assert before.amax((2, 3)).eq(1.0).all()
    assert after.amax() < 0.6
    with pytest.raises(PillqcError, match="empty"):
        model.calibrate_maps(torch.zeros(2), torch.zeros(2))


def _traced(model: CustomVGG, images: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    traced: Callable[[Tensor], tuple[Tensor, Tensor]] = torch.jit.freeze(
        torch.jit.trace(model, images)  # type: ignore[no-untyped-call] # torch leaves it untyped
    )
    return traced


@pytest.mark.parametrize("calibrated", [False, True])
def test_tracing_and_freezing_change_nothing(images: Tensor, calibrated: bool) -> None:
    """TorchScript gives the same output on another batch than it was traced with."""
    model = load_model("random").model
    if calibrated:
        model.calibrate_maps(torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0]))
    with torch.no_grad():
        traced = _traced(model, images[:1])
        for got, wanted in zip(traced(images[1:2]), model(images[1:2]), strict=True):
            assert torch.allclose(got, wanted, atol=1e-6)


def test_the_model_compiles_without_a_graph_break(model: CustomVGG, images: Tensor) -> None:
    """`torch.compile(fullgraph=True)` takes the whole forward pass."""
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(images)[0], model(images)[0])


def test_the_same_seed_gives_the_same_bits() -> None:
    """Random weights depend on the seed alone, and leave the global generator as it was."""
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (load_model("random", seed=s).model.state_dict() for s in (3, 3, 4))
    assert torch.rand(1).equal(expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["features.0.weight"], other["features.0.weight"])


def test_a_random_model_answers_each_image_apart(model: CustomVGG, images: Tensor) -> None:
    """Activations neither vanish nor explode, and probabilities differ: parity is a real check."""
    with torch.no_grad():
        features = model.features(images)
        probabilities = model(images)[0][:, 1]
    assert 0.01 < float(features.std()) < 10.0
    assert len(set(probabilities.tolist())) == 3
    assert all(0.01 < p < 0.99 for p in probabilities.tolist())


def test_the_default_model_says_whether_it_is_trained() -> None:
    """Without a shipped model it is random and not trained."""
    with mock.patch("pillqc.model.network.SHIPPED_MODEL") as shipped:
        shipped.is_file.return_value = False
        loaded = load_model()
    assert (loaded.trained, loaded.name, loaded.threshold) == (False, "random", 0.5)
    assert not loaded.model.training


def test_imagenet_weights_come_through_torchvision() -> None:
    """`imagenet` fills the features and leaves the head untrained."""
    donor = CustomVGG().features.state_dict()
    state = {f"features.{name}": torch.full_like(v, 0.5) for name, v in donor.items()}
    state["classifier.0.weight"] = torch.zeros(1)
    with mock.patch.object(vgg.VGG16_Weights, "get_state_dict", return_value=state):
        loaded = load_model("imagenet")
    assert float(loaded.model.features[0].weight.detach().mean()) == 0.5
    assert (loaded.trained, loaded.name) == (False, "imagenet")


def test_imagenet_weights_that_cannot_be_had_are_one_clear_line() -> None:
    """Without a network the message says what else to do."""
    with (
        mock.patch.object(vgg.VGG16_Weights, "get_state_dict", side_effect=OSError("no network")),
        pytest.raises(PillqcError, match=r"no network.*--weights random"),
    ):
        load_model("imagenet")


def test_one_class_is_refused() -> None:
    """A model of one class decides nothing."""
    with pytest.raises(PillqcError, match="2 classes"):
        CustomVGG(1)


_PEAK = """
import resource, torch, torchvision
from pillqc.model.network import CustomVGG
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
CustomVGG()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_classifier_of_vgg_is_never_allocated() -> None:
    """Building the model costs about its own 59 MB, not the 553 MB of torchvision's vgg16()."""
    assert int(python("-c", _PEAK).stdout) < 250_000
