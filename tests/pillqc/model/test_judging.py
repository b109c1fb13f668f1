"""A model that judges differences: differences by definition, outputs, and its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pillqc.errors import ModelFileError, PillqcError
from pillqc.model.artifact import ModelCard, save_artifact
from pillqc.model.comparison import CELL, NEIGHBOURS
from pillqc.model.judging import (
    AROUND,
    FEATURES,
    HIGHEST,
    JudgingVGG,
    evidence,
    pill_evidence,
    score_of_bad,
)
from pillqc.model.network import BAD, CustomVGG, load_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.torch

SIDE, PICTURES = 4, 3


def described(count: int, seed: int) -> torch.Tensor:
    """Return random features of length 1 (count, 896, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(count, FEATURES, SIDE, SIDE, generator=generator)
    return torch.nn.functional.normalize(values, dim=1)


def made(beside: CustomVGG | None = None) -> JudgingVGG:
    """Return a model for 32 px images with three pictures of random features."""
    torch.manual_seed(0)
    model = JudgingVGG(pictures=PICTURES, size=CELL * SIDE, beside=beside).eval()
    model.references = described(PICTURES, 0).flatten(2).permute(2, 0, 1).contiguous()
    model.settings = torch.tensor([0.2, 3.0, 0.1, 0.5])
    return model.requires_grad_(requires_grad=False)


def narrow_network() -> CustomVGG:
    """Return a small network to judge beside."""
    torch.manual_seed(3)
    return CustomVGG(narrowing=8).eval().requires_grad_(requires_grad=False)


def by_definition(
    cells: torch.Tensor, pictures: torch.Tensor, own: list[int]
) -> NDArray[np.float32]:
    """Return the differences cell by cell, each from the likest allowed cell."""
    found = np.zeros(cells.shape, np.float32)
    for image, row, column in np.ndindex(len(cells), SIDE, SIDE):
        one = cells[image, :, row, column]
        near = [
            pictures[picture, :, y, x]
            for picture in range(PICTURES)
            for y in range(max(row - NEIGHBOURS, 0), min(row + NEIGHBOURS + 1, SIDE))
            for x in range(max(column - NEIGHBOURS, 0), min(column + NEIGHBOURS + 1, SIDE))
            if picture != own[image]
        ]
        cosines = torch.stack(near) @ one
        likest = near[int(cosines.argmax())]
        found[image, :, row, column] = (one - likest).abs().numpy()
    return found


def test_each_cell_differs_from_the_likest_cell_near_it() -> None:
    """By definition, at the border too; a picture is not compared with itself."""
    model = made()
    pictures = described(PICTURES, 0)
    cells = torch.cat([described(2, 1), pictures[1:2]])
    own = [-1, 2, 1]
    found = model.differences(cells, torch.tensor(own)).numpy()
    np.testing.assert_allclose(found, by_definition(cells, pictures, own), atol=1e-6)


def test_a_picture_is_not_compared_with_itself() -> None:
    """Whoever judges the pictures that a model was made of would find nothing unusual else."""
    model = made()
    pictures = described(PICTURES, 0)
    cells = torch.cat([described(1, 1), pictures.half().float()])
    assert model.themselves(cells).tolist() == [-1, 0, 1, 2]
    wanted = model.differences(cells, torch.tensor([-1, 0, 1, 2]))
    assert torch.equal(model.differences(cells), wanted)
    assert float(wanted.amax((1, 2, 3)).min()) > 0.01


def test_features_of_three_blocks_have_length_one() -> None:
    """Each block alone has the same part of it."""
    cells = made().described(torch.randn(2, 3, CELL * SIDE, CELL * SIDE))
    assert cells.shape == (2, FEATURES, SIDE, SIDE)
    for part in torch.tensor_split(cells, (128, 384), dim=1):
        assert torch.allclose((part**2).sum(1), torch.full((2, SIDE, SIDE), 1.0 / 3.0), atol=1e-5)


def test_the_evidence_of_a_pill_is_that_of_its_highest_places() -> None:
    """One cell counts in all cells around it, and a pill by its highest five cells."""
    judged = torch.zeros(1, 1, 9, 9)
    judged[0, 0, 4, 4] = 25.0
    found = evidence(judged)
    assert int((found > 0.5).sum()) == AROUND**2
    assert float(pill_evidence(found)) == pytest.approx(1.0)
    few = torch.arange(4.0).reshape(1, 2, 2)
    assert few.numel() < HIGHEST
    assert float(pill_evidence(few)) == pytest.approx(1.5)


def test_a_half_is_where_the_settings_say() -> None:
    """A pill at the limit has a probability of .5."""
    model = made()
    images = torch.randn(1, 3, CELL * SIDE, CELL * SIDE)
    cells = evidence(model.judge(model.differences(model.described(images))))
    at = float(pill_evidence(cells))
    model.settings = torch.tensor([at, 3.0, at - 1.0, 0.0])
    probabilities, maps = model(images)
    assert float(probabilities[0, 1]) == pytest.approx(0.5, abs=1e-4)
    assert float(probabilities.sum()) == pytest.approx(1.0)
    assert maps.shape == (1, 2, CELL * SIDE, CELL * SIDE)
    assert torch.allclose(maps.sum(1), torch.ones_like(maps[:, 0]))
    model.settings[0] = at + 1.0
    assert float(model(images)[0][0, 1]) == pytest.approx(1.0 / (1.0 + np.exp(3.0)), abs=1e-4)


def test_evidence_of_a_model_beside_is_added() -> None:
    """Logits add up, above the one at which that model calls a pill bad; maps are averaged."""
    images = torch.randn(2, 3, CELL * SIDE, CELL * SIDE)
    beside = narrow_network()
    alone, together = made(), made(beside)
    probabilities, maps = alone(images)
    with_beside, both_maps = together(images)
    score = score_of_bad(beside, beside.features(images))
    assert torch.allclose(
        torch.logit(with_beside[:, 1]), torch.logit(probabilities[:, 1]) + score - 0.5, atol=1e-3
    )
    shares, own_maps = beside(images)
    assert torch.allclose(torch.sigmoid(score), shares[:, BAD], atol=1e-5)
    assert torch.allclose(both_maps[:, 1], (maps[:, 1] + own_maps[:, BAD]) / 2.0, atol=1e-5)


def test_images_of_another_size_are_refused() -> None:
    """Their cells would lie elsewhere."""
    with pytest.raises(PillqcError, match="32 px, not of 64"):
        made()(torch.randn(1, 3, 64, 64))


def write(path: Path, *, beside: bool) -> JudgingVGG:
    """Write a model to a file."""
    model = made(narrow_network() if beside else None)
    card = ModelCard(size=CELL * SIDE, compares={"pictures": PICTURES, "bad": 10})
    save_artifact(path, model, card, dtype=torch.float16)
    return model


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_gives_the_model_back(tmp_path: Path, beside: bool) -> None:
    """In half precision, with the network beside it where it has one."""
    path = tmp_path / "one.safetensors"
    model = write(path, beside=beside)
    loaded = load_model(path, comparing=True)
    images = torch.randn(2, 3, CELL * SIDE, CELL * SIDE)
    for one, other in zip(loaded.model(images), model(images), strict=True):
        assert torch.allclose(one, other, atol=2e-2)
    with pytest.raises(PillqcError, match="pillqc compare"):
        load_model(path)


def test_evidence_is_a_logit_whose_limit_may_be_below_0(tmp_path: Path) -> None:
    """Unlike the distance of a model that compares alone."""
    path = tmp_path / "one.safetensors"
    model = made()
    model.settings[0] = -0.5
    save_artifact(path, model, ModelCard(size=CELL * SIDE, compares={"pictures": PICTURES}))
    assert torch.equal(
        load_model(path, comparing=True).model.state_dict()["settings"], model.settings
    )


@pytest.mark.parametrize("change", ["steepness", "judge", "width", "flat head", "no head"])
def test_a_damaged_file_is_refused(tmp_path: Path, change: str) -> None:
    """One line says what is wrong."""
    path = tmp_path / "one.safetensors"
    write(path, beside=True)
    tensors = load_file(path)
    head = "beside.head.weight"
    if change == "steepness":
        tensors["settings"][1] = 0.0
    if change == "judge":
        del tensors["judge.0.weight"]
    if change == "width":
        tensors[head] = tensors[head][:, :5].clone()
    if change == "flat head":
        tensors[head] = tensors[head].flatten()
    if change == "no head":
        del tensors[head]
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ModelFileError, match="pillqc compare"):
        load_model(path, comparing=True)
