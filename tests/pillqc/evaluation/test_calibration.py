"""What validation data chooses: one look at each image decides scale, temperature, thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from pillqc.data.folders import read_samples
from pillqc.errors import DataError, PillqcError
from pillqc.evaluation.calibration import choose
from pillqc.evaluation.evaluate import threshold_at
from pillqc.inspection.prediction import Prediction, predict
from pillqc.model.network import load_model
from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from pillqc.data.images import Sample

pytestmark = pytest.mark.torch
_SIZE = 64


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Fourteen good pills and one of each defect."""
    root = tmp_path_factory.mktemp("pills") / "data"
    plan = RenderPlan(seed=3, size=_SIZE, train_good=0, test_good=14, per_defect=1)
    render_dataset(root, plan, jobs=1)
    return read_samples(root)


def test_the_calibrated_model_has_the_probabilities_that_chose_the_threshold(
    samples: list[Sample],
) -> None:
    """Shown again, it gives a threshold at the same pill: nothing is scaled twice or not at all."""
    model = load_model("random").model
    chosen = choose(model, samples, size=_SIZE)
    shown = list(predict(model, (s.path for s in samples), size=_SIZE))
    bad = np.array([p.bad for p in shown if isinstance(p, Prediction)])
    labels = np.array([s.bad for s in samples])
    assert chosen.images == len(bad) == len(samples)
    assert chosen.threshold == pytest.approx(threshold_at(labels, bad, 0.01), abs=1e-6)


def test_half_of_the_heat_of_good_pills_lies_at_nothing(samples: list[Sample]) -> None:
    """The scale of the maps starts at the middle of what is no defect, for all images together."""
    model = load_model("random").model
    choose(model, samples, size=_SIZE)
    assert bool(model.map_calibrated)
    assert torch.allclose(model.map_low[0], -model.map_high[1])
    good = [s.path for s in samples if not s.bad]
    heat = [p.heat for p in predict(model, good, size=_SIZE) if isinstance(p, Prediction)]
    assert 0.3 < (np.stack(heat) == 0).mean() < 0.7


def test_one_kind_of_pill_chooses_nothing(samples: list[Sample]) -> None:
    """Without good and bad there is no threshold between them."""
    with pytest.raises(PillqcError, match="good and bad"):
        choose(load_model("random").model, [s for s in samples if s.bad], size=_SIZE)


def test_a_broken_validation_image_is_named(samples: list[Sample], tmp_path: Path) -> None:
    """It may not silently choose a threshold with one image less."""
    from dataclasses import replace

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"broken\.png"):
        choose(
            load_model("random").model,
            [*samples, replace(samples[0], path=broken)],
            size=_SIZE,
        )
