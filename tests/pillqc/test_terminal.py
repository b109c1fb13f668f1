"""What is said beside the work costs neither the work nor its exit code."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from pillqc import terminal
from pillqc.commands.common import Progress
from tests.closed_terminal import Terminal

SPEAKER = """
import sys
from pillqc.commands.common import Progress
from pillqc.terminal import say
with Progress("inspecting") as progress:
    progress(1, 1)
    sys.stdin.readline()  # until the terminal is closed
    progress(1, 1)
    say("at the end")
raise SystemExit(7)
"""


def test_an_open_stream_takes_a_text_at_once() -> None:
    """Nothing waits in a buffer for the end of the line."""
    with Terminal() as window:
        assert terminal.is_terminal(window.stream)
        assert terminal.write(window.stream, "3 of 7")
        assert window.shown() == "3 of 7"


def test_a_closed_terminal_takes_nothing_and_is_no_error() -> None:
    """What it still holds does not fail later, when it is flushed or closed."""
    with Terminal() as window:
        window.close()
        assert not terminal.write(window.stream, "3 of 7\n")


@pytest.mark.parametrize("closed", [None, io.StringIO()])
def test_a_stream_that_this_process_does_not_have_takes_nothing(closed: io.StringIO | None) -> None:
    """`pillqc inspect 2>&-`, or one that was closed since."""
    if closed is not None:
        closed.close()
    assert not terminal.write(closed, "3 of 7")
    assert not terminal.is_terminal(None)


def test_a_full_disk_takes_nothing_and_is_no_error() -> None:
    """The stream is a file, as in `2> log`."""
    with Path("/dev/full").open("w") as full:
        assert not terminal.write(full, "3 of 7\n")


def test_letters_that_a_stream_does_not_have_are_numbers() -> None:
    """Paths have letters that the locale may not have."""
    taken = io.BytesIO()
    with io.TextIOWrapper(taken, "latin-1") as stream:
        assert terminal.write(stream, "€ é")
        assert taken.getvalue() == rb"\u20ac \xe9"


def test_a_line_is_said_on_the_error_stream(capsys: pytest.CaptureFixture[str]) -> None:
    """Results have standard output to themselves."""
    terminal.say("said")
    assert capsys.readouterr() == ("", "said\n")


def test_a_terminal_that_is_closed_leaves_a_process_its_work_and_exit_code() -> None:
    """Neither its progress nor its last words fail, nor the interpreter when it ends."""
    with Terminal() as window:
        process = subprocess.Popen(
            [sys.executable, "-c", SPEAKER], stdin=subprocess.PIPE, stderr=window.stream
        )
        assert "1 of 1" in window.shown()
    process.communicate(b"closed\n", timeout=60)
    assert process.returncode == 7


def test_without_an_error_stream_no_progress_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has none where the caller closed it."""
    monkeypatch.setattr(sys, "stderr", None)
    with Progress("inspecting") as progress:
        progress(1, 1)
