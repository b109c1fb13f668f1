"""The shipped model is small, has a full card, and recognises pills that it never saw."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from pillqc.commands.main import main
from pillqc.data.folders import read_samples
from pillqc.evaluation.evaluate import evaluate
from pillqc.model.artifact import read_artifact
from pillqc.model.network import SHIPPED_MODEL, load_model
from pillqc.rendering.dataset import RENDERER_VERSION, RenderPlan, render_dataset

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    """The JSON of `pillqc card`."""
    done = CliRunner().invoke(main, ["card"])
    assert done.exit_code == 0, done.output
    shown: dict[str, Any] = json.loads(done.output)
    return shown


def test_it_is_small_and_in_half_precision() -> None:
    """Git and the package carry one file of under 32 MB."""
    _, tensors = read_artifact(SHIPPED_MODEL)
    assert SHIPPED_MODEL.stat().st_size < 32_000_000
    assert {t.dtype for name, t in tensors.items() if name.endswith("weight")} == {torch.float16}


def test_it_is_what_everything_uses_by_default() -> None:
    """No `--model` means this one, trained, with its own thresholds."""
    loaded = load_model()
    assert (loaded.name, loaded.trained) == ("shipped", True)
    assert loaded.undecided is not None
    low, high = loaded.undecided
    assert 0.0 < low < high == loaded.threshold < 1.0
    # chosen in fp32, and evaluated in the half precision that ships
    assert loaded.at_false_rejects(0.01).threshold == pytest.approx(high, rel=0.05)
    assert loaded.at_false_rejects(0.05).threshold == pytest.approx(low, rel=0.05)


def test_its_card_says_where_its_figures_come_from(card: dict[str, Any]) -> None:
    """Rendered pills only, three different seeds, and the command that repeats the figures."""
    data, metrics = card["data"], card["metrics"]
    assert "no photograph" in data["source"]
    assert data["renderer"] == RENDERER_VERSION, "the renderer changed: train the model again"
    assert f"--seed {data['test_seed']}" in metrics["command"]
    assert len({data["training_seed"], data["validation_seed"], data["test_seed"]}) == 3
    assert metrics["images"] >= 1000


def test_its_figures_meet_the_bounds(card: dict[str, Any]) -> None:
    """The bounds that were set before it was trained."""
    metrics = card["metrics"]
    assert metrics["image_auroc"] >= 0.995
    assert metrics["escape_rate_at_false_reject"]["0.01"] <= 0.05
    assert metrics["pixel_auroc"] >= 0.97
    assert metrics["pointing_game"] >= 0.90
    recalls = {k: v["at_false_reject"]["0.05"] for k, v in metrics["recall_by_defect"].items()}
    assert min(recalls.values()) >= 0.90, recalls


def test_it_knows_pills_that_it_never_saw(tmp_path: Path) -> None:
    """Pills of this test's own seed confirm the card's figures."""
    plan = RenderPlan(seed=7_777_777, size=224, train_good=0, test_good=8, per_defect=1)
    render_dataset(tmp_path / "pills", plan, jobs=1)
    report = evaluate(load_model(), read_samples(tmp_path / "pills"))
    assert report.image_auroc >= 0.95
    assert report.pixels.pixel_auroc is not None
    assert report.pixels.pixel_auroc >= 0.95


def test_random_weights_have_no_card() -> None:
    """The error is one line."""
    done = CliRunner().invoke(main, ["card", "--model", "random"])
    assert done.exit_code == 1
    assert "has no card" in done.output
