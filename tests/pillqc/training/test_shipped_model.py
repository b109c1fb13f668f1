"""The shipped model is small, has a full card, and recognises pills that it never saw."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pillqc.data.folders import read_samples
from pillqc.data.images import load_images
from pillqc.evaluation.evaluate import evaluate
from pillqc.inspection.drift import STATISTICS, drift_check
from pillqc.model.artifact import read_artifact
from pillqc.model.narrowing import decision_form
from pillqc.model.network import SHIPPED_MODEL, load_model
from pillqc.rendering.dataset import RENDERER_VERSION, RenderPlan, render_dataset
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    """The JSON of `pillqc card`."""
    done = run("card")
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
    """Rendered pills only, a seed for each purpose, and the command that repeats the figures."""
    names, decision, metrics = card["data"], card["training"]["decision"]["data"], card["metrics"]
    for data in (names, decision):
        assert "no photograph" in data["source"]
        assert data["renderer"] == RENDERER_VERSION, "the renderer changed: train the model again"
    command = shlex.split(names["rendered_by"])
    seeds = [decision[f"{purpose}_seed"] for purpose in ("training", "validation", "test")]
    assert len({*seeds, int(command[command.index("--seed") + 1])}) == 4
    assert f"--seed {decision['test_seed']}" in metrics["command"]
    assert metrics["images"] >= 1000
    assert (metrics["left_out_as_seen"], metrics["seen_in_training"]) == (0, 0)


def test_its_figures_meet_the_bounds(card: dict[str, Any]) -> None:
    """The bounds that were set before it was trained; that of the names before they were learnt."""
    metrics = card["metrics"]
    assert metrics["image_auroc"] >= 0.995
    assert metrics["escape_rate_at_false_reject"]["0.01"] <= 0.05
    assert metrics["pixel_auroc"] >= 0.97
    assert metrics["pointing_game"] >= 0.90
    recalls = {k: v["at_false_reject"]["0.05"] for k, v in metrics["recall_by_defect"].items()}
    assert min(recalls.values()) >= 0.90, recalls
    assert metrics["naming"]["named_rightly"]["share"] >= 0.90


def test_it_knows_pills_that_it_never_saw(tmp_path: Path) -> None:
    """Pills of this test's own seed confirm the card's figures."""
    plan = RenderPlan(seed=7_777_777, size=224, train_good=0, test_good=8, per_defect=1)
    render_dataset(tmp_path / "pills", plan, jobs=1)
    report = evaluate(load_model(), read_samples(tmp_path / "pills"))
    assert report.image_auroc >= 0.95
    assert report.pixels.pixel_auroc is not None
    assert report.pixels.pixel_auroc >= 0.95
    assert report.naming is not None
    assert report.naming.named_rightly.count >= 4, "of six"


def test_it_notices_when_the_pictures_of_a_line_change() -> None:
    """Its card has what they are compared with, from more pictures than a user will wait for."""
    loaded = load_model()
    assert loaded.card is not None
    assert loaded.card.drift["pictures"] > 1000
    check, dark = drift_check(loaded), dict.fromkeys(STATISTICS, 0.0)
    assert any(check.add(dark) for _ in range(100))


def test_its_names_have_no_say_in_good_and_bad(tmp_path: Path) -> None:
    """The first two outputs are those of the network without names, map and probability alike."""
    plan = RenderPlan(seed=7_777_778, size=64, train_good=0, test_good=2, per_defect=1)
    root = render_dataset(tmp_path / "pills", plan, jobs=1).root
    loaded, decision = load_model(), decision_form(load_model().model)
    images = load_images([sample.path for sample in read_samples(root)], loaded.size)
    with torch.inference_mode():
        probabilities, maps = loaded.model(images)
        expected = decision.eval()(images)
    assert probabilities.shape == (9, 2 + len(loaded.defects))
    assert torch.allclose(probabilities[:, :2], expected[0], atol=1e-4)
    assert torch.allclose(maps[:, :2], expected[1], atol=1e-3)
    assert torch.allclose(probabilities[:, :2].sum(dim=1), torch.ones(9))


def test_random_weights_have_no_card() -> None:
    """The error is one line."""
    done = run("card", "--model", "random")
    assert done.exit_code == 1
    assert "has no card" in done.output
