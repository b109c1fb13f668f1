"""The command explains itself, and every wrong input is one line with the right exit code."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import click
import pytest

from bench.cli import main
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.thresholds import DEFAULT
from bench.store import records, run_folder
from tests.bench.command import bench

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from bench.run.request import RunRequest


def one_line(result: Result) -> str:
    """The one line on stderr that says what was wrong."""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("command", main.cli.commands)
def test_every_command_has_help_with_examples(command: str) -> None:
    """Examples are one a line, as they are typed."""
    result = bench(command, "--help")
    assert result.exit_code == 0
    assert f"\n    bench {command}" in result.output


@pytest.mark.parametrize("command", list(main.cli.commands.values()), ids=lambda one: one.name)
def test_every_option_has_help(command: click.Command) -> None:
    """Its name alone does not say what it is for."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_list_of_commands_cuts_no_sentence() -> None:
    """What a command is for fits its line."""
    done = bench("--help")
    assert "..." not in done.output.split("Commands:")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run --only inference/onnx/*", "no scenario matches"),
        ("run --only */stock/* --backend openvino", "add --only '*/openvino/*'"),
        ("run --resume a-run --profile smoke --backend openvino", "--profile, --backend"),
        ("run --env latest", "is not NAME=PATH/TO/python"),
        ("run --model resnet18 --input-shape 3", "is neither package.module:name"),
        ("run --model a:b", "say what --model takes"),
        ("run --model a:b --inputs c:d --input-shape 3", "say what --model"),
        ("run --model a:b --inputs c", "--inputs 'c' is neither package.module:name"),
        ("run --model a:b --input-shape 3,0", "is not numbers above zero"),
        ("run --model a:b --input-shape 3 --weights w --good ok", "--weights, --good: only"),
        ("run --model a:b --input-shape 3 --data .", "--data: only the inspector"),
        ("run --input-shape 3,8,8", "give --model"),
        ("run --decide a:b", "give --model"),
        ("run --model a:b --input-shape 3 --train-step x", "--train-step 'x' is neither"),
        ("report --index a-run", "leave the rest out"),
        ("report --index --explain a b", "leave the rest out"),
        ("report --format json --explain a b", "the HTML page of one run"),
        ("report --explain a a", "names a twice"),
        ("export --format pytest-benchmark --measure time", "leave it out"),
        ("accuracy --target 0.5", "0.5"),
        ("suite --resume a --budget 300", "leave --budget out"),
        ("suite --again a --only vgg16", "leave --only out"),
        ("tutorial --resume a --part model --data .", "leave --data out"),
        ("tutorial --again a --part model", "leave --part out"),
        ("operators --again a --profile full --case x", "leave --profile, --case out"),
    ],
)
def test_options_that_do_not_fit_are_one_line_and_exit_code_2(arguments: str, words: str) -> None:
    """Refused before anything is measured or written."""
    words_of_it = arguments.split()
    has_pills = not {"--resume", "--again", "--model", "report", "export"} & set(words_of_it)
    result = bench(*words_of_it, *(["--data", "."] if has_pills else []))
    assert result.exit_code == 2
    assert words in one_line(result)


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        ("run", "--profile", ["quick"]),
        ("scenarios", "--profile", ["quick"]),
        ("run", "--budget", ["0", "-5", "nan", "inf", "x"]),
        ("stages", "--budget", ["inf"]),
        ("selfcheck", "--budget", ["0", "inf"]),
        ("run", "--seed", ["-1", "0.5", "99999999999999999999"]),
        ("load", "--seed", ["-1"]),
        ("gate", "--seed", ["-1"]),
        ("run", "--threads", ["0"]),
        ("gate", "--threads", ["0"]),
        ("selfcheck", "--threads", ["0"]),
        ("run", "--backend", ["tvm"]),
        ("instances", "--batch", ["0"]),
        ("load", "--rate", ["0", "nan"]),
        ("load", "--bound-ms", ["-1"]),
        ("recommend", "--memory", ["0"]),
    ],
)
def test_a_value_out_of_range_is_wrong_usage(command: str, option: str, values: list[str]) -> None:
    """The message names the option and the value."""
    for value in values:
        result = bench(command, option, value)
        assert result.exit_code == 2
        assert f"Invalid value for '{option}': " in result.stderr
        assert value in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run --data {0}/none", "`make data`"),
        ("run --env latest={0}/python --data . --results {0}/results", "environment latest"),
        ("run --reports {0}/file/pages", "{0}/file/pages: choose another place with --reports"),
        ("operators --reports {0}/file/pages", "--reports"),
        ("stages --data . --reports {0}/file/pages", "--reports"),
        ("gate --against HEAD --data . --output {0}/file/pages", "--output"),
        ("report --results {0}/empty", "{0}/empty"),
        ("report {0}", "{0}"),
        ("report {0}/run --reports {0}/file/sub", "{0}/file"),
        ("report {0}/damaged --reports {0}/reports", "iterations.csv"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_line_and_leaves_nothing(
    tmp_path: Path, arguments: str, words: str
) -> None:
    """Before time is spent and before a run folder exists; a fresh clone has no results."""
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    a_run(tmp_path / "run")
    with (a_run(tmp_path / "damaged") / "iterations.csv").open("a") as file:
        file.write("x,y\nz,z\n")
    before = sorted(tmp_path.rglob("*"))
    result = bench(*arguments.format(tmp_path).split())
    assert result.exit_code == 1
    assert words.format(tmp_path) in one_line(result)
    assert sorted(tmp_path.rglob("*")) == before


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
        ({"complete": False}, "before it measured"),
    ],
)
def test_no_resume_is_one_line(tmp_path: Path, environment: dict[str, bool], words: str) -> None:
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


def test_a_renamed_run_is_not_the_newest(tmp_path: Path) -> None:
    """Its folder's name no longer says when it started; a damaged one is no newest run either."""
    for name, started in (("20270101T000000Z-m-aaaaaaa", "2027"), ("baseline", "2026")):
        folder = a_run(tmp_path / "results" / name)
        records.write_environment(folder, {"run_id": name, "started_utc": started})
    (a_run(tmp_path / "results" / "damaged") / "environment.json").write_text("{")
    done = bench("report", "--results", tmp_path / "results", "--reports", tmp_path / "reports")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "reports" / "20270101T000000Z-m-aaaaaaa.html").is_file()


def test_a_run_from_elsewhere_empties_no_index(tmp_path: Path) -> None:
    """Where `--results` has no run, the index lists the folder of the run that was named."""
    folder = a_run(tmp_path / "elsewhere" / "a")
    where = ["--results", tmp_path / "results", "--reports", tmp_path / "reports"]
    assert bench("report", folder, *where).exit_code == 0
    assert "1 run, the newest first" in (tmp_path / "reports" / "index.html").read_text()
    a_run(tmp_path / "results" / "b")
    a_run(tmp_path / "results" / "c")
    assert bench("report", folder, *where).exit_code == 0
    assert "2 runs, the newest first" in (tmp_path / "reports" / "index.html").read_text()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """For the maintainer, not for the user."""
    with pytest.raises(Exception, match="there is no run"):
        bench("--debug", "report", "--results", str(tmp_path))


def test_scenarios_lists_the_matrix_and_what_it_leaves_out() -> None:
    """As text and as JSON."""
    result = bench("scenarios", "--profile", "smoke", "--json")
    listed = json.loads(result.stdout)
    assert listed["scenarios"] == [s.id for s in matrix(PROFILES["smoke"])]
    claims = {claim["claim"]: claim for claim in listed["claims"]}
    assert claims["best/inference/b1"]["opponents"] == [listed["scenarios"][0]]
    assert all("/ipex/" in name for name in claims["ipex/inference/b1/fp32"]["candidates"])
    assert claims["supported/inference/b1"]["opponents"]
    resting = {one["what"]: one for one in listed["concerns"]}
    assert resting["TorchScript"]["severity"] == "deprecated"
    assert all("/torchscript" in name for name in resting["TorchScript"]["scenarios"])
    assert all(entry["reason"] for entry in listed["excluded"])
    text = bench("scenarios").stdout
    assert "training/ipex/eager/bf16/channels_last/b8/full" in text
    assert "Left out:" in text
    assert f"more than {DEFAULT.max_call_s:g} s a call" in text
    assert "archived: " in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_like_ctrl_c_unless_it_is_ignored(number: signal.Signals) -> None:
    """A cancelled job keeps whole rows; `nohup bench run` outlives its terminal."""
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(number, signal.SIG_IGN)
        main.stop_like_ctrl_c()
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, signal.SIG_DFL)
        main.stop_like_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def test_a_terminal_closes_once() -> None:
    """Shell and kernel both tell of it; the second signal would cut what the first one ended."""
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        main.stop_like_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


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
