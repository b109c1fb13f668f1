"""Commands print what they did, and exit with a code that scripts can use."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING
from unittest import mock

import click
import pytest

from pillqc.commands.main import main
from pillqc.errors import DataError
from tests.fresh_process import python
from tests.hardware import needs_ipex, needs_onednn_bf16
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("command", ["", *sorted(main.commands)])
def test_every_command_has_help_with_an_example(command: str) -> None:
    """Help shows how to call it."""
    done = run(*([command] if command else []), "--help")
    assert done.exit_code == 0
    assert f"pillqc {command}" in done.output
    assert "\n  Examples:\n    pillqc " in done.output


@pytest.mark.parametrize("command", list(main.commands.values()), ids=lambda one: one.name)
def test_every_option_has_help(command: click.Command) -> None:
    """Its name alone does not say what it is for."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_list_of_commands_cuts_no_sentence() -> None:
    """What a command is for fits its line."""
    done = run("--help")
    assert "..." not in done.output.split("Commands:")[1]


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ("--from-scratch --data pills --epochs 2", "--data, --epochs"),
        ("--data pills --device cuda --images 9", "--device, --images"),
    ],
)
def test_training_refuses_options_that_it_would_not_obey(options: str, idle: str) -> None:
    """A user who gives `--device cuda` must not wait for a training on the CPU."""
    done = run("train", *options.split())
    assert done.exit_code == 2
    assert f"{idle} mean nothing" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        "nonsense",
        "render",
        "render --out x --size 31",
        "render --out x --size 1601",
        "render --out x --seed -1",
        "render --out x --seed 99999999999999999999",
        "train --data x --seed 99999999999999999999",
        "train --from-scratch --seed 99999999999999999999",
        "render --out x --train-good -1",
        "render --out x --colour pink",
        "render --out x --colour 1,2,256",
        "render --out x --colour 1,2,nan",
        "render --out x --imprint @@",
        "evaluate --data x --nonsense",
        "inspect",
        "inspect x --threshold nan",
        "--file-seconds 3000000 inspect x",
        "explore --data x --out y --size 50000",
        "train --data x --learning-rate -1",
        "train --data x --learning-rate nan",
        "train --data x --learning-rate inf",
        "train --data x --max-minutes nan",
        "train --data x --out model.pt",
        "train --out model.safetensors",
    ],
)
def test_wrong_usage_is_2(arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown commands, options and values."""
    monkeypatch.chdir(tmp_path)
    assert run(*arguments.split()).exit_code == 2


def test_a_failure_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    """The exit code is 1, and the line names the path; --debug raises the error."""
    words = ["evaluate", "--data", str(tmp_path / "none")]
    done = python("-m", "pillqc", *words, code=1)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "/none: " in done.stderr
    assert isinstance(run("--debug", *words).exception, DataError)


@pytest.mark.parametrize(
    ("raised", "words", "code"),
    [
        (KeyboardInterrupt(), "pillqc: interrupted", 130),
        (OSError(28, "No space left", "out.csv"), "No space left (out.csv)", 1),
    ],
)
def test_an_interrupt_and_a_full_disk_are_one_line(
    raised: BaseException, words: str, code: int, tmp_path: Path
) -> None:
    """Ctrl-C exits as a shell expects; errors of the system are named."""
    with mock.patch("pillqc.rendering.dataset.render_dataset", side_effect=raised):
        result = run("render", "--out", tmp_path / "pills")
    assert result.exit_code == code
    assert result.stderr.strip().splitlines() == [result.stderr.strip()]
    assert words in result.stderr


def test_a_rendered_data_set_is_reused(pills: Path) -> None:
    """The second call renders nothing; another plan for the same folder fails."""
    same = ("--size", 32, "--train-good", 8, "--test-good", 4, "--per-defect", 2)
    again = run("render", "--out", pills, *same)
    assert again.exit_code == 0
    assert ": 26 " in again.output
    other = run("render", "--out", pills)
    assert other.exit_code == 1
    assert "other settings" in other.output


@pytest.mark.torch
def test_an_untrained_model_is_announced(pills: Path) -> None:
    """In the table, and on the error stream beside JSON."""
    words = ("evaluate", "--data", pills, "--model", "random", "--size", 32)
    assert "UNTRAINED" in run(*words).stdout
    printed = run(*words, "--json")
    assert "UNTRAINED" in printed.stderr
    report = json.loads(printed.stdout)
    assert (report["images"], report["trained"]) == (18, False)
    assert report["recall_by_defect"]["crack"]["n"] == 2


@pytest.mark.torch
def test_inspection_continues_after_a_broken_file(pills: Path, tmp_path: Path) -> None:
    """One JSON object a line; the broken file is an `error` with a reason, and the exit code 1."""
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    crack = pills / "test/crack/000.png"
    done = run("inspect", broken, crack, "--model", "random", "--size", 32, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [line["path"] for line in lines] == [str(broken), str(crack)]
    assert lines[0]["decision"] == "error"
    assert "not an image" in lines[0]["reason"]
    assert lines[1]["decision"] in ("good", "bad")
    assert 0.0 <= lines[1]["probability_bad"] <= 1.0


@pytest.mark.torch
def test_a_model_is_trained_saved_and_used(pills: Path, tmp_path: Path) -> None:
    """The model file works with evaluate, inspect and card; few bad pills are a doubt."""
    for path in pills.glob("*/*/001*.png"):
        if path.parent.name != "good":
            path.unlink()
    out = tmp_path / "m.safetensors"
    trained = run("train", "--data", pills, "--out", out, "--size", 32, "--epochs", 1)
    assert trained.exit_code == 0, trained.output
    assert "trained for" in trained.output
    assert "validation lacks good or bad" in trained.output
    card = json.loads(run("card", "--model", out).stdout)
    assert card["known"]["brightness"][0] < card["known"]["brightness"][1]
    report = run("evaluate", "--data", pills, "--model", out, "--include-seen", "--json")
    assert json.loads(report.stdout)["trained"] is True
    assert "UNTRAINED" not in report.stderr
    line = run("inspect", pills / "test/good/000.png", "--model", out, "--size", 32)
    assert line.exit_code == 0
    assert "probability of bad" in line.output


@pytest.mark.torch
def test_the_summary_shows_layers_and_parameters(tmp_path: Path) -> None:
    """A damaged model file is one line."""
    done = run("summary", "--model", "random", "--size", 32)
    assert done.output.count("Conv2d") == 13
    assert "7,080,450 of 14,715,714 parameters train" in done.output
    assert "Units." not in done.output
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"garbage")
    failed = run("summary", "--model", path)
    assert failed.exit_code == 1
    assert "m.safetensors" in failed.output


@pytest.mark.torch
@pytest.mark.ipex
@needs_ipex
@pytest.mark.parametrize("dtype", ["fp32", pytest.param("bf16", marks=needs_onednn_bf16)])
def test_the_summary_shows_ipex_layers(dtype: str) -> None:
    """In a process of its own, because importing IPEX changes PyTorch."""
    words = ["summary", "--model", "random", "--size", "32", "--optimize", "ipex", "--dtype", dtype]
    done = python("-m", "pillqc", *words)
    assert done.stdout.count("_IPEXConv2d") == 13
    assert "14 layers are IPEX's" in done.stdout


def test_pills_are_explored_and_splits_checked(pills: Path, tmp_path: Path) -> None:
    """A rendered data set has no image in two splits; a copy is found."""
    done = run("explore", "--data", pills, "--out", tmp_path / "figures", "--size", 32)
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {
        "gallery.png",
        "mean_good.png",
        "mean_bad.png",
        "difference.png",
    }
    assert run("check-split", "--data", pills).exit_code == 0
    copy = tmp_path / "copy"
    shutil.copytree(pills, copy)
    shutil.copy(copy / "train/good/000.png", copy / "test/good/999.png")
    found = run("check-split", "--data", copy)
    assert found.exit_code == 1
    assert "identical" in found.output
    assert "1 pairs" in found.output


@pytest.mark.torch
def test_inspection_writes_csv_and_pictures(pills: Path, tmp_path: Path) -> None:
    """Every file has a row and a picture; a bad pill exits with 3 if --exit-code is given."""
    marked, table = tmp_path / "marked", tmp_path / "d.csv"
    folders = (pills / "test/crack", pills / "test/color")
    options = ("--model", "random", "--size", 32, "--csv", table, "--pictures", marked)
    with mock.patch("pillqc.inspection.inspector.decide", return_value="bad"):
        done = run("inspect", *folders, *options)
        assert done.exit_code == 0, done.output
        assert run("inspect", *folders, *options, "--exit-code").exit_code == 3
    assert len(table.read_text(encoding="utf-8").splitlines()) == 5
    names = [f"{kind}-00{n}" for kind in ("color", "crack") for n in (0, 1)]
    assert sorted(p.name[:-11] for p in marked.iterdir()) == names


def test_training_refuses_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    """Before it begins, and in one line."""
    words = ("train", "--data", tmp_path, "--out", "/proc/none/m.safetensors")
    refused = run(*words, "--checkpoint", tmp_path / "c")
    assert refused.exit_code == 1
    assert "cannot be written" in refused.output
    assert not list(tmp_path.iterdir())
