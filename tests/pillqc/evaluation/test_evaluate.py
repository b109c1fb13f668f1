"""Metrics have known results, and pixel metrics match scikit-learn's exact ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from pillqc.data.images import Sample
from pillqc.errors import DataError, PillqcError
from pillqc.evaluation.evaluate import (
    Scores,
    calibration_error,
    evaluate,
    judge,
    threshold_at,
)
from pillqc.evaluation.pixels import PixelGatherer, PixelMetrics
from pillqc.evaluation.shares import share

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_NO_PIXELS = PixelMetrics(pixel_auroc=None, aupro=None, pointing_game=None, box_iou=None)


def test_a_share_has_an_exact_interval() -> None:
    """0 misses of 28 leave an upper bound of 10.15 % (one-sided) or 12.3 % (two-sided)."""
    assert share(0, 28, confidence=0.90).high == pytest.approx(0.1015, abs=1e-4)
    assert share(28, 28).low == pytest.approx(1 - 0.1234, abs=5e-4)
    assert share(28, 28).high == 1.0
    nothing = share(0, 0)
    assert (nothing.share, nothing.low, nothing.high) == (None, 0.0, 1.0)


@pytest.mark.parametrize(
    ("good", "allowed", "rejected"),
    [
        (np.linspace(0.0, 0.5, 100), 0.0, 0),
        (np.linspace(0.0, 0.5, 100), 0.01, 1),
        (np.linspace(0.0, 0.5, 100), 1.0, 100),
        (np.array([0.4] * 50 + [0.1] * 50), 0.05, 0),
    ],
)
def test_a_threshold_never_exceeds_the_allowed_false_rejects(
    good: Scores, allowed: float, rejected: int
) -> None:
    """It uses them fully, except where ties would exceed them."""
    cut = threshold_at(np.zeros(100, np.bool_), good, allowed)
    assert int((good >= cut).sum()) == rejected


def test_escapes_recall_and_confusion_count_bad_as_positive() -> None:
    """Four good and four bad pills, counted by hand."""
    report = judge(
        model="m",
        trained=True,
        threshold=0.5,
        bad=np.array([0.1, 0.2, 0.3, 0.6, 0.9, 0.8, 0.55, 0.25]),
        defects=["good"] * 4 + ["crack", "crack", "color", "color"],
        pixels=_NO_PIXELS,
    )
    assert report.confusion == {
        "good_called_good": 3,
        "good_called_bad": 1,
        "bad_called_good": 1,
        "bad_called_bad": 3,
    }
    assert report.recall_bad.share == 0.75
    assert report.false_rejects.share == 0.25
    assert report.escape_rate_at_false_reject == {"0.01": 0.5, "0.05": 0.5, "0.1": 0.5}
    assert report.recall_by_defect["color"].count == 1
    assert report.recall_by_defect["crack"].at_false_reject["0.05"] == 1.0
    assert report.image_auroc == pytest.approx(13 / 16)


def test_the_json_has_the_keys_that_scripts_rely_on() -> None:
    """Everything can be written as JSON."""
    report = judge(
        model="m",
        trained=False,
        threshold=0.5,
        bad=np.array([0.1, 0.9]),
        defects=["good", "crack"],
        pixels=_NO_PIXELS,
    )
    written = json.loads(json.dumps(report.as_dict()))
    assert " ".join(written) == (
        "model trained images left_out_as_seen seen_in_training good bad threshold image_auroc"
        " average_precision accuracy recall_bad false_rejects escape_rate_at_false_reject"
        " recall_by_defect confusion ece brier pixel_auroc aupro pointing_game box_iou masks_used"
        " masks_missing mask_values"
    )
    assert " ".join(written["recall_bad"]) == "count n share low high"
    assert (
        " ".join(written["recall_by_defect"]["crack"]) == "count n share low high at_false_reject"
    )
    assert written["escape_rate_at_false_reject"].keys() == {"0.01", "0.05", "0.1"}


def test_calibration_error_is_zero_for_correct_probabilities() -> None:
    """Of pills of probability .75 three quarters must be bad."""
    certain = np.full(4, 0.75)
    assert calibration_error(np.array([True, True, True, False]), certain) == pytest.approx(0.0)
    assert calibration_error(np.zeros(4, np.bool_), certain) == pytest.approx(0.75)


def _maps(seed: int) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    rng = np.random.default_rng(seed)
    heats: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    for index in range(6):
        mask: NDArray[np.bool_] = np.zeros((40, 40), np.bool_)
        if index:
            mask[5 : 5 + 2 * index, 8:14] = True
            mask[30:33, 30:32] = True
        noisy = rng.normal(0.3, 0.15, (40, 40)) + 0.25 * mask
        heats.append(np.clip(noisy, 0, 1).astype(np.float32))
        masks.append(mask)
    return heats, masks


def _gathered(heats: list[NDArray[np.float32]], masks: list[NDArray[np.bool_]]) -> PixelMetrics:
    gatherer = PixelGatherer()
    for heat, mask in zip(heats, masks, strict=True):
        gatherer.add(heat, mask)
    return gatherer.metrics()


def test_pixel_auroc_matches_scikit_learn() -> None:
    """Histograms of 65,536 levels are exact enough."""
    heats, masks = _maps(0)
    exact = metrics.roc_auc_score(np.stack(masks).ravel(), np.stack(heats).ravel())
    assert _gathered(heats, masks).pixel_auroc == pytest.approx(exact, abs=1e-4)


def test_aupro_matches_its_definition() -> None:
    """Mean overlap per component, integrated over false-positive rates up to .3, brute force."""
    heats, masks = _maps(1)
    heat, mask = np.stack(heats), np.stack(masks)
    components = [
        m & piece for m in masks for piece in (_upper(m), ~_upper(m)) if (m & piece).any()
    ]
    owners = [h for h, m in zip(heats, masks, strict=True) for _ in range(2 if m.any() else 0)]
    cuts = np.unique(heat)[::-1]
    rates = np.array([0.0, *((heat[~mask] >= cut).mean() for cut in cuts)])
    overlaps = np.array(
        [0.0]
        + [
            np.mean([(h[c] >= cut).mean() for h, c in zip(owners, components, strict=True)])
            for cut in cuts
        ]
    )
    inside = rates <= 0.3
    xs = np.append(rates[inside], 0.3)
    ys = np.append(overlaps[inside], np.interp(0.3, rates, overlaps))
    expected = metrics.auc(xs, ys) / 0.3
    assert _gathered(heats, masks).aupro == pytest.approx(expected, abs=1e-3)


def _upper(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.arange(40)[:, None].repeat(mask.shape[1], 1) < 25


def test_perfect_maps_score_one_everywhere() -> None:
    """A map that equals the mask has the best figures."""
    _, masks = _maps(2)
    best = _gathered([m.astype("f4") for m in masks], masks)
    assert best == PixelMetrics(pixel_auroc=1.0, aupro=1.0, pointing_game=1.0, box_iou=1.0)


def test_the_pointing_game_has_a_tolerance() -> None:
    """A peak far from the mask is a miss, one within the tolerance of 15 px in 224 is a hit."""
    mask = np.zeros((224, 224), np.bool_)
    mask[100:110, 100:110] = True
    far, near = np.zeros((224, 224), np.float32), np.zeros((224, 224), np.float32)
    far[130, 105] = near[120, 105] = 1.0
    assert _gathered([far], [mask]).pointing_game == 0.0
    assert _gathered([near], [mask]).pointing_game == 1.0


def test_without_masks_there_are_no_pixel_metrics() -> None:
    """Good pills alone cannot measure localisation."""
    assert _gathered([np.zeros((8, 8), np.float32)], [np.zeros((8, 8), np.bool_)]) == _NO_PIXELS


def _sample(path: Path, defect: str) -> Sample:
    return Sample(path=path, defect=defect, bad=defect != "good", mask=None, split="test")


@pytest.mark.torch
def test_an_evaluation_refuses_files_that_cannot_be_read_and_data_of_one_kind(
    tmp_path: Path,
) -> None:
    """Metrics over a part of the data are metrics of other data; one kind has no AUROC."""
    from pillqc.model.network import load_model

    loaded = load_model("random")
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    samples = [_sample(tmp_path / "a.png", "good"), _sample(tmp_path / "b.png", "crack")]
    with pytest.raises(DataError, match=r"b\.png: not an image"):
        evaluate(loaded, samples, size=32)
    with pytest.raises(PillqcError, match="good and bad images"):
        evaluate(loaded, samples[:1])
