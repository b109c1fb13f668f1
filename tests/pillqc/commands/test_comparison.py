"""`pillqc compare`, and the commands that use its models or refuse them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from pillqc.commands import comparison
from pillqc.training import comparing, judge_fit
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def compared(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of all pills that are rendered: 12 good ones and others, unsorted."""
    out = tmp_path_factory.mktemp("compared") / "tray.safetensors"
    words = ("--invented", 0, "--weights", "random", "--size", 32, "--out", out)
    done = run("compare", rendered, "--mixed", *words)
    assert done.exit_code == 0, done.output
    assert "compares with 26 unsorted pictures" in done.output
    return out


def test_evaluate_inspect_and_card_use_the_model(compared: Path, rendered: Path) -> None:
    """Unsorted pictures are not left out: nobody said which of them are bad."""
    judged = run("evaluate", "--data", rendered, "--model", compared, "--json")
    assert judged.exit_code == 0, judged.output
    found = json.loads(judged.stdout)
    assert (found["images"], found["left_out_as_seen"]) == (18, 0)
    inspected = run("inspect", rendered / "test", "--model", compared, "--json")
    assert len(inspected.stdout.splitlines()) == 18
    card = json.loads(run("card", "--model", compared).stdout)
    assert card["compares"] == {"pictures": 26, "mixed": True, "features": "random"}


def test_good_pictures_do_not_judge_the_model(rendered: Path, tmp_path: Path) -> None:
    """They are those that it compares with."""
    out = tmp_path / "good.safetensors"
    folders = (rendered / "train/good", rendered / "test/good")
    words = ("--weights", "random", "--size", 32, "--invented", 0, "--out", out)
    done = run("compare", *folders, *words)
    assert done.exit_code == 0, done.output
    assert "beside the others" in done.stdout
    judged = run("evaluate", "--data", rendered, "--model", out)
    assert judged.exit_code == 1
    assert "12" in judged.output


def test_invented_defects_teach_the_model(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of good pictures alone, which do not judge it; that is what happens unless told otherwise."""
    monkeypatch.setattr(judge_fit, "SHOWN", 60)
    monkeypatch.setattr(comparison, "_INVENTED", 25)
    good, out = rendered / "train/good", tmp_path / "good.safetensors"
    monkeypatch.setattr(comparing, "FEWEST", 8)
    done = run("compare", good, "--weights", "random", "--size", 32, "--out", out)
    assert done.exit_code == 0, done.output
    assert "of 25 invented defects" in done.stdout
    card = json.loads(run("card", "--model", out).stdout)
    assert card["compares"]["bad"] == 0
    assert card["compares"]["invented"] == 25
    judged = run("evaluate", "--data", rendered, "--model", out, "--json")
    assert json.loads(judged.stdout)["images"] == 18


def test_unsorted_pictures_teach_the_model(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are, unless told otherwise; they may judge it, since nobody said which are bad."""
    monkeypatch.setattr(judge_fit, "SHOWN", 60)
    monkeypatch.setattr(comparison, "_INVENTED", 8)
    out = tmp_path / "tray.safetensors"
    done = run("compare", rendered, "--mixed", "--weights", "random", "--size", 32, "--out", out)
    assert done.exit_code == 0, done.output
    assert "compares with 13 unsorted pictures" in done.stdout
    assert "of 8 invented defects bad" in done.stdout
    assert "of 26 pictures" in done.stdout
    card = json.loads(run("card", "--model", out).stdout)
    assert (card["compares"]["mixed"], card["compares"]["invented"]) == (True, 8)
    judged = run("evaluate", "--data", rendered, "--model", out, "--json")
    assert judged.exit_code == 0, judged.output
    assert json.loads(judged.stdout)["images"] == 18


def test_bad_pictures_teach_the_model(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With masks, and a trained model beside it; none of the pictures judges it."""
    monkeypatch.setattr(judge_fit, "SHOWN", 60)
    beside, out = tmp_path / "trained.safetensors", tmp_path / "both.safetensors"
    options = ("--size", 32, "--epochs", 1, "--batch-size", 10, "--out", beside)
    done = run("train", "--data", rendered, "--weights", "random", *options)
    assert done.exit_code == 0, done.output
    good = (rendered / "train/good", rendered / "test/good")
    line = shutil.copytree(rendered, tmp_path / "line")
    for split in ("train", "test"):
        (line / split / "good").rename(line / split / "ok")
    words = (
        "--bad",
        line,
        "--good",
        "ok",
        "--invented",
        8,
        "--weights",
        "random",
        "--size",
        32,
        "--out",
        out,
    )
    done = run("compare", *good, "--with", beside, *words)
    assert done.exit_code == 0, done.output
    assert "of 14 bad pictures" in done.stdout
    assert "of 8 invented defects" in done.stdout
    card = json.loads(run("card", "--model", out).stdout)
    assert card["compares"] == {
        "pictures": 12,
        "mixed": False,
        "features": "random",
        "bad": 14,
        "invented": 8,
        "beside": "trained.safetensors",
    }
    inspected = run("inspect", rendered / "test", "--model", out, "--json")
    assert len(inspected.stdout.splitlines()) == 18
    judged = run("evaluate", "--data", rendered, "--model", out)
    assert judged.exit_code == 1


@pytest.mark.parametrize(
    "words",
    [
        ("calibrate", "--data", "DATA", "--model", "MODEL", "--out", "x.safetensors"),
        ("export", "--data", "DATA", "--model", "MODEL", "--format", "onnx", "--out", "x.onnx"),
        ("train", "--data", "DATA", "--weights", "MODEL", "--out", "x.safetensors"),
        ("summary", "--model", "MODEL"),
        ("evaluate", "--sizes", "--model", "MODEL"),
        ("inspect", "DATA", "--model", "MODEL", "--backend", "ipex"),
    ],
    ids=lambda words: words[0],
)
def test_what_needs_a_vgg_16_says_so(
    words: tuple[str, ...], compared: Path, rendered: Path, tmp_path: Path
) -> None:
    """One line, and nothing is written."""
    names = {"DATA": rendered, "MODEL": compared}
    places = [tmp_path / word if word.startswith("x.") else names.get(word, word) for word in words]
    done = run(*places)
    assert done.exit_code == 1, done.output
    assert "pillqc compare" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [("ok", "nok"), ("2026-11-01", "2026-11-02"), (".", "nok")])
def test_pictures_of_several_folders_are_not_taken_for_good_ones(
    names: tuple[str, str], rendered: Path, tmp_path: Path
) -> None:
    """Whatever they are called, unless each was named; else bad pills would be learnt as good."""
    line, out = tmp_path / "line", tmp_path / "x.safetensors"
    for name, kind in zip(names, ("good", "crack"), strict=True):
        shutil.copytree(rendered / "test" / kind, line / name, dirs_exist_ok=True)
    done = run("compare", line, "--weights", "random", "--size", 32, "--out", out)
    assert done.exit_code == 2
    assert all(name in done.stderr.splitlines()[-1] for name in names)
    assert not out.exists()


def test_the_folders_that_are_taken_for_good_ones_are_named(rendered: Path, tmp_path: Path) -> None:
    """With their numbers of pictures, so that a wrong one is noticed."""
    folders = (rendered / "train/good", rendered / "test/good")
    words = (
        "--weights",
        "random",
        "--size",
        32,
        "--invented",
        0,
        "--out",
        tmp_path / "x.safetensors",
    )
    done = run("compare", *folders, *words)
    assert done.exit_code == 0, done.output
    for folder, count in zip(folders, (8, 4), strict=True):
        assert f"{folder}: {count} " in done.stderr


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"--out": "x.pt"}, ".safetensors"),
        ({"PATH": "test"}, "give "),
        ({"PATH": "nothing"}, "0 different pictures"),
        ({"--weights": "nothing.safetensors"}, "no such model file"),
        ({"--bad": "train"}, "no bad pictures"),
        ({"--bad": ".", "MIXED": "--mixed"}, "leave out one"),
        ({"--with": "random.safetensors"}, "needs --bad"),
        ({"--with": "nothing.safetensors", "--bad": "."}, "no such model file"),
        ({"--pictures": "19", "MIXED": "--mixed"}, "--pictures 20"),
        ({"--good": "ok"}, "--good needs --bad"),
        ({"--weights": "OUT"}, "would be lost"),
    ],
    ids=[
        "suffix",
        "mixture",
        "missing",
        "weights",
        "no bad",
        "both",
        "with alone",
        "with nothing",
        "few mixed",
        "good alone",
        "replaces",
    ],
)
def test_wrong_use_is_one_line(
    change: dict[str, str], wanted: str, rendered: Path, tmp_path: Path
) -> None:
    """It says what to do, and no file appears."""
    path = rendered / change.get("PATH", "train/good")
    out = tmp_path / change.get("--out", "x.safetensors")
    weights = change.get("--weights", "random").replace("OUT", str(out))
    further: list[object] = [change["MIXED"]] if "MIXED" in change else []
    for name in ("--bad", "--with"):
        further += [name, rendered / change[name]] if name in change else []
    for name in ("--pictures", "--good"):
        further += [name, change[name]] if name in change else []
    done = run("compare", path, "--weights", weights, "--size", 32, "--out", out, *further)
    assert done.exit_code in {1, 2}
    assert wanted in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())
