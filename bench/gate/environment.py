"""Build an environment for a commit that requires other packages than the working tree.

The commit's own Makefile builds it inside the checkout, so that it is what its users would have; it
is removed with the checkout.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from pathlib import Path

_TARGET = ".venv/.installed"
_LISTS = re.compile(r"^(?:dependencies|ipex) = \[.*?^\]", re.MULTILINE | re.DOTALL)
_FILES = ("pyproject.toml", "constraints.txt")
_BUILD_TIMEOUT_S = 1800
_LAST_OUTPUT_S = 10
_LONGEST_REASON = 300
_OF_AN_OUTER_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VENV", "PYTHONPATH")


def same(one: Path, other: Path) -> bool:
    """Return whether the files of two checkouts require the same packages."""
    return all(_required(one / name) == _required(other / name) for name in _FILES)


def _required(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(_LISTS.findall(text)) if path.suffix == ".toml" else text


def build(checkout: Path) -> Path:
    """Build a checkout's environment and return its interpreter. Takes minutes.

    Raises:
        BenchError: it cannot be built; with the end of the build's output.
    """
    try:
        succeeded, printed = _make(checkout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _cannot(str(error)) from error
    python = checkout / ".venv" / "bin" / "python"
    if not (succeeded and python.exists()):
        raise _cannot(" ".join(printed.split())[-_LONGEST_REASON:])
    return python


def _make(checkout: Path) -> tuple[bool, str]:
    """Make the environment; return whether make succeeded, and what it printed.

    However it ends, nothing of it runs on: pip would write into a checkout that is removed.
    """
    with subprocess.Popen(
        ["make", "-C", str(checkout), _TARGET, f"PYTHON={sys.executable}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={key: value for key, value in os.environ.items() if key not in _OF_AN_OUTER_MAKE},
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=_BUILD_TIMEOUT_S)
        finally:
            _end(process)
    return process.returncode == 0, printed


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a build, and wait until its output has no writer any more."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_LAST_OUTPUT_S)


def _cannot(reason: str) -> BenchError:
    return BenchError(
        "the two commits require different packages, and the other commit's environment cannot be "
        f"built ({reason}): build one yourself and name its interpreter with --base-python"
    )
