"""Commands print what they did, and exit with a code that scripts can use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from pillqc.commands.main import main
from pillqc.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few small pills of every kind."""
    root = tmp_path_factory.mktemp("data") / "pills"
    done = _run(
        *("render", "--out", root, "--size", 48, "--train-good", 6, "--test-good", 3),
        *("--per-defect", 1, "--jobs", 1),
    )
    assert done.exit_code == 0, done.output
    return root


@pytest.mark.parametrize("command", ["", *sorted(main.commands)])
def test_every_command_has_help_with_an_example(command: str) -> None:
    """Help shows how to call it."""
    done = _run(*([command] if command else []), "--help")
    assert done.exit_code == 0
    assert f"pillqc {command}" in done.output
    assert "\n  Examples:\n    pillqc " in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        "nonsense",
        "render",
        "render --out x --size 31",
        "render --out x --size 1601",
        "render --out x --seed -1",
        "render --out x --train-good -1",
        "render --out x --colour pink",
        "render --out x --colour 1,2,256",
        "render --out x --colour 1,2,nan",
        "render --out x --imprint @@",
        "evaluate --data x --nonsense",
        "inspect",
        "inspect x --threshold nan",
        "train --data x --learning-rate -1",
        "train --data x --learning-rate nan",
        "train --data x --learning-rate inf",
        "train --data x --max-minutes nan",
        "train --data x --out model.pt",
        "train --out model.safetensors",
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown commands, options and values."""
    monkeypatch.chdir(tmp_path)
    assert _run(*arguments.split()).exit_code == 2


def test_a_failure_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    """The exit code is 1, and the line names the path; --debug raises the error."""
    words = ["evaluate", "--data", str(tmp_path / "none")]
    done = subprocess.run(
        [sys.executable, "-m", "pillqc", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "none: no such folder" in done.stderr
    assert isinstance(_run("--debug", *words).exception, DataError)


@pytest.mark.parametrize(
    ("raised", "words", "code"),
    [
        (KeyboardInterrupt(), "pillqc: interrupted", 130),
        (OSError(28, "No space left on device", "out.csv"), "No space left on device (out.csv)", 1),
    ],
)
def test_an_interrupt_and_a_full_disk_are_one_line(
    raised: BaseException, words: str, code: int, tmp_path: Path
) -> None:
    """Ctrl-C exits as a shell expects; errors of the system are named."""
    with mock.patch("pillqc.rendering.dataset.render_dataset", side_effect=raised):
        result = _run("render", "--out", tmp_path / "pills")
    assert result.exit_code == code
    assert result.stderr.strip().splitlines() == [result.stderr.strip()]
    assert words in result.stderr


def test_a_rendered_data_set_is_reused(pills: Path) -> None:
    """The second call renders nothing; another plan for the same folder fails."""
    same = ("--size", 48, "--train-good", 6, "--test-good", 3, "--per-defect", 1)
    again = _run("render", "--out", pills, *same)
    assert again.exit_code == 0
    assert "16 synthetic pills, there already" in again.output
    other = _run("render", "--out", pills)
    assert other.exit_code == 1
    assert "other settings" in other.output


@pytest.mark.torch
def test_an_untrained_model_is_announced(pills: Path) -> None:
    """In the table, and on the error stream beside JSON."""
    words = ("evaluate", "--data", pills, "--model", "random", "--size", 32)
    assert "UNTRAINED MODEL" in _run(*words).stdout
    printed = _run(*words, "--json")
    assert "UNTRAINED" in printed.stderr
    report = json.loads(printed.stdout)
    assert (report["images"], report["trained"]) == (10, False)
    assert report["recall_by_defect"]["crack"]["n"] == 1


@pytest.mark.torch
def test_inspection_continues_after_a_broken_file(pills: Path, tmp_path: Path) -> None:
    """One JSON object a line; the broken file is an `error` with a reason, and the exit code 1."""
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    crack = pills / "test/crack/000.png"
    done = _run("inspect", broken, crack, "--model", "random", "--size", 32, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [line["path"] for line in lines] == [str(broken), str(crack)]
    assert lines[0]["decision"] == "error"
    assert "not an image" in lines[0]["reason"]
    assert lines[1]["decision"] in ("good", "bad")
    assert 0.0 <= lines[1]["probability_bad"] <= 1.0


@pytest.mark.torch
def test_a_model_is_trained_saved_and_used(pills: Path, tmp_path: Path) -> None:
    """The model file works with evaluate, inspect and card."""
    out = tmp_path / "m.safetensors"
    trained = _run("train", "--data", pills, "--out", out, "--size", 32, "--epochs", 1)
    assert trained.exit_code == 0, trained.output
    assert "trained for" in trained.output
    assert "validation lacks good or bad" in trained.output
    card = json.loads(_run("card", "--model", out).stdout)
    assert card["known"]["brightness"][0] < card["known"]["brightness"][1]
    report = _run("evaluate", "--data", pills, "--model", out, "--include-seen", "--json")
    assert json.loads(report.stdout)["trained"] is True
    assert "UNTRAINED" not in report.stderr
    line = _run("inspect", pills / "test/good/000.png", "--model", out, "--size", 32)
    assert line.exit_code == 0
    assert "probability of bad" in line.output


@pytest.mark.torch
def test_the_summary_shows_layers_and_parameters(tmp_path: Path) -> None:
    """A damaged model file is one line."""
    done = _run("summary", "--model", "random", "--size", 32)
    assert done.output.count("Conv2d") == 13
    assert "7,080,450 of 14,715,714 parameters train" in done.output
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"garbage")
    failed = _run("summary", "--model", path)
    assert failed.exit_code == 1
    assert "not a readable model file" in failed.output


def test_pills_are_explored_and_splits_checked(pills: Path, tmp_path: Path) -> None:
    """A rendered data set has no image in two splits; a copy is found."""
    done = _run("explore", "--data", pills, "--out", tmp_path / "figures", "--size", 32)
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {
        "gallery.png",
        "mean_good.png",
        "mean_bad.png",
        "difference.png",
    }
    assert _run("check-split", "--data", pills).exit_code == 0
    copy = tmp_path / "copy"
    shutil.copytree(pills, copy)
    shutil.copy(copy / "train/good/000.png", copy / "test/good/999.png")
    found = _run("check-split", "--data", copy)
    assert found.exit_code == 1
    assert "identical" in found.output
    assert "1 pairs of images cross" in found.output


@pytest.mark.torch
def test_inspection_writes_csv_and_pictures(pills: Path, tmp_path: Path) -> None:
    """Every file has a row and a picture; a bad pill exits with 3 if --exit-code is given."""
    marked, table = tmp_path / "marked", tmp_path / "d.csv"
    folders = (pills / "test/crack", pills / "test/color")
    options = ("--model", "random", "--size", 32, "--csv", table, "--pictures", marked)
    with mock.patch("pillqc.inspection.inspector.decide", return_value="bad"):
        done = _run("inspect", *folders, *options)
        assert done.exit_code == 0, done.output
        assert _run("inspect", *folders, *options, "--exit-code").exit_code == 3
    assert len(table.read_text(encoding="utf-8").splitlines()) == 3
    assert {p.name[:-11] for p in marked.iterdir()} == {"crack-000", "color-000"}


def test_training_refuses_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    """Before it begins, and in one line."""
    words = ("train", "--data", tmp_path, "--out", "/proc/none/m.safetensors")
    refused = _run(*words, "--checkpoint", tmp_path / "c")
    assert refused.exit_code == 1
    assert "cannot be written" in refused.output
    assert not list(tmp_path.iterdir())
