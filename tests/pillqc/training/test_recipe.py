"""The recipe trains, resumes with the images that it would have seen, and writes a model file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from pillqc.errors import ModelFileError, PillqcError
from pillqc.model.artifact import read_artifact
from pillqc.training.recipe import Phase, Recipe, StepReport, run_recipe
from pillqc.training.shipped_model import PillCounts, train_from_scratch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

_TINY = Recipe(
    images=12,
    phases=(Phase(size=32, share=0.5, batch_size=6), Phase(size=48, share=0.5, batch_size=6)),
    validation_images=12,
    validations=2,
    narrowing=8,
    jobs=0,
)


@pytest.mark.parametrize("size", sorted({phase.size for phase in Recipe().phases}))
def test_no_phase_cuts_off_the_edge_of_the_image(size: int) -> None:
    """The map's side is even, so that pooling leaves out no row or column."""
    assert size % 32 == 0


def test_a_killed_training_resumes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle and called again, it ends with the weights of an unbroken run."""

    class _KilledError(Exception):
        pass

    def kill(report: StepReport) -> None:
        if report.step == 1:
            raise _KilledError

    reports: list[StepReport] = []
    whole = run_recipe(_TINY, tmp_path / "whole.pt", on_report=reports.append)
    assert [report.step for report in reports] == [1, 2]
    assert all(report.loss > 0 for report in reports)
    assert reports[-1].auroc is not None
    with monkeypatch.context() as patch:
        patch.setattr("pillqc.training.recipe.CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(_KilledError):
            run_recipe(_TINY, tmp_path / "cut.pt", on_report=kill)
    resumed = run_recipe(_TINY, tmp_path / "cut.pt")
    assert resumed.steps == whole.steps == 2
    expected = whole.net.state_dict()
    assert all(torch.equal(v, expected[name]) for name, v in resumed.net.state_dict().items())
    with pytest.raises(ModelFileError, match="other settings"):
        run_recipe(replace(_TINY, images=6), tmp_path / "cut.pt")


def test_a_missing_gpu_is_an_error(tmp_path: Path) -> None:
    """It says what to use instead."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PillqcError, match="can use no GPU"):
        run_recipe(replace(_TINY, device="cuda"), tmp_path / "c.pt")


def test_a_model_file_that_cannot_be_written_is_refused_before_the_training(
    tmp_path: Path,
) -> None:
    """An hour later it would be too late."""
    (tmp_path / "file").touch()
    with pytest.raises(ModelFileError, match="cannot be written"):
        train_from_scratch(_TINY, tmp_path / "file/m.safetensors", tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize("classes", ["good-bad", "defects"])
def test_the_result_is_a_model_file_with_its_figures(tmp_path: Path, classes: str) -> None:
    """Half precision, threshold and temperature from validation, metrics with their command."""
    out = tmp_path / "m.safetensors"
    counts = PillCounts(validation_good=6, validation_per_defect=1, test_good=4, test_per_defect=1)
    recipe = replace(_TINY, classes=classes)
    report = train_from_scratch(recipe, out, tmp_path / "c.pt", counts=counts)
    card, tensors = read_artifact(out)
    assert tensors["head.weight"].shape == (2 + len(recipe.defects), 512)
    assert card.defects == recipe.defects
    if classes == "defects":
        assert len(card.defects) == 6
        assert card.metrics["naming"]["named_rightly"]["n"] == 6
        assert card.training["command"].endswith("--images 12 --classes defects")
    else:
        assert card.defects == ()
        assert "naming" not in card.metrics
        assert card.training["command"].endswith("--images 12")
    assert not (tmp_path / "c.pt").exists(), "another training may take the name"
    assert tensors["head.weight"].dtype == torch.float16
    assert out.stat().st_size < 32_000_000
    assert card.metrics["image_auroc"] == report.image_auroc
    assert "--seed 2000000" in card.metrics["command"]
    assert card.threshold == report.threshold
    assert card.temperature != 1.0
    assert bool(tensors["map_calibrated"])
    assert json.dumps(card.training)
