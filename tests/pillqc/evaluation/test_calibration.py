"""Validation data chooses temperature, thresholds and the scale of the maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from pillqc.data.defects import defect_names
from pillqc.data.folders import read_samples
from pillqc.errors import DataError, PillqcError
from pillqc.evaluation.calibration import (
    between_scores,
    choose,
    divide_head,
    fit_temperature,
    symmetrise_head,
)
from pillqc.evaluation.evaluate import threshold_at
from pillqc.inspection.prediction import Prediction, predict
from pillqc.model.network import CustomVGG, with_defects
from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from pillqc.data.images import Sample

pytestmark = pytest.mark.torch
_SIZE = 64


def _model() -> CustomVGG:
    torch.manual_seed(0)
    return CustomVGG(narrowing=8).eval()


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
    """The calibrated model gives the same threshold, so nothing is scaled twice or not at all."""
    model = _model()
    chosen = choose(model, samples, size=_SIZE)
    shown = list(predict(model, (s.path for s in samples), size=_SIZE))
    bad = np.array([p.bad for p in shown if isinstance(p, Prediction)])
    labels = np.array([s.bad for s in samples])
    assert chosen.images == len(bad) == len(samples)
    assert chosen.threshold == pytest.approx(between_scores(labels, bad, 0.01), abs=1e-6)


@given(
    good=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    worse=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    share=st.sampled_from([0.0, 0.01, 0.05, 0.2]),
)
def test_a_threshold_between_scores_decides_as_the_lowest_one(
    good: list[float], worse: list[float], share: float
) -> None:
    """About these pills; it only leaves room for further ones."""
    bad = np.array(good + worse)
    labels = np.arange(len(bad)) >= len(good)
    lowest, chosen = threshold_at(labels, bad, share), between_scores(labels, bad, share)
    assert ((bad >= lowest) == (bad >= chosen))[bad < 1.0].all()
    assert min(lowest, 1.0) <= chosen <= 1.0


def test_a_threshold_is_half_way_between_good_and_bad_pills() -> None:
    """Just above the highest good one, every other further good pill would be called bad."""
    logits = np.array([-6.0, -5.0, -1.0, 3.0, 9.0])
    labels = np.array([False, False, False, True, True])
    found = between_scores(labels, special.expit(logits), 0.01)
    assert special.logit(found) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [100.0, 1000.0])
def test_evidence_of_any_size_is_calibrated_alike(samples: list[Sample], scale: float) -> None:
    """A model that learnt few pills by heart has scores in the hundreds, and is no more certain."""
    plain, strong = _model(), _model()
    divide_head(strong, 1.0 / scale)
    expected, found = (choose(model, samples, size=_SIZE) for model in (plain, strong))
    assert found.temperature == pytest.approx(scale * expected.temperature, rel=1e-2)
    assert found.threshold == pytest.approx(expected.threshold, abs=1e-3)


def test_maps_of_defects_have_a_scale_without_masks_too(samples: list[Sample]) -> None:
    """Where the model's maps have one: calibration moved the scores, and the maps with them."""
    names = defect_names(samples)
    model = with_defects(_model(), len(names))
    model.calibrate_maps(torch.zeros(2 + len(names)), torch.ones(2 + len(names)))
    unmarked = [replace(sample, mask=None) for sample in samples]
    choose(model, unmarked, size=_SIZE, defects=names)
    good = [s.path for s in samples if not s.bad]
    shown = [p for p in predict(model, good, size=_SIZE) if isinstance(p, Prediction)]
    zero = (np.stack([p.defect_heat for p in shown]) == 0).mean(axis=(0, 2, 3))
    assert zero == pytest.approx(np.full(len(names), 0.5), abs=0.2)


def test_half_of_the_heat_of_good_pills_is_0(samples: list[Sample]) -> None:
    """The scale of the maps starts at the median outside of defects, for all images together."""
    model = _model()
    choose(model, samples, size=_SIZE)
    assert bool(model.map_calibrated)
    assert torch.allclose(model.map_low[0], -model.map_high[1])
    good = [s.path for s in samples if not s.bad]
    heat = [p.heat for p in predict(model, good, size=_SIZE) if isinstance(p, Prediction)]
    assert 0.3 < (np.stack(heat) == 0).mean() < 0.7


def test_naming_defects_changes_no_threshold_and_no_probability_of_bad(
    samples: list[Sample],
) -> None:
    """Each defect has probabilities and a map of its own."""
    plain, names = _model(), defect_names(samples)
    named = with_defects(_model(), len(names))
    alone = choose(plain, samples, size=_SIZE)
    chosen = choose(named, samples, size=_SIZE, defects=names)
    assert chosen.threshold == pytest.approx(alone.threshold, abs=1e-5)
    assert chosen.temperature == pytest.approx(alone.temperature, rel=1e-3)
    assert torch.allclose(named.map_low[:2], plain.map_low, rtol=1e-3)
    paths = [s.path for s in samples]
    shown = [p for p in predict(named, paths, size=_SIZE) if isinstance(p, Prediction)]
    expected = [p for p in predict(plain, paths, size=_SIZE) if isinstance(p, Prediction)]
    assert [p.bad for p in shown] == pytest.approx([p.bad for p in expected], abs=1e-5)
    known = [p.defects for p, s in zip(shown, samples, strict=True) if s.defect != "combined"]
    # one pill of each, of 20 whose defects are known; Platt's targets are a little inside 0 and 1
    share = (2 / 3 + 19 / 21) / 20
    assert np.stack(known).mean(axis=0) == pytest.approx(np.full(len(names), share), abs=0.01)
    assert shown[0].defect_heat.shape == (len(names), _SIZE, _SIZE)


def test_one_kind_of_pill_cannot_choose(samples: list[Sample]) -> None:
    """Without good and bad there is no threshold between them."""
    with pytest.raises(PillqcError, match="good and bad"):
        choose(_model(), [s for s in samples if s.bad], size=_SIZE)


def test_a_broken_validation_image_is_named(samples: list[Sample], tmp_path: Path) -> None:
    """It must not choose a threshold with one image less."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"broken\.png"):
        choose(
            _model(),
            [*samples, replace(samples[0], path=broken)],
            size=_SIZE,
        )


def test_the_temperature_corrects_overconfident_logits() -> None:
    """Logits three times too large are divided by about three."""
    generator = torch.Generator().manual_seed(0)
    correct = torch.randn(20_000, generator=generator) * 2.0
    labels = torch.rand(20_000, generator=generator) < torch.sigmoid(correct)
    logits = (3.0 * correct).double().numpy()
    assert fit_temperature(logits, labels.numpy()) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_few_images_that_are_all_right_make_nothing_certain(scale: float) -> None:
    """Else every probability would be 0 or 1 to the last digit, and none could be ranked."""
    rng = np.random.default_rng(3)
    labels = np.arange(26) >= 12
    logits = scale * np.where(labels, rng.normal(12.0, 3.0, 26), rng.normal(-6.0, 1.0, 26))
    scaled = logits / fit_temperature(logits, labels)
    assert np.abs(scaled).max() < 10.0
    assert np.abs(scaled).mean() == pytest.approx(np.log(14.0), rel=0.5)  # of (13 + 1) / (13 + 2)
    assert len(np.unique(special.expit(4.0 * scaled))) == 26


def test_temperature_and_symmetry_keep_the_order_of_images() -> None:
    """Symmetry changes no probability at all."""
    model = _model()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(images)[0]
        symmetrise_head(model)
        assert torch.allclose(model(images)[0], before, atol=1e-6)
        divide_head(model, 2.0)
        after = model(images)[0]
    assert after[:, 1].argsort().equal(before[:, 1].argsort())
    expected = torch.sigmoid(torch.logit(before[:, 1]) / 2.0)
    assert torch.allclose(after[:, 1], expected, atol=1e-5)


def test_temperature_and_symmetry_are_those_of_good_and_bad() -> None:
    """The defects keep their probabilities."""
    torch.manual_seed(0)
    model = CustomVGG(n_defects=2, narrowing=8).eval()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(images)[0]
        symmetrise_head(model)
        divide_head(model, 2.0)
        after = model(images)[0]
    assert torch.equal(after[:, 2:], before[:, 2:])
    assert not torch.allclose(after[:, :2], before[:, :2])
