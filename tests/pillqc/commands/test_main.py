"""The command answers in one line, with an exit code that scripts can use."""

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
    """Help shows how it is called."""
    done = _run(*([command] if command else []), "--help")
    assert done.exit_code == 0
    assert f"pillqc {command}" in done.output
    assert "\n  Examples:\n    pillqc " in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["render"],
        ["render", "--out", "x", "--size", "7"],
        ["render", "--out", "x", "--colour", "pink"],
        ["render", "--out", "x", "--imprint", "@@"],
        ["evaluate", "--data", "x", "--nonsense"],
        ["inspect"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    """Unknown commands, options and values."""
    assert _run(*arguments).exit_code == 2


def test_a_failure_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    """Exit code 1, and the sentence names the path; --debug shows where it was raised."""
    done = subprocess.run(
        [sys.executable, "-m", "pillqc", "evaluate", "--data", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "none: no such folder" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """For whoever must find out more."""
    done = _run("--debug", "evaluate", "--data", tmp_path / "none")
    assert done.exception is not None
    assert type(done.exception).__name__ == "DataError"


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
    """Ctrl-C ends as a shell expects it; whatever the system refuses is named."""
    with mock.patch("pillqc.rendering.dataset.render_dataset", side_effect=raised):
        result = CliRunner().invoke(main, ["render", "--out", str(tmp_path / "pills")])
    assert result.exit_code == code
    assert result.stderr.strip().splitlines() == [result.stderr.strip()]
    assert words in result.stderr


def test_rendering_says_what_it_made_and_reuses_it(pills: Path) -> None:
    """The second call renders nothing; what is there of another plan is refused with 1."""
    same = ("--size", 48, "--train-good", 6, "--test-good", 3, "--per-defect", 1)
    again = _run("render", "--out", pills, *same)
    assert again.exit_code == 0
    assert "16 synthetic pills, there already" in again.output
    other = _run("render", "--out", pills)
    assert other.exit_code == 1
    assert "other settings" in other.output


@pytest.mark.torch
def test_an_untrained_model_says_so_loudly(pills: Path) -> None:
    """In the table, and on the error stream beside JSON."""
    table = _run("evaluate", "--data", pills, "--model", "random", "--size", 32)
    assert "UNTRAINED MODEL" in table.stdout
    printed = _run("evaluate", "--data", pills, "--model", "random", "--size", 32, "--json")
    assert "UNTRAINED" in printed.stderr
    report = json.loads(printed.stdout)
    assert report["images"] == 10
    assert report["trained"] is False
    assert report["recall_by_defect"]["crack"]["n"] == 1


@pytest.mark.torch
def test_inspection_goes_on_after_a_broken_file(pills: Path, tmp_path: Path) -> None:
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
    """Train, evaluate and inspect with the file, from one folder of pills."""
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
def test_the_summary_shows_layers_and_parameters() -> None:
    """As the tutorial prints them."""
    done = _run("summary", "--model", "random", "--size", 32)
    assert done.output.count("Conv2d") == 13
    assert "7,080,450 of 14,715,714 parameters train" in done.output


@pytest.mark.torch
def test_a_damaged_model_file_is_one_line(tmp_path: Path) -> None:
    """Exit code 1 and what is wrong with the file."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"garbage")
    done = _run("summary", "--model", path)
    assert done.exit_code == 1
    assert "not a readable model file" in done.output


def test_pills_are_explored_and_splits_checked(pills: Path, tmp_path: Path) -> None:
    """Pictures are written; a rendered data set has no image in two splits; a copied one has."""
    done = _run("explore", "--data", pills, "--out", tmp_path / "figures", "--size", 32)
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"gallery.png", "difference.png"}
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
    """A line and a picture for every file, beside what is printed."""
    marked, lines = tmp_path / "marked", tmp_path / "d.csv"
    done = _run(
        *("inspect", pills / "test/crack", pills / "test/color", "--model", "random"),
        *("--size", 32, "--csv", lines, "--pictures", marked),
    )
    assert done.exit_code == 0, done.output
    assert len(lines.read_text(encoding="utf-8").splitlines()) == 3
    assert {p.name[:-11] for p in marked.iterdir()} == {"crack-000", "color-000"}


@pytest.mark.torch
def test_the_exit_code_tells_bad_pills_when_asked(pills: Path) -> None:
    """3 for a bad pill with --exit-code, 0 without."""
    with mock.patch("pillqc.inspection.inspector.decide", return_value="bad"):
        arguments = ("inspect", pills / "test/crack", "--model", "random", "--size", 32)
        assert _run(*arguments).exit_code == 0
        assert _run(*arguments, "--exit-code").exit_code == 3


@pytest.mark.parametrize(
    "wrong",
    [["--learning-rate", "-1"], ["--learning-rate", "nan"], ["--out", "/proc/none/m.safetensors"]],
)
def test_training_refuses_before_it_begins(wrong: list[str], tmp_path: Path) -> None:
    """No traceback, and not only after hours."""
    out = ["--out", str(tmp_path / "m.safetensors"), "--checkpoint", str(tmp_path / "c")]
    refused = CliRunner().invoke(main, ["train", "--data", str(tmp_path), *out, *wrong])
    assert isinstance(refused.exception, SystemExit)
    assert ("is not above 0" if "rate" in wrong[0] else "cannot be written") in refused.output
    assert not list(tmp_path.iterdir())
