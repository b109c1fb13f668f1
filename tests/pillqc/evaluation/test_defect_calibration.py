"""Scores of defects become probabilities, and the head keeps them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pillqc.evaluation.defect_calibration import fit_sigmoid, scale_defects
from pillqc.model.network import CustomVGG

pytestmark = pytest.mark.torch


def test_a_known_line_is_found_again() -> None:
    """Scores that are logits times 4 plus 20; one image in three is not known."""
    random = np.random.default_rng(0)
    logits = random.normal(-1.0, 2.0, 6000)
    present = (random.random(6000) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    present[::3] = np.nan
    slope, offset = fit_sigmoid(4.0 * logits + 20.0, present)
    assert slope == pytest.approx(0.25, rel=0.1)
    assert -offset / slope == pytest.approx(20.0, abs=0.6)


def test_separate_scores_do_not_become_certain() -> None:
    """With five images of each kind nothing is sure to a thousandth."""
    scores, present = np.arange(10.0) * 1000.0, (np.arange(10) > 4).astype(np.float32)
    slope, offset = fit_sigmoid(scores, present)
    probabilities = 1 / (1 + np.exp(-(slope * scores + offset)))
    assert 0.001 < probabilities.min() < 0.2
    assert 0.8 < probabilities.max() < 0.999


def test_a_higher_score_never_means_less_of_the_defect() -> None:
    """Scores that rank the wrong way round give one probability for all."""
    slope, offset = fit_sigmoid(-np.arange(10.0), (np.arange(10) > 4).astype(np.float32))
    assert 0.0 < slope < 0.01
    assert abs(offset) < 0.1


def test_a_defect_without_images_keeps_its_scores() -> None:
    """There is nothing to learn from."""
    assert fit_sigmoid(np.arange(4.0), np.zeros(4, np.float32)) == (1.0, 0.0)


def test_scores_and_maps_of_defects_change_and_good_and_bad_stay() -> None:
    """The head computes the calibrated score."""
    torch.manual_seed(0)
    model = CustomVGG(n_defects=2, narrowing=8).eval()
    features = torch.rand(3, 64, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.scores(features)
        scale_defects(model, [(2.0, 1.0), (0.5, -3.0)])
        after = model.scores(features)
    assert torch.equal(after[:, :2], before[:, :2])
    expected = before[:, 2:] * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, -3.0])
    assert torch.allclose(after[:, 2:], expected, atol=1e-5)
