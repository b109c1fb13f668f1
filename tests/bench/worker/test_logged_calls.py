"""A logged call: when the log is on, and what it gives."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from bench.worker.logged_calls import capture, log_call
from tests.bench.worker.verbose_logs import line

if TYPE_CHECKING:
    from collections.abc import Iterator


class Model:
    """Prints text in each call while the log is on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_logged = False
        self.calls: list[bool] = []

    def __call__(self) -> None:
        self.calls.append(self.is_logged)
        if self.is_logged:
            os.write(1, self.text.encode())

    @contextmanager
    def verbose(self) -> Iterator[None]:
        """Switch the log on."""
        self.is_logged = True
        yield
        self.is_logged = False


def test_one_call_is_logged() -> None:
    """With its whole time and that of each primitive."""
    model = Model(f"{line()}\n{line()}\n")
    kernels, call = log_call(model, model.verbose)
    assert model.calls == [True]
    assert not model.is_logged
    assert len(kernels) == 2
    assert call.kernels_ms == (2.5, 2.5)
    assert call.wall_ms > 0


@pytest.mark.parametrize("text", ["", "no line of oneDNN\n"])
def test_a_backend_without_a_log_gives_the_whole_time_alone(text: str) -> None:
    """Its call executed no primitive that is known."""
    kernels, call = log_call(model := Model(text), model.verbose)
    assert (kernels, call.kernels_ms) == ((), ())
    assert call.wall_ms > 0


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
