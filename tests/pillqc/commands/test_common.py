"""Every command understands a data set alike, says how, and refuses the same."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pillqc.commands.main import main
from pillqc.model.artifact import read_artifact
from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

SIZE = 32
SMALL = ("--model", "random", "--size", SIZE)


def run(*arguments: object) -> Result:
    """The command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some small pills."""
    root = tmp_path_factory.mktemp("data") / "pills"
    render_dataset(root, RenderPlan(size=SIZE, train_good=8, test_good=4, per_defect=2), jobs=1)
    return root


@pytest.fixture
def pills(rendered: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(rendered, tmp_path / "pills")


def called_ok_and_ko(pills: Path) -> Path:
    """The same pills under other names."""
    root = pills.parent / "okko"
    shutil.copytree(pills / "test/good", root / "ok")
    shutil.copytree(pills / "test/crack", root / "ko")
    return root


def commands(data: Path, *more: object) -> dict[str, tuple[object, ...]]:
    """Every command that reads a data set, as cheap as it gets."""
    out = data.parent
    given = ("--data", data, *more)
    return {
        "train": ("train", *given, "--out", out / "m.safetensors", "--size", SIZE, "--epochs", 1),
        "evaluate": ("evaluate", *given, *SMALL),
        "explore": ("explore", *given, "--out", out / "figures", "--size", SIZE),
        "check-split": ("check-split", *given),
        "export": ("export", *given, "--format", "torchscript", "--out", out / "m.pt"),
        "benchmark": ("benchmark", "inspect", *given, "--model", "random", "--rounds", 1),
        "prepare": ("prepare", "mvtec", "--root", data, *more, "--out", out / "prepared"),
    }


COMMANDS = ("train", "evaluate", "explore", "check-split", "export", "benchmark", "prepare")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_takes_good_pills_for_a_defect(command: str, pills: Path) -> None:
    """One sentence that names the folders and what to do."""
    done = run(*commands(called_ok_and_ko(pills))[command])
    assert done.exit_code == 1
    assert "say --good ok; found ko (2 images), ok (4 images)" in done.output


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_takes_a_file_as_good_and_bad(command: str, pills: Path) -> None:
    """Whoever counts it on both sides counts it wrong once."""
    shutil.copy(pills / "train/good/000.png", pills / "test/crack/777.png")
    done = run(*commands(pills)[command])
    assert done.exit_code == 1
    assert "is good and bad at once" in done.output
    assert "777.png" in done.output


@pytest.mark.parametrize("command", ["evaluate", "explore", "check-split", "prepare"])
def test_the_good_folder_can_be_named_to_every_command(command: str, pills: Path) -> None:
    """It works then, and says what it took for what."""
    done = run(*commands(called_ok_and_ko(pills), "--good", "ok")[command])
    assert done.exit_code == 0, done.output
    assert "note: taken for good pills: ok" in done.stderr


def with_labels(pills: Path) -> None:
    """The rendered masks as 0 and 1."""
    for path in pills.glob("ground_truth/*/*.png"):
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)


def test_figures_of_masks_do_not_depend_on_how_they_are_coded(rendered: Path, pills: Path) -> None:
    """0/1 and 0/255 are the same masks; how many were used, and of what values, is in the JSON."""
    with_labels(pills)
    labels, levels = (
        json.loads(run("evaluate", "--data", data, *SMALL, "--json").stdout)
        for data in (pills, rendered)
    )
    assert (labels.pop("mask_values"), levels.pop("mask_values")) == ("0/1", "0/255")
    assert labels == levels
    assert (labels["masks_used"], labels["masks_missing"]) == (14, {})
    assert labels["aupro"] is not None
    assert "masks: 0/1, 14 used" in run("evaluate", "--data", pills, *SMALL).stdout


def test_training_learns_from_the_same_masks_however_they_are_coded(
    rendered: Path, pills: Path, tmp_path: Path
) -> None:
    """To the bit; what was understood is said and stands in the card."""
    with_labels(pills)
    cards = []
    for number, data in enumerate((rendered, pills)):
        out = tmp_path / f"{number}.safetensors"
        options = ("--size", SIZE, "--epochs", 1, "--weights", "random", "--masks")
        done = run("train", "--data", data, "--out", out, *options)
        assert done.exit_code == 0, done.output
        cards.append(read_artifact(out)[0])
    assert "note: masks: 0/1, 14 used" in done.stderr
    assert cards[0].training["history"][0]["loss"] == cards[1].training["history"][0]["loss"]
    assert cards[1].data["masks"] == {"used": 14, "missing": {}, "values": "0/1"}


@pytest.mark.parametrize("command", ["train", "evaluate", "check-split"])
def test_empty_masks_of_one_defect_are_refused(command: str, pills: Path) -> None:
    """Before anything is learnt or counted from them."""
    for path in pills.glob("ground_truth/crack/*.png"):
        Image.new("L", (SIZE, SIZE)).save(path)
    done = run(*commands(pills)[command])
    assert done.exit_code == 1
    assert "crack/000_mask.png: has no set pixel" in done.output
    assert "(1 more masks cannot be used)" in done.output
    assert "epoch 1" not in done.output


def test_masks_that_are_not_understood_are_missing_in_output_and_json(pills: Path) -> None:
    """Those of one defect cannot vanish among the others."""
    for path in pills.glob("ground_truth/crack/*.png"):
        path.rename(path.with_name(f"{path.stem}-7.png"))
    done = run("evaluate", "--data", pills, *SMALL, "--json")
    report = json.loads(done.stdout)
    assert (report["masks_used"], report["masks_missing"]) == (12, {"crack": 2})
    assert "note: 2 masks not understood: no bad image belongs to" in done.stderr


def test_an_evaluation_of_one_kind_says_which(pills: Path) -> None:
    """The folders that were found are in the sentence."""
    done = run("evaluate", "--data", pills, "--split", "training", *SMALL)
    assert done.exit_code == 1
    assert "one kind only (good)" in done.output


def test_a_tray_can_be_inspected_again_with_its_pictures_in_it(pills: Path) -> None:
    """Own pictures are left out of folders, said, and refused by name."""
    tray = pills / "test/crack"
    marked = tray / "marked"
    for _ in range(2):
        done = run("inspect", tray, *SMALL, "--pictures", marked)
        assert done.exit_code == 0, done.output
        assert len(done.stdout.splitlines()) == 2
    assert "note: pictures that pillqc drew itself, left out: 2, the first" in done.stderr
    renamed = next(marked.iterdir()).rename(tray / "photo.png")
    alone = run("inspect", renamed, *SMALL, "--json")
    assert alone.exit_code == 1
    assert "not a photograph" in json.loads(alone.stdout)["reason"]


def test_figures_inside_the_data_are_no_class(pills: Path) -> None:
    """Of `explore` and of `evaluate`, under any name."""
    data = pills.parent / "plain"
    for kind in ("good", "crack"):
        shutil.copytree(pills / "test" / kind, data / kind)
    assert run("explore", "--data", data, "--out", data / "a", "--size", SIZE).exit_code == 0
    assert run("evaluate", "--data", data, *SMALL, "--figures", data / "b").exit_code == 0
    done = run("evaluate", "--data", data, *SMALL, "--json")
    assert list(json.loads(done.stdout)["recall_by_defect"]) == ["crack"]
    assert "note: pictures that pillqc drew itself, left out: 6, the first" in done.stderr
