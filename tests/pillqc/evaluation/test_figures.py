"""Figures are drawn from the report, and their caption warns of doubtful ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pillqc.errors import PillqcError
from pillqc.evaluation.evaluate import Evaluation, judge
from pillqc.evaluation.figures import caption, draw_figures
from pillqc.evaluation.naming import judge_names
from pillqc.evaluation.pixels import PixelMetrics

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.fixture
def report() -> Evaluation:
    """Two hundred decisions, most of them right, and one defect that is never found."""
    defects = ["good"] * 100 + ["crack"] * 60 + ["faulty_imprint"] * 40
    rng = np.random.default_rng(0)
    bad = rng.beta(2, 5, 200) + np.array([0.0] * 100 + [0.4] * 60 + [0.0] * 40)
    nothing = PixelMetrics(pixel_auroc=None, aupro=None, pointing_game=None, box_iou=None)
    return judge(
        model="m",
        trained=True,
        threshold=0.6,
        bad=np.clip(bad, 0, 1),
        defects=defects,
        pixels=nothing,
    )


def test_every_figure_is_a_readable_picture(report: Evaluation, tmp_path: Path) -> None:
    """Curves, reliability, confusion and recall by defect."""
    paths = draw_figures(report, tmp_path / "figures")
    names = {path.stem for path in paths}
    assert names == {"curves", "reliability", "confusion", "recall_by_defect"}
    for path in paths:
        with Image.open(path) as image:
            assert image.width > 300
            assert np.asarray(image.convert("L")).std() > 5


def test_a_model_that_names_defects_has_their_confusion_drawn(
    report: Evaluation, tmp_path: Path
) -> None:
    """As a further figure."""
    naming = judge_names(
        ["good", "crack", "scratch"],
        names=("crack", "scratch"),
        probabilities=np.eye(3, 2),
        bad=np.array([0.1, 0.9, 0.9]),
        threshold=0.5,
    )
    paths = draw_figures(replace(report, naming=naming), tmp_path)
    assert paths[-1].stem == "confusion_by_class"
    assert paths[-1].is_file()


def test_the_caption_warns_of_doubtful_figures(report: Evaluation) -> None:
    """The caption is below every figure."""
    assert caption(report) == "m, 100 good and 100 bad images"
    assert "UNTRAINED" in caption(replace(report, trained=False))
    assert "TOO GOOD: 3 images" in caption(replace(report, seen_in_training=3))


def test_a_folder_that_cannot_be_written_is_one_line(report: Evaluation, tmp_path: Path) -> None:
    """There is no traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PillqcError, match="cannot be written"):
        draw_figures(report, tmp_path / "file")
