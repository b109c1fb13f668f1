"""The line that says what happens now: on a terminal alone, and only as long as it is open."""

from __future__ import annotations

import io
from typing import Any

import pytest

from bench.engine.progress import Progress
from tests.closed_terminal import Terminal


def test_a_terminal_shows_what_happens_now(clock: Any) -> None:
    """At most five times a second, with the time that is left."""
    with Terminal() as window:
        progress = Progress(window.stream, clock)
        progress.show("measuring", 90)
        assert "measuring · at most 1 min 30 s left" in window.shown()
        progress.show("too soon")
        clock.spend(1)
        progress.show("warming up")
        later = window.shown()
    assert "warming up" in later
    assert "too soon" not in later


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_the_line_is_no_longer_than_the_terminal(
    clock: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Only the last of two lines is rewritten: a line that wrapped would stay each time."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with Terminal() as window:
        Progress(window.stream, clock).show("warming up " + 200 * "x", 90)
        shown = window.shown().rpartition("\x1b[2K")[2]
    assert len(shown) == min(columns - 1, 100)


def test_logs_and_pipes_hold_results_only(clock: Any) -> None:
    """Nothing is shown there, not even an empty line."""
    stream = io.StringIO()
    progress = Progress(stream, clock)
    progress.show("measuring")
    progress.clear()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("first", ["show", "clear"])
def test_a_terminal_that_is_closed_is_shown_nothing_more(clock: Any, first: str) -> None:
    """Measuring goes on, and so does what is written at its end."""
    with Terminal() as window:
        progress = Progress(window.stream, clock)
        progress.show("measuring")
        window.close()
        clock.spend(1)
        if first == "show":
            progress.show("warming up")
        progress.clear()
    clock.spend(1)
    progress.show("a stream that is closed in this process")
