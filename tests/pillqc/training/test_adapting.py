"""The shipped model learns another product: `pillqc train --adapt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner

from pillqc.commands.main import main
from pillqc.data.folders import read_samples
from pillqc.evaluation.evaluate import evaluate
from pillqc.model.artifact import read_artifact
from pillqc.model.narrowing import narrow_form
from pillqc.model.network import load_model
from pillqc.rendering.dataset import RenderPlan, render_dataset
from pillqc.rendering.design import PillDesign

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.slow]

SIZE = 96
OTHER = PillDesign(imprint="K7", shape="capsule", colour=(205.0, 170.0, 160.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few and small pills of another product; what comes of them is no figure to quote."""
    root = tmp_path_factory.mktemp("other")
    for name, seed, good, bad in (("train", 1, 70, 10), ("test", 2, 35, 5)):
        plan = RenderPlan(
            seed=seed, size=SIZE, train_good=0, test_good=good, per_defect=bad, design=OTHER
        )
        render_dataset(root / name, plan)
    return root


def test_an_adapted_model_knows_a_product_that_the_shipped_one_does_not(
    data: Path, tmp_path: Path
) -> None:
    """It is a model of full width like any other, and can be narrowed again."""
    out = tmp_path / "other.safetensors"
    asked = ["train", "--data", str(data / "train"), "--adapt", "--size", str(SIZE)]
    done = CliRunner().invoke(main, [*asked, "--epochs", "16", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "stopped at epochs" in done.output
    card, tensors = read_artifact(out)
    assert tensors["head.weight"].shape == (2, 512)
    told = card.training
    assert [told[name] for name in ("full", "narrow", "masks", "augment", "cycle")] == [True] * 5
    assert (told["batch_size"], told["learning_rate"], told["epochs"]) == (16, 1e-3, 16)
    test = read_samples(data / "test")
    before, after = (
        evaluate(load_model(model), test, size=SIZE).image_auroc for model in (None, out)
    )
    assert before < 0.7, "the shipped model has never seen this product"
    assert after > before + 0.15
    adapted = load_model(out).model
    narrow = narrow_form(adapted)
    assert narrow.head.in_features == 128
    assert all(bool(torch.isfinite(value).all()) for value in narrow.state_dict().values())
