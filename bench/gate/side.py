"""Run each side of a comparison with its own code.

A worker of the base must import the base's `bench` and `pillqc`, although the package is installed
from this working tree and the command runs in it. Its checkout is therefore first in `sys.path`,
and in PYTHONPATH for processes that the worker starts itself.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from bench.engine.worker_process import first_path, worker_arguments
from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WHERE = (
    "import importlib.util as u; "
    "print(*(u.find_spec(name).origin for name in ('bench', 'pillqc')), sep='\\n')"
)
_TIMEOUT_S = 60


class Side(str, Enum):
    """The commit compared with, a second process of the same commit, and the working tree."""

    BASE = "base"
    CONTROL = "control"
    HEAD = "head"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Code:
    """A side's code and the interpreter that runs it."""

    checkout: Path
    python: Path

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the environment variables of this side's processes."""
        return {**base, "PYTHONPATH": str(self.checkout), "PYTHONDONTWRITEBYTECODE": "1"}

    def worker_arguments(self, options: list[str]) -> tuple[str, ...]:
        """Return the command line of a worker of this side."""
        return worker_arguments(self.python, options, checkout=self.checkout)

    def check(self, base: Mapping[str, str]) -> None:
        """Prove that this side's processes import this side's code.

        Raises:
            BenchError: they would import other code, or none.
        """
        try:
            done = subprocess.run(
                [str(self.python), "-c", first_path(self.checkout) + _WHERE],
                capture_output=True,
                text=True,
                check=False,
                env=self.environment(base),
                timeout=_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"cannot run {self.python}: {error}") from error
        origins = done.stdout.split("\n")[:2]
        root = f"{self.checkout}/"
        if done.returncode or not all(origin.startswith(root) for origin in origins):
            reason = " ".join(done.stderr.split())[-200:] or f"found {', '.join(origins)}"
            raise BenchError(
                f"a worker would not run the code in {self.checkout} ({reason}): "
                "is it a checkout of pillqc-bench?"
            )
