"""A model that compares: distances by definition, outputs, and its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pillqc.errors import ModelFileError, PillqcError
from pillqc.model.artifact import ModelCard, read_artifact, save_artifact
from pillqc.model.comparison import CELL, NEIGHBOURS, ComparingVGG
from pillqc.model.network import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.torch

SIDE, PICTURES = 4, 6


@pytest.fixture
def model() -> ComparingVGG:
    """Compares 32 px images with six pictures of random features."""
    torch.manual_seed(0)
    made = ComparingVGG(pictures=PICTURES, size=CELL * SIDE).eval()
    described = torch.nn.functional.normalize(torch.randn(PICTURES, 256, SIDE, SIDE), dim=1)
    made.references = described.flatten(2).permute(2, 0, 1).contiguous()
    made.settings = torch.tensor([0.6, 5.0, 0.1, 0.0])
    return made


def pictures_of(model: ComparingVGG) -> torch.Tensor:
    """Return the features of the pictures (pictures, 256, side, side)."""
    return model.references.permute(1, 2, 0).reshape(PICTURES, 256, SIDE, SIDE)


def by_definition(described: torch.Tensor, pictures: torch.Tensor) -> NDArray[np.float64]:
    """Return the distances (N, pictures, side, side), cell by cell."""
    found = np.zeros((len(described), len(pictures), SIDE, SIDE))
    for image, picture, row, column in np.ndindex(found.shape):
        cosines = [
            float(described[image, :, row, column] @ pictures[picture, :, y, x])
            for y in range(max(row - NEIGHBOURS, 0), min(row + NEIGHBOURS + 1, SIDE))
            for x in range(max(column - NEIGHBOURS, 0), min(column + NEIGHBOURS + 1, SIDE))
        ]
        found[image, picture, row, column] = 1.0 - max(cosines)
    return found


def test_a_cell_is_as_far_as_the_nearest_neighbouring_cell_of_a_picture(
    model: ComparingVGG,
) -> None:
    """By definition, at the border too."""
    torch.manual_seed(1)
    described = torch.nn.functional.normalize(torch.randn(3, 256, SIDE, SIDE), dim=1)
    found = model.distances(described).numpy()
    np.testing.assert_allclose(found, by_definition(described, pictures_of(model)), atol=1e-5)


@pytest.mark.parametrize(("cells", "like"), [(0, True), (1, True), (2, False)])
def test_a_picture_may_lie_one_cell_aside(model: ComparingVGG, cells: int, like: bool) -> None:
    """Moved by one cell it still has its like, by two it has not."""
    moved = torch.roll(pictures_of(model), cells, dims=3)
    unusual = model.unusual(model.distances(moved))
    assert (unusual[:, :, 2:].max() < 1e-5) == like


def test_of_mixed_pictures_the_nearest_is_left_out(model: ComparingVGG) -> None:
    """It may be the judged one; the mean of the next third counts."""
    torch.manual_seed(2)
    distances = torch.rand(2, PICTURES, SIDE, SIDE)
    model.settings[3] = 1.0
    wanted = np.sort(distances.numpy(), axis=1)[:, 1:3].mean(axis=1)
    np.testing.assert_allclose(model.unusual(distances).numpy(), wanted, atol=1e-6)


def test_the_outputs_are_those_of_two_classes(model: ComparingVGG) -> None:
    """Probabilities add up to one; the map of good is what that of bad leaves."""
    probabilities, maps = model(torch.randn(3, 3, CELL * SIDE, CELL * SIDE))
    assert probabilities.shape == (3, 2)
    assert torch.allclose(probabilities.sum(1), torch.ones(3))
    assert maps.shape == (3, 2, CELL * SIDE, CELL * SIDE)
    assert maps.min() >= 0.0
    assert torch.allclose(maps.sum(1), torch.ones_like(maps[:, 0]))


def test_a_half_is_where_the_settings_say(model: ComparingVGG) -> None:
    """A pill at the limit has a probability of .5; one that is half as unusual has far less."""
    images = torch.randn(1, 3, CELL * SIDE, CELL * SIDE)
    unusual = model.unusual(model.distances(model.described(images)))
    score = float(unusual.max())
    model.settings = torch.tensor([score, 5.0, float(unusual.min()), 0.0])
    probabilities, maps = model(images)
    assert float(probabilities[0, 1]) == pytest.approx(0.5, abs=1e-4)
    assert float(maps[0, 1].max()) == pytest.approx(0.5, abs=0.05)
    model.settings[0] = 2.0 * score
    assert float(model(images)[0][0, 1]) == pytest.approx(1.0 / 33.0, abs=1e-4)


def test_images_of_another_size_are_refused(model: ComparingVGG) -> None:
    """Their cells would lie elsewhere."""
    with pytest.raises(PillqcError, match="32 px, not of 64"):
        model(torch.randn(1, 3, 64, 64))


def test_a_file_gives_the_model_back(model: ComparingVGG, tmp_path: Path) -> None:
    """In half precision, where the caller can use such a model."""
    path = tmp_path / "one.safetensors"
    card = ModelCard(size=CELL * SIDE, compares={"pictures": PICTURES})
    save_artifact(path, model, card, dtype=torch.float16)
    loaded = load_model(path, comparing=True)
    assert loaded.card == card
    images = torch.randn(2, 3, CELL * SIDE, CELL * SIDE)
    for one, other in zip(loaded.model(images), model(images), strict=True):
        assert torch.allclose(one, other, atol=5e-3)
    with pytest.raises(PillqcError, match="pillqc compare"):
        load_model(path)


@pytest.mark.parametrize("change", ["missing", "flat", "other", "none", "limit"])
def test_a_damaged_file_is_refused(model: ComparingVGG, tmp_path: Path, change: str) -> None:
    """One line says what is wrong."""
    path = tmp_path / "one.safetensors"
    card = ModelCard(size=CELL * SIDE, compares={"pictures": PICTURES})
    save_artifact(path, model, card)
    tensors = load_file(path)
    if change == "missing":
        del tensors["settings"]
    if change == "flat":
        tensors["references"] = tensors["references"].flatten()
    if change == "other":
        tensors["references"] = tensors["references"][:-1].clone()
    if change == "none":
        tensors["references"] = tensors["references"][:, :0].clone()
    if change == "limit":
        tensors["settings"][0] = -0.1
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata=metadata)
    assert read_artifact(path)[0] == card
    with pytest.raises(ModelFileError, match="pillqc compare"):
        load_model(path, comparing=True)


def test_settings_that_are_one_number_are_refused(tmp_path: Path) -> None:
    """A damaged file ends in one line."""
    path = tmp_path / "m.safetensors"
    model = ComparingVGG(pictures=PICTURES, size=CELL * SIDE)
    model.settings = torch.tensor(1.0)
    save_artifact(path, model, ModelCard(size=CELL * SIDE, compares={"pictures": PICTURES}))
    with pytest.raises(ModelFileError, match="settings are missing or out of range"):
        load_model(path, comparing=True)
