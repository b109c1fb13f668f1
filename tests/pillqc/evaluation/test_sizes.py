"""Defects are rendered over a ladder of sizes, and the smallest that is found has a bound."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from pillqc.evaluation.size_figure import draw_sizes
from pillqc.evaluation.sizes import SCALES, SIZED, SizeReport, evaluate_sizes
from pillqc.model.acceleration import Way
from pillqc.model.network import CustomVGG, LoadedModel
from pillqc.rendering.scene import render

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


class _Even:
    """Stands for a model: calls every second picture bad."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Any) -> Any:
        numbers = torch.arange(self.seen, self.seen + len(images))
        self.seen += len(images)
        bad = (numbers % 2).float()
        return torch.stack([1 - bad, bad], dim=1), images[:, :2]


@pytest.fixture(scope="module")
def report() -> SizeReport:
    """Twelve small pills of each defect, and twelve good ones."""
    model: Any = _Even()
    loaded = LoadedModel(model=model, trained=True, threshold=0.5, name="m")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pillqc.model.network.DEFAULT_SIZE", 48)
        return evaluate_sizes(loaded, per_defect=12)


def test_every_defect_is_decided_once_at_each_size(report: SizeReport) -> None:
    """Good pills that are called bad are counted; sizes that cover no pixel are left out."""
    assert (report.false_rejects.count, report.false_rejects.n) == (6, 12)
    assert tuple(report.defects) == SIZED
    for defect in report.defects.values():
        assert 6 <= len(defect.sizes) == len(defect.found) <= 12
        assert max(defect.sizes) > 2 * min(defect.sizes)
        assert defect.curve.a90_95 is None, "what is found by chance has no smallest size"
    assert json.loads(json.dumps(report.as_dict()))["side_px"] == 48


def test_a_model_is_run_in_the_dtype_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same pills, of which the report says how they were decided."""
    monkeypatch.setattr("pillqc.model.network.DEFAULT_SIZE", 32)
    seen: list[torch.dtype] = []
    model = CustomVGG(narrowing=32).eval()
    forward = type(model).scores

    def scores(self: CustomVGG, features: torch.Tensor) -> torch.Tensor:
        seen.append(features.dtype)
        return forward(self, features)

    monkeypatch.setattr(CustomVGG, "scores", scores)
    loaded = LoadedModel(model=model, trained=True, threshold=0.0, name="m")
    fast = evaluate_sizes(loaded, per_defect=2, way=Way(dtype="bf16", layout="channels_last"))
    plain = evaluate_sizes(loaded, per_defect=2)
    assert (fast.backend, fast.dtype, plain.dtype) == ("stock", "bf16", "fp32")
    assert set(seen) == {torch.bfloat16, torch.float32}
    assert fast.defects == plain.defects, "the threshold calls all of them bad"


def test_the_picture_shows_every_defect(report: SizeReport, tmp_path: Path) -> None:
    """With hits, misses and what is known of the curve."""
    path = draw_sizes(report, tmp_path / "figures")
    assert path.name == "sizes.png"
    with Image.open(path) as image:
        assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.parametrize("defect", SIZED)
def test_a_scale_makes_a_defect_larger_or_smaller(defect: str) -> None:
    """And leaves a defect of scale 1 as it was."""
    areas = []
    for scale in (SCALES[0], 0.5, SCALES[1]):
        masks = [render(seed=s, size=96, defect=defect, defect_scale=scale).mask for s in range(8)]
        areas.append(np.mean(masks))
    assert areas == sorted(areas)
    assert areas[0] < 0.5 * areas[2]
    same = render(seed=1, size=96, defect=defect, defect_scale=1.0)
    assert np.array_equal(same.image, render(seed=1, size=96, defect=defect).image)
