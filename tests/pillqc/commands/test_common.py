"""All commands understand data sets in the same way, and refuse the same ones."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pillqc.model.artifact import ModelCard, read_artifact, save_artifact
from pillqc.model.network import load_model
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

SIZE = 32
SMALL = ("--model", "random", "--size", SIZE)


def called_ok_and_ko(pills: Path) -> Path:
    """Return the same pills in folders of other names."""
    root = pills.parent / "okko"
    shutil.copytree(pills / "test/good", root / "ok")
    shutil.copytree(pills / "test/crack", root / "ko")
    return root


def commands(data: Path, *more: object) -> dict[str, tuple[object, ...]]:
    """Return the words of every command that reads a data set, with little to compute."""
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
def test_every_command_refuses_a_misleading_data_set(command: str, pills: Path) -> None:
    """Good pills in a folder of another name, and a file that is good and bad at once."""
    done = run(*commands(called_ok_and_ko(pills))[command])
    assert done.exit_code == 1
    assert "--good ok" in done.output
    shutil.copy(pills / "train/good/000.png", pills / "test/crack/777.png")
    done = run(*commands(pills)[command])
    assert done.exit_code == 1
    assert "good/000.png" in done.output
    assert "777.png" in done.output


@pytest.mark.parametrize("command", ["evaluate", "explore", "check-split", "prepare"])
def test_the_good_folder_can_be_named_to_every_command(command: str, pills: Path) -> None:
    """A note says which folder was taken for which."""
    done = run(*commands(called_ok_and_ko(pills), "--good", "ok")[command])
    assert done.exit_code == 0, done.output
    assert "good pills: ok" in done.stderr


_INSPECT = "inspect {data}/test/crack --model random --size 32"
_LITTLE = "--train-good 1 --test-good 0 --per-defect 0 --size 32"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (f"render {_LITTLE} --out {{out}}", "pills"),
        ("prepare mvtec --root {data} --out {out}", "pills"),
        ("explore --data {data} --size 32 --out {out}", "figures"),
        ("train --data {data} --size 32 --epochs 1 --out {out}", "m.safetensors"),
        ("evaluate --data {data} --model random --size 32 --figures {out}", "figures"),
        (f"{_INSPECT} --csv {{out}}", "table.csv"),
        (f"{_INSPECT} --html {{out}}", "tray.html"),
        (f"{_INSPECT} --pictures {{out}}", "marked"),
        (f"{_INSPECT} --shards {{out}}", "shards"),
        ("merge {shards} --output {out}", "results.jsonl"),
        ("merge {shards} --csv {out}", "table.csv"),
    ],
)
def test_missing_folders_of_an_output_are_made(
    rendered: Path, tmp_path: Path, words: str, name: str
) -> None:
    """By every command, whether it writes a file or a folder."""
    out, shards = tmp_path / "two" / "missing" / name, tmp_path / "shards"
    if words.startswith("merge"):
        run("inspect", rendered / "test/crack", *SMALL, "--shards", shards)
    done = run(*words.format(data=rendered, out=out, shards=shards).split())
    assert done.exit_code == 0, done.output
    assert out.exists()


@pytest.mark.parametrize("option", ["--csv", "--html", "--pictures"])
def test_an_output_below_a_file_is_refused_before_the_inspection(
    pills: Path, tmp_path: Path, option: str
) -> None:
    """No folder can be made there."""
    (tmp_path / "file").touch()
    place = tmp_path / "file/tray.html"
    done = run("inspect", pills / "test/crack", *SMALL, option, place)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{place}: cannot be written" in done.stderr


def with_labels(pills: Path) -> None:
    """Recode the masks as 0 and 1."""
    for path in pills.glob("ground_truth/*/*.png"):
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)


def test_figures_of_masks_do_not_depend_on_how_they_are_coded(rendered: Path, pills: Path) -> None:
    """Only the values in the JSON differ between masks of 0/1 and of 0/255."""
    with_labels(pills)
    labels, levels = (
        json.loads(run("evaluate", "--data", data, *SMALL, "--json").stdout)
        for data in (pills, rendered)
    )
    assert (labels.pop("mask_values"), levels.pop("mask_values")) == ("0/1", "0/255")
    assert labels == levels
    assert (labels["masks_used"], labels["masks_missing"]) == (14, {})
    assert labels["aupro"] is not None
    assert "0/1, 14 used" in run("evaluate", "--data", pills, *SMALL).stdout


@pytest.mark.parametrize(
    ("options", "warned"),
    [((), 0), (("--size", SIZE), 0), (("--size", 48), 1)],
    ids=["its own", "the same", "another"],
)
def test_pictures_of_another_size_than_the_threshold_s_are_decided_with_a_warning(
    options: tuple[object, ...], warned: int, pills: Path, tmp_path: Path
) -> None:
    """Thresholds of one size say little about another; one of the user's own is not the model's."""
    loaded, model = load_model("random"), tmp_path / "m.safetensors"
    save_artifact(model, loaded.model, ModelCard(size=SIZE))
    photo = pills / "test/good/000.png"
    for words in (("inspect", photo), ("evaluate", "--data", pills)):
        done = run(*words, "--model", model, *options)
        assert done.exit_code == 0, done.output
        assert sum("32 px: at 48 px" in line for line in done.stderr.splitlines()) == warned
    own = run("inspect", photo, "--model", model, *options, "--threshold", 0.4)
    assert "px: at" not in own.stderr


def test_training_learns_from_the_same_masks_however_they_are_coded(
    rendered: Path, pills: Path, tmp_path: Path
) -> None:
    """The losses have the same bits; a note and the card have the values of the masks."""
    with_labels(pills)
    cards = []
    for number, data in enumerate((rendered, pills)):
        out = tmp_path / f"{number}.safetensors"
        options = ("--size", SIZE, "--epochs", 1, "--narrow", "--masks")
        done = run("train", "--data", data, "--out", out, *options)
        assert done.exit_code == 0, done.output
        cards.append(read_artifact(out)[0])
    assert "0/1, 14 used" in done.stderr
    assert cards[0].training["history"][0]["loss"] == cards[1].training["history"][0]["loss"]
    assert cards[1].data["masks"] == {"used": 14, "missing": {}, "values": "0/1"}


@pytest.mark.parametrize("command", ["train", "evaluate", "check-split"])
def test_empty_masks_of_one_defect_are_refused(command: str, pills: Path) -> None:
    """Before anything is computed from them."""
    for path in pills.glob("ground_truth/crack/*.png"):
        Image.new("L", (SIZE, SIZE)).save(path)
    done = run(*commands(pills)[command])
    assert done.exit_code == 1
    assert "crack/000_mask.png" in done.output
    assert "(1 more " in done.output
    assert "epoch 1" not in done.output


def test_masks_that_are_not_understood_are_missing_in_output_and_json(pills: Path) -> None:
    """Otherwise those of one defect could be overlooked."""
    for path in pills.glob("ground_truth/crack/*.png"):
        path.rename(path.with_name(f"{path.stem}-7.png"))
    done = run("evaluate", "--data", pills, *SMALL, "--json")
    report = json.loads(done.stdout)
    assert (report["masks_used"], report["masks_missing"]) == (12, {"crack": 2})
    assert "note: 2 masks" in done.stderr


def test_an_evaluation_of_one_kind_says_which(pills: Path) -> None:
    """The error names the kinds that were found."""
    done = run("evaluate", "--data", pills, "--split", "training", *SMALL)
    assert done.exit_code == 1
    assert "(good)" in done.output


def test_a_tray_can_be_inspected_again_with_its_pictures_in_it(pills: Path) -> None:
    """Pictures that pillqc drew are left out of folders, and refused by name."""
    tray = pills / "test/crack"
    marked = tray / "marked"
    for _ in range(2):
        done = run("inspect", tray, *SMALL, "--pictures", marked)
        assert done.exit_code == 0, done.output
        assert len(done.stdout.splitlines()) == 2
    assert "left out: 2, " in done.stderr
    renamed = next(marked.iterdir()).rename(tray / "photo.png")
    alone = run("inspect", renamed, *SMALL, "--json")
    assert alone.exit_code == 1
    assert "not a photograph" in json.loads(alone.stdout)["reason"]


def test_figures_inside_the_data_are_not_a_class(pills: Path) -> None:
    """Those of `explore` and of `evaluate`, in folders of any name."""
    data = pills.parent / "plain"
    for kind in ("good", "crack"):
        shutil.copytree(pills / "test" / kind, data / kind)
    assert run("explore", "--data", data, "--out", data / "a", "--size", SIZE).exit_code == 0
    assert run("evaluate", "--data", data, *SMALL, "--figures", data / "b").exit_code == 0
    done = run("evaluate", "--data", data, *SMALL, "--json")
    assert list(json.loads(done.stdout)["recall_by_defect"]) == ["crack"]
    assert "left out: 8, " in done.stderr
