"""The command refuses what does not go together, and the parent stays free of torch."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench.gate.conftest import gate

if TYPE_CHECKING:
    from tests.bench.gate.conftest import MakeRun


def test_help_has_examples_and_the_exit_codes() -> None:
    """What CI authors look for first."""
    result = gate("--help")
    assert result.exit_code == 0
    for words in ("\n    bench gate --against", "10 regression"):
        assert words in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--against", "HEAD", "--policy", "p"), "--against and --policy"),
        (("--baseline", "a"), "--baseline and --candidate"),
        (("--candidate", "a"), "--baseline and --candidate"),
        (("results/a",), "--write-policy"),
        (("--against", "HEAD", "results/a"), "--write-policy"),
        (("--policy", "p", "a", "b"), "one run"),
        (("--write-policy", "p"), "--write-policy"),
        (("--policy", "p", "--only", "x"), "--only"),
        (("--policy", "p", "--seed", "0", "--data", "."), "--data and --seed"),
        (("--write-policy", "p", "a", "--json", "j"), "--json"),
        (("--list", "--only", "x"), "--only"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    """Exit code 2 and one line, before anything is read or measured."""
    result = gate(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.fixture
def slower(make_run: MakeRun) -> list[str]:
    """The arguments of a gate that finds a regression without measuring."""
    name = "inference/ipex/eager/fp32/channels_last/b1"
    before = make_run("before", {name: (2.0, 1.98, 2.02)})
    after = make_run("after €", {name: (1.0, 0.99, 1.01)})
    return ["--baseline", str(before), "--candidate", str(after)]


@pytest.mark.parametrize("option", ["--markdown", "--junit", "--json", "GITHUB_STEP_SUMMARY"])
@pytest.mark.parametrize("place", ["before/environment.json/x", "/proc/nowhere/x", "e" * 256])
def test_what_cannot_be_written_leaves_the_verdict_its_exit_code(
    slower: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, place: str
) -> None:
    """A file for a folder, no folder at all and too long a name are a warning."""
    path = str(tmp_path / place)
    if option.startswith("--"):
        slower = [*slower, option, path]
    else:
        monkeypatch.setenv(option, path)
    result = gate(*slower)
    assert result.exit_code == 10
    assert "Slower: " in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("bench: warning: ")
    assert path in line


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_output_that_nobody_can_read_leaves_the_verdict_its_exit_code(
    slower: list[str], tmp_path: Path, encoding: str
) -> None:
    """A full disk behind the terminal's output, and a terminal without the letters of a path."""
    written = tmp_path / "€.json"
    with Path("/dev/full" if encoding == "utf-8" else os.devnull).open("w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "gate", *slower, "--json", str(written)],
            stdout=output,
            stderr=output,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        )
    assert done.returncode == 10
    assert json.loads(written.read_text())["exit_code"] == 10


def test_full_disk(slower: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary is added to a file, the others are written beside and then renamed."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/dev/full")
    monkeypatch.setattr(os, "fsync", full)
    result = gate(*slower, "--json", str(tmp_path / "gate.json"))
    assert result.exit_code == 10
    assert [line.lower().count("no space left") for line in result.stderr.splitlines()] == [1, 1]
    assert not list(tmp_path.glob("*gate.json*"))


def test_a_pipe_is_written_and_not_replaced(slower: list[str], tmp_path: Path) -> None:
    """As a shell's `>(...)`, or /dev/stdout, which root could replace by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    result = gate(*slower, "--json", str(pipe))
    assert result.exit_code == 10
    assert json.loads(os.read(reader, 1 << 16))["exit_code"] == 10
    os.close(reader)
    assert pipe.is_fifo()


def test_nothing_to_compare_is_written_like_any_other_answer(tmp_path: Path) -> None:
    """CI reads the files and the job's summary, not the last line of an error."""
    written = tmp_path / "gate.json"
    data = tmp_path / "data"
    data.mkdir()
    result = gate("--only", "no such scenario", "--data", str(data), "--json", str(written))
    assert result.exit_code == 11
    assert "No verdict: no scenario matches" in result.stdout
    assert json.loads(written.read_text())["problem"].startswith("no scenario matches")
