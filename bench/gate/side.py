"""The two sides of a comparison, and how each side's workers are made to run its own code.

A worker of the base must import the base's `bench` and `pillqc`, although the package is installed
from this working tree and the command is typed there: its checkout is put first, and PYTHONPATH
says the same to processes that the worker starts itself.
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
    """Who runs: the commit compared with, the same commit once more, the working tree."""

    BASE = "base"
    CONTROL = "control"
    HEAD = "head"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Code:
    """Where a side's code lies and which interpreter runs it."""

    checkout: Path
    python: Path

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The variables of this side's processes."""
        return {**base, "PYTHONPATH": str(self.checkout), "PYTHONDONTWRITEBYTECODE": "1"}

    def worker_arguments(self, options: list[str]) -> tuple[str, ...]:
        """The command line of a worker of this side."""
        return worker_arguments(self.python, options, checkout=self.checkout)

    def check(self, base: Mapping[str, str]) -> None:
        """Prove that this side's processes find this side's code.

        Raises:
            BenchError: they would run another, or nothing.
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
            said = " ".join(done.stderr.split())[-200:] or f"found {', '.join(origins)}"
            raise BenchError(
                f"the code in {self.checkout} would not be what runs there ({said}): "
                "is it a checkout of pillqc-bench?"
            )
