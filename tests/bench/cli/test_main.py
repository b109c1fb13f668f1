"""The command explains itself, and every wrong input is one line with the right exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.store import records, run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from bench.run.request import RunRequest


def bench(*arguments: str) -> Result:
    """The command as a user types it."""
    return CliRunner().invoke(main.cli, list(arguments), catch_exceptions=False)


def one_line(result: Result) -> str:
    """The one line on stderr that says what was wrong."""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("command", ["run", "report", "machine", "scenarios", "selfcheck"])
def test_every_command_has_help_with_examples(command: str) -> None:
    """Examples stand one a line, as they are typed."""
    result = bench(command, "--help")
    assert result.exit_code == 0
    assert f"\n    bench {command}" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--profile", "quick"], "there is no profile 'quick': choose one of smoke"),
        (["run", "--budget", "0", "--data", "."], "budget must be above zero"),
        (["run", "--budget", "-5", "--data", "."], "budget must be above zero"),
        (["run", "--budget", "nan", "--data", "."], "budget must be above zero"),
        (["run", "--budget", "inf", "--data", "."], "budget must be above zero"),
        (["run", "--seed", "-1", "--data", "."], "seed must be 0 or more"),
        (["stages", "--budget", "inf", "--data", "."], "budget must be above zero"),
        (["load", "--seed", "-1", "--data", "."], "seed must be 0 or more"),
        (["run", "--threads", "0", "--data", "."], "threads must be 1 or more"),
        (["run", "--only", "inference/onnx/*", "--data", "."], "no scenario matches"),
        (
            ["run", "--only", "*/stock/*", "--backend", "openvino", "--data", "."],
            "--only leaves none of its scenarios; add --only '*/openvino/*'",
        ),
        (["run", "--resume", "a-run", "--profile", "smoke"], "leave --profile out"),
        (["run", "--resume", "a-run", "--env", "a=python"], "leave --env out"),
        (["run", "--env", "latest", "--data", "."], "is not NAME=PATH/TO/python"),
        (["run", "--model", "resnet18", "--input-shape", "3"], "is neither package.module:name"),
        (["run", "--model", "a:b"], "say what --model takes"),
        (["run", "--model", "a:b", "--inputs", "c:d", "--input-shape", "3"], "say what --model"),
        (["run", "--model", "a:b", "--inputs", "c"], "--inputs 'c' is neither package.module:name"),
        (["run", "--model", "a:b", "--input-shape", "3,0"], "is not numbers above zero"),
        (["run", "--model", "a:b", "--input-shape", "3", "--weights", "w"], "the inspector's"),
        (["run", "--input-shape", "3,8,8"], "give --model"),
        (["scenarios", "--profile", "quick"], "there is no profile 'quick'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    """Refused before anything is measured or written."""
    result = bench(*arguments)
    assert result.exit_code == 2
    assert words in one_line(result)


def test_an_environment_that_cannot_be_run_is_one_line_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    """It is looked at before a run folder exists."""
    here = ["--data", ".", "--results", str(tmp_path / "results")]
    result = bench("run", "--env", f"latest={tmp_path / 'python'}", *here)
    assert result.exit_code == 1
    assert "environment latest" in one_line(result)
    assert "cannot be run" in one_line(result)
    assert not (tmp_path / "results").exists()


def test_missing_data_says_how_to_make_it(tmp_path: Path) -> None:
    """The line is a command to type."""
    result = bench("run", "--data", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "run `make data`" in one_line(result)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("run",), "--reports"),
        (("operators",), "--reports"),
        (("stages", "--data", "."), "--reports"),
        (("gate", "--against", "HEAD", "--data", "."), "--output"),
    ],
)
def test_a_place_that_cannot_be_written_is_asked_before_time_is_spent(
    tmp_path: Path, arguments: tuple[str, ...], option: str
) -> None:
    """As in a checkout that is mounted for reading, with results elsewhere."""
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file/pages")
    result = bench(*arguments, option, place)
    assert result.exit_code == 1
    assert f"cannot write to {place}: choose another place with {option}" in one_line(result)


def test_no_run_to_report_is_one_line(tmp_path: Path) -> None:
    """A fresh clone has no results."""
    result = bench("report", "--results", str(tmp_path))
    assert result.exit_code == 1
    assert "there is no run in" in one_line(result)


def a_run(folder: Path) -> Path:
    """A run that ended before its first call."""
    folder.mkdir(parents=True)
    records.write_environment(folder, {"run_id": folder.name, "complete": False})
    records.RunWriter(folder).close()
    return folder


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"complete": True}, "is complete"),
        ({"complete": False}, "cut before it measured anything"),
    ],
)
def test_a_run_that_cannot_go_on_is_one_line(
    tmp_path: Path, environment: dict[str, bool], words: str
) -> None:
    """And its folder stays as it is."""
    folder = a_run(tmp_path / "run")
    records.write_environment(folder, environment)
    before = (folder / "environment.json").read_bytes()
    result = bench("run", "--resume", str(folder))
    assert result.exit_code == 1
    assert words in one_line(result)
    assert (folder / "environment.json").read_bytes() == before


def test_the_newest_run_is_reported_by_default(tmp_path: Path) -> None:
    """Names begin with the time, so the last name is the newest."""
    a_run(tmp_path / "results" / "20260101T000000Z-m-aaaaaaa")
    a_run(tmp_path / "results" / "20270101T000000Z-m-aaaaaaa")
    where = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    result = bench("report", *where)
    assert result.exit_code == 0, result.stderr
    written = sorted(p.name for p in (tmp_path / "reports").iterdir())
    assert written == ["20270101T000000Z-m-aaaaaaa.html", "index.html"]


def test_a_damaged_csv_is_one_line_that_names_file_and_line(tmp_path: Path) -> None:
    """Nothing is lost and no page is written over."""
    folder = a_run(tmp_path / "run")
    with (folder / "iterations.csv").open("a") as file:
        file.write("x,y\nz,z\n")
    result = bench("report", str(folder), "--reports", str(tmp_path / "reports"))
    assert result.exit_code == 1
    assert "iterations.csv" in one_line(result)
    assert not (tmp_path / "reports").exists()


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    """Naming the wrong folder is an everyday mistake."""
    result = bench("report", str(tmp_path))
    assert result.exit_code == 1
    assert str(tmp_path) in one_line(result)


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """For the maintainer, not for the user."""
    with pytest.raises(Exception, match="there is no run"):
        bench("--debug", "report", "--results", str(tmp_path))


def test_a_reports_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """The results are there; only the page is missing."""
    folder = a_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    result = bench("report", str(folder), "--reports", str(tmp_path / "file" / "sub"))
    assert result.exit_code == 1
    assert str(tmp_path / "file") in one_line(result)


def test_scenarios_lists_the_matrix_and_what_it_leaves_out() -> None:
    """As text and as JSON."""
    result = bench("scenarios", "--profile", "smoke", "--json")
    listed = json.loads(result.stdout)
    assert listed["scenarios"] == [s.id for s in matrix(PROFILES["smoke"])]
    claims = {claim["claim"]: claim for claim in listed["claims"]}
    assert claims["best/inference/b1"]["opponents"] == [listed["scenarios"][0]]
    assert all("/ipex/" in name for name in claims["ipex/inference/b1/fp32"]["candidates"])
    assert all(entry["reason"] for entry in listed["excluded"])
    text = bench("scenarios").stdout
    assert "training/ipex/eager/bf16/channels_last/b8/full" in text
    assert "Left out:" in text


@pytest.mark.parametrize("measured", [True, False])
def test_an_interrupted_run_says_what_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: bool
) -> None:
    """Its folder, or that nothing was measured."""
    from bench.run import measure

    def interrupted(request: RunRequest, **_: object) -> Path:
        if measured:
            (request.results / "new").mkdir()
            (request.results / "new" / "environment.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "run", interrupted)
    monkeypatch.setattr(main, "stop_like_ctrl_c", lambda: None)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "environment.json").write_text("{}")
    result = bench("run", "--results", str(tmp_path))
    assert result.exit_code == 130
    folder = tmp_path / "new"
    words = f"`bench report {folder}`" if measured else "nothing had been measured yet"
    assert words in one_line(result)


def test_machine_says_why_the_commit_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container git may refuse another owner's checkout: that is no missing one."""
    why = "git rev-parse failed: fatal: detected dubious ownership"
    monkeypatch.setattr("bench.machine.describe", dict)
    monkeypatch.setattr("bench.machine.render", lambda _: "a machine")
    monkeypatch.setattr(run_folder, "commit", lambda: run_folder.Commit(unknown=why))
    assert bench("machine").stdout.splitlines()[-1].endswith(f"not known: {why}")
    assert json.loads(bench("machine", "--json").stdout)["commit_unknown"] == why
