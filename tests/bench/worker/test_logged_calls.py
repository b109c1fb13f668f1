"""Logged calls beside unlogged ones: their order, their times, and what they executed."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from bench.worker.logged_calls import capture, log_calls
from tests.bench.worker.test_kernels import line

if TYPE_CHECKING:
    from collections.abc import Iterator


class Model:
    """Prints a line of oneDNN's log in each call while the log is on."""

    def __init__(self, *printed: str) -> None:
        self.printed = printed or (line(),)
        self.is_logged = False
        self.calls: list[bool] = []

    def __call__(self) -> None:
        logged = sum(self.calls)
        self.calls.append(self.is_logged)
        if self.is_logged:
            os.write(1, f"{self.printed[logged % len(self.printed)]}\n".encode())

    @contextmanager
    def verbose(self) -> Iterator[None]:
        """Switch the log on."""
        self.is_logged = True
        yield
        self.is_logged = False


def test_pairs_follow_a_discarded_call_and_take_turns() -> None:
    """Unlogged and logged, then logged and unlogged: drift cancels in their difference."""
    model = Model()
    kernels, calls = log_calls(model, model.verbose, 2)
    assert model.calls == [False, False, True, True, False]
    assert len(kernels) == 1
    assert [call.kernels_ms for call in calls] == [(2.5,), (2.5,)]
    assert all(call.wall_ms > 0 and call.unlogged_ms for call in calls)


def test_without_pairs_one_call_is_logged_alone() -> None:
    """As for calls that take long."""
    model = Model()
    _, (call,) = log_calls(model, model.verbose)
    assert model.calls == [True]
    assert call.unlogged_ms is None


def test_calls_that_executed_something_else_are_left_out() -> None:
    """The last one decides: the first ones may have warmed up."""
    other = line().replace("ic64", "ic32")
    model = Model(other, line(), line())
    kernels, calls = log_calls(model, model.verbose, 3)
    assert "ic64" in kernels[0].problem
    assert len(calls) == 2


@pytest.mark.parametrize("text", ["", "no line of oneDNN"])
def test_a_backend_without_a_log_is_logged_once(text: str) -> None:
    """Further calls would say no more."""
    model = Model(text)
    kernels, calls = log_calls(model, model.verbose, 5)
    assert kernels == ()
    assert len(calls) == 1
    assert sum(model.calls) == 1


def test_capture_reads_c_output(capfd: pytest.CaptureFixture[str]) -> None:
    """C code writes to the descriptor; afterwards stdout is what it was."""
    captured = capture(lambda: os.write(1, b"from C\n"), nullcontext())
    os.write(1, b"after\n")
    assert captured == "from C\n"
    assert capfd.readouterr().out == "after\n"


def test_capture_restores_stdout_when_the_call_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """A failing call must not leave the worker mute."""

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        capture(fail, nullcontext())
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
