"""Figures go into the card of the file that was judged, with the command that repeats them."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import torch

from pillqc.data.folders import read_samples
from pillqc.data.seen_images import encode_seen
from pillqc.data.splits import content_hash
from pillqc.errors import ModelFileError
from pillqc.evaluation.card_figures import check_card, write_figures
from pillqc.evaluation.evaluate import evaluate
from pillqc.model.artifact import ModelCard, read_artifact, save_artifact
from pillqc.model.network import SHIPPED_MODEL, load_model
from tests.pillqc.command import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch

CARD = ModelCard(size=32, threshold=0.4, known_failures=("faint imprint",))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file in half precision; its weights are random."""
    path = tmp_path / "m.safetensors"
    save_artifact(path, load_model("random").model, CARD, dtype=torch.float16)
    return path


def metrics_of(model: Path, data: Path, *options: object) -> dict[str, Any]:
    """The metrics in the card after an evaluation that writes them."""
    done = run("evaluate", "--data", data, "--model", model, "--write-card", *options)
    assert done.exit_code == 0, done.output
    return read_artifact(model)[0].metrics


def test_the_card_gets_the_figures_and_the_command_that_repeats_them(
    rendered: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights keep their bits and their precision, and the rest of the card its values."""
    before = read_artifact(model)[1]
    found = metrics_of(model, rendered)
    card, tensors = read_artifact(model)
    assert replace(card, metrics={}) == CARD
    assert {t.dtype for t in tensors.values()} == {torch.float16, torch.bool}
    assert all(torch.equal(value, before[name]) for name, value in tensors.items())
    assert (found["images"], found["good"]) == (18, 4)
    assert found["manifest_sha256"] == content_hash(rendered / "manifest.csv")
    render, judge = found["command"].split(" && ")
    monkeypatch.chdir(model.parent)
    assert run(*shlex.split(render)[1:]).exit_code == 0
    again = json.loads(run(*shlex.split(judge)[1:], "--json").stdout)
    assert again == {k: v for k, v in found.items() if k not in {"command", "manifest_sha256"}}


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "dataset.json").unlink(),
        lambda root: (root / "manifest.csv").unlink(),
        lambda root: (root / "test/good/000.png").unlink(),
        lambda root: shutil.copy(root / "train/good/000.png", root / "test/good/000.png"),
    ],
    ids=["another's", "no manifest", "one less", "another picture"],
)
def test_of_other_images_the_card_gets_the_hash_of_their_list(
    pills: Path, model: Path, change: Callable[[Path], object]
) -> None:
    """Pills that were changed since are not those that the command would render."""
    change(pills)
    found = metrics_of(model, pills, "--split", "test", "--size", 48)
    assert found["command"] == (
        "pillqc evaluate --data pills --model m.safetensors --split test --size 48"
    )
    rows = ["split,defect,path,sha256"]
    for sample in read_samples(pills):
        if sample.split == "test":
            name = sample.path.relative_to(pills).as_posix()
            rows.append(f"test,{sample.defect},{name},{content_hash(sample.path)}")
    expected = hashlib.sha256("\n".join([*rows, ""]).encode()).hexdigest()
    assert found["manifest_sha256"] == expected


def test_images_that_the_model_has_seen_are_no_part_of_the_figures(
    rendered: Path, model: Path
) -> None:
    """The rest of the folder that it was trained on may judge it."""
    seen = [content_hash(path) for path in sorted(rendered.glob("test/good/*.png"))[:1]]
    card = replace(CARD, seen=encode_seen(seen))
    save_artifact(model, load_model("random").model, card)
    found = metrics_of(model, rendered)
    assert (found["left_out_as_seen"], found["seen_in_training"]) == (1, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--data x --write-card", "name it with --model"),
        ("--data x --model m.safetensors --write-card --include-seen", "exclude each other"),
        ("--sizes --model m.safetensors --write-card", "--sizes renders its own pills"),
    ],
)
def test_what_cannot_be_written_is_wrong_usage(options: str, words: str) -> None:
    """The shipped model is no user's to change unless he names its file."""
    done = run("evaluate", *options.split())
    assert done.exit_code == 2
    assert words in done.output


def test_only_a_model_file_has_a_card(rendered: Path) -> None:
    """Random weights have none; it is said before any image is judged."""
    with mock.patch("pillqc.evaluation.evaluate.evaluate", side_effect=AssertionError):
        done = run("evaluate", "--data", rendered, "--model", "random", "--write-card")
    assert done.exit_code == 2
    assert "not a model file" in done.output


def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    rendered: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it stays as it was."""
    content = model.read_bytes()
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)  # root may write everything
    with mock.patch("pillqc.evaluation.evaluate.evaluate", side_effect=AssertionError):
        done = run("evaluate", "--data", rendered, "--model", model, "--write-card")
    assert done.exit_code == 1
    assert "read-only" in done.output
    assert model.read_bytes() == content


def test_another_file_does_not_get_the_figures(rendered: Path, model: Path) -> None:
    """A training that ends meanwhile puts another model in its place."""
    loaded, samples = load_model(model), read_samples(rendered)
    check_card(loaded)
    report = evaluate(loaded, samples)
    save_artifact(model, load_model("random", seed=1).model, CARD)
    with pytest.raises(ModelFileError, match="was changed"):
        write_figures(loaded, report, rendered, samples)
    assert read_artifact(model)[0].metrics == {}


def test_the_shipped_model_named_by_its_path_may_get_figures(rendered: Path) -> None:
    """That is how it got those in its card; the command needs no --model then."""
    loaded, samples = load_model(SHIPPED_MODEL), read_samples(rendered)
    report = evaluate(load_model("random"), samples, size=32)
    with mock.patch("pillqc.evaluation.card_figures.write_metrics") as written:
        write_figures(loaded, report, rendered, samples)
    (path, found), _ = written.call_args
    assert path == SHIPPED_MODEL
    assert found["command"].endswith(" && pillqc evaluate --data pills")
