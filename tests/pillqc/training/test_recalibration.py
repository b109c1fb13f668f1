"""A model gets the threshold of another line, and keeps its order of pills and its names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from pillqc.data.folders import read_samples
from pillqc.errors import UsageError
from pillqc.evaluation.calibration import GUESSED, between_scores
from pillqc.evaluation.evaluate import evaluate
from pillqc.inspection.prediction import Prediction, predict
from pillqc.model.artifact import read_artifact
from pillqc.model.narrowing import narrow_form
from pillqc.model.network import load_model
from pillqc.training.recalibration import Recalibrated, recalibrate
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pillqc.model.network import CustomVGG

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def done(rendered: Path) -> Recalibrated:
    """The shipped model, with its threshold chosen on small pills that look unlike its own."""
    return recalibrate(load_model(), read_samples(rendered), rendered)


def _predicted(model: CustomVGG, root: Path) -> list[Prediction]:
    paths = [sample.path for sample in read_samples(root)]
    found = predict(narrow_form(model), paths, size=224)
    return [p for p in found if isinstance(p, Prediction)]


@pytest.fixture(scope="module")
def after(done: Recalibrated, rendered: Path) -> list[Prediction]:
    """What that model says of them."""
    return _predicted(done.model, rendered)


def test_the_threshold_is_that_of_these_pictures(
    done: Recalibrated, after: list[Prediction], rendered: Path
) -> None:
    """At most 1 % of the good ones are called bad; of few ones none."""
    bad = np.array([p.bad for p in after])
    labels = np.array([sample.bad for sample in read_samples(rendered)])
    assert done.card.threshold == pytest.approx(between_scores(labels, bad, 0.01), abs=1e-5)
    assert (bad[~labels] < done.card.threshold).all()
    assert done.card.threshold != load_model().threshold


def test_the_order_of_pills_and_the_names_stay(after: list[Prediction], rendered: Path) -> None:
    """Only a training changes what the model sees in a pill."""
    before = _predicted(load_model().model, rendered)
    order = stats.spearmanr([p.bad for p in before], [p.bad for p in after]).statistic
    assert order > 0.999
    assert len(before[0].defects) == len(load_model().defects)
    for old, new in zip(before, after, strict=True):
        assert np.allclose(old.defects, new.defects, atol=1e-5)


def test_the_card_knows_these_pictures_and_no_old_figures(
    done: Recalibrated, rendered: Path
) -> None:
    """They are what the model knows, they judge it no more, and the old metrics are not its."""
    old = load_model().card
    assert old is not None
    assert done.card.metrics == {}
    assert done.card.known != old.known
    assert done.card.training == old.training
    chosen_on = done.card.data["thresholds"]
    assert chosen_on["images"] == len(read_samples(rendered))
    assert chosen_on["rendered_by"].startswith("pillqc render")


def test_the_card_has_the_name_of_the_folder_that_one_is_in(
    rendered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data .` has a name, too."""
    monkeypatch.chdir(rendered)
    here = recalibrate(load_model(), read_samples(Path()), Path())
    assert here.card.data["thresholds"]["folder"] == rendered.name


def test_a_threshold_that_was_chosen_is_no_guess(rendered: Path) -> None:
    """The card of a training without validation data says so until then, and the rest stays."""
    shipped = load_model()
    assert shipped.card is not None
    guessed = replace(shipped.card, known_failures=(GUESSED, "faint imprint"))
    done = recalibrate(replace(shipped, card=guessed), read_samples(rendered), rendered)
    assert done.card.known_failures == ("faint imprint",)


def test_the_command_writes_a_model_that_leaves_these_pictures_out(
    rendered: Path, tmp_path: Path
) -> None:
    """The file loads, and evaluating it on the same folder finds no picture that may judge it."""
    out = tmp_path / "line.safetensors"
    result = run("calibrate", "--data", rendered, "--out", out, "--half")
    assert result.exit_code == 0, result.output
    loaded = load_model(out)
    assert f"{loaded.threshold:.4f}" in result.stdout
    assert read_artifact(out)[1]["head.weight"].element_size() == 2
    with pytest.raises(Exception, match="seen"):
        evaluate(loaded, read_samples(rendered))


def test_pictures_that_the_model_has_seen_are_counted(rendered: Path, tmp_path: Path) -> None:
    """A threshold that they choose is too good: a note and the card say how many there are."""
    first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
    images = len(read_samples(rendered))
    for out, options, seen in ((first, [], 0), (again, ["--model", first], images)):
        result = run("calibrate", "--data", rendered, "--out", out, *options)
        assert result.exit_code == 0, result.output
        assert read_artifact(out)[0].data["thresholds"]["seen_before"] == seen
        assert result.stderr.count("TOO GOOD") == (seen > 0)
    assert f"{images} of {images} " in result.stderr
    assert first.name in result.stderr


def test_only_a_trained_model_has_a_threshold(rendered: Path, tmp_path: Path) -> None:
    """Random weights are refused in one line, and so is a file of another kind."""
    with pytest.raises(UsageError, match="trained"):
        recalibrate(load_model("random"), read_samples(rendered), rendered)
    for out in ("line.pt", "line.onnx"):
        result = run("calibrate", "--data", rendered, "--out", tmp_path / out)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_pictures_of_one_kind_choose_nothing(rendered: Path, tmp_path: Path) -> None:
    """Good ones alone say nothing about escapes; no file is written."""
    out = tmp_path / "line.safetensors"
    for sample in read_samples(rendered)[:4]:
        target = tmp_path / "data" / "good" / sample.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(sample.path.read_bytes())
    result = run("calibrate", "--data", tmp_path / "data", "--out", out)
    assert result.exit_code == 1
    assert "good and bad" in result.stderr
    assert not out.exists()
