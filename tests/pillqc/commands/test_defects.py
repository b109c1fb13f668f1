"""From a folder with a folder a defect to a model that names them, in every command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pillqc.model.artifact import read_artifact, save_artifact
from pillqc.model.narrowing import decision_form
from pillqc.model.network import load_model
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

NAMES = ("color", "contamination", "crack", "faulty_imprint", "pill_type", "scratch")


@pytest.fixture(scope="module")
def pills(pills_to_train: Path) -> Path:
    """Some pills of every kind."""
    return pills_to_train


@pytest.fixture(scope="module")
def model(pills: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of a training too short to learn anything."""
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    done = run(
        *("train", "--data", pills, "--out", out, "--classes", "defects", "--narrow", "--masks"),
        *("--size", 32, "--epochs", 2, "--target-accuracy", 1),
    )
    assert done.exit_code == 0, done.output
    assert " of defects " in done.output
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model without its names, for pills of 32 px."""
    shipped, out = load_model(), tmp_path_factory.mktemp("plain") / "plain.safetensors"
    assert shipped.card is not None
    save_artifact(out, decision_form(shipped.model), replace(shipped.card, defects=(), size=32))
    return out


def test_the_names_are_the_folders_and_are_in_the_model_file(model: Path) -> None:
    """Except `combined`, whatever the model names that it started from."""
    card, tensors = read_artifact(model)
    assert card.defects == NAMES
    assert card.training["classes"] == "defects"
    assert tensors["head.weight"].shape == (8, 512)
    assert card.training["started_from"] == "shipped"


def test_names_alone_are_learnt_at_a_rate_of_their_own(
    pills: Path, plain: Path, tmp_path: Path
) -> None:
    """The tutorial's rate is too low for a head that starts from equal rows."""
    out = tmp_path / "m.safetensors"
    words = ("--classes", "defects", "--names-only", "--narrow", "--size", 32, "--epochs", 1)
    done = run("train", "--data", pills, "--weights", plain, "--out", out, *words)
    assert done.exit_code == 0, done.output
    training = read_artifact(out)[0].training
    assert (training["learning_rate"], training["cycle"]) == (0.01, True)


def test_an_evaluation_tells_how_well_defects_are_named(
    pills: Path, model: Path, plain: Path
) -> None:
    """As the last key of the JSON, and as a table with the confusion matrix."""
    words = ("evaluate", "--data", pills, "--model", model)
    report = json.loads(run(*words, "--json").stdout)
    assert list(report)[-1] == "naming"
    naming = report["naming"]
    assert set(naming["confusion"]) >= {"good", *NAMES}
    assert naming["named_rightly"]["n"] == 6
    assert report["recall_by_defect"].keys() == {*NAMES, "combined"}
    table = run(*words).stdout
    assert "defects named rightly" in table
    assert "is, and is called" in table
    words = ("evaluate", "--data", pills, "--model", plain)
    assert "naming" not in json.loads(run(*words, "--json").stdout)


def test_an_inspection_names_the_likeliest_defects(
    pills: Path, model: Path, plain: Path, tmp_path: Path
) -> None:
    """In JSON and CSV, whole or in shards; a good/bad model's output stays as it is."""
    words = ("inspect", pills / "test/crack", "--model", model)
    whole = run(*words, "--json", "--csv", tmp_path / "whole.csv")
    found = [json.loads(line) for line in whole.stdout.splitlines()]
    assert [set(line["defects"]) for line in found] == [set(NAMES)] * 4
    for line in found:
        assert list(line["defects"].values()) == sorted(line["defects"].values(), reverse=True)
    assert run(*words, "--shards", tmp_path / "out").exit_code == 0
    assert run("merge", tmp_path / "out", "--csv", tmp_path / "merged.csv").exit_code == 0
    rows = []
    for name in ("whole", "merged"):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            rows.append([(row["defect"], row["defects"]) for row in csv.DictReader(file)])
    assert rows[0] == rows[1]
    assert rows[0][0][0] == next(iter(found[0]["defects"]))
    done = run(
        *("inspect", pills / "test/crack", "--model", plain),
        *("--json", "--csv", tmp_path / "p.csv"),
    )
    assert "defects" not in json.loads(done.stdout.splitlines()[0])
    assert "defect" not in (tmp_path / "p.csv").read_text().splitlines()[0].split(",")


def test_an_export_has_the_defects_and_their_names(
    pills: Path, model: Path, tmp_path: Path
) -> None:
    """The outputs are compared with the model's before the file appears."""
    out = tmp_path / "m.pt"
    done = run(
        *("export", "--format", "torchscript", "--data", pills, "--model", model, "--out", out)
    )
    assert done.exit_code == 0, done.output
    card = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["classes"], tuple(card["defects"])) == (["good", "bad"], NAMES)


def test_data_without_names_of_defects_are_refused(pills: Path, tmp_path: Path) -> None:
    """`good` and `bad` alone name nothing; the message says what is needed."""
    for kind, source in (("good", "test/good"), ("bad", "test/crack")):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for path in (pills / source).iterdir():
            (tmp_path / "data" / kind / path.name).write_bytes(path.read_bytes())
    done = run(
        *("train", "--data", tmp_path / "data", "--classes", "defects"),
        *("--out", tmp_path / "m.safetensors"),
    )
    assert done.exit_code == 1
    assert "two or more defects" in done.output
