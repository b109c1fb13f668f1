"""Runs over scripted workers."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.run import runs

if TYPE_CHECKING:
    from pathlib import Path

    from bench.run.runner import Runner


@pytest.fixture
def build(tmp_path: Path, backend: Any, quiet_machine: None) -> runs.Build:
    """Makes runners, each in a folder of its own; keywords replace its parts."""
    numbers = count()

    def make(*scenarios: Any, folder: Path | None = None, **changes: Any) -> Runner:
        place = folder or tmp_path / f"run{next(numbers)}"
        return runs.new_runner(place, backend, scenarios or runs.FEW, **changes)

    return make


@pytest.fixture
def run(build: runs.Build) -> runs.Build:
    """Measures a whole run and returns its runner."""

    def measure(*scenarios: Any, **changes: Any) -> Runner:
        runner = build(*scenarios, **changes)
        runner.measure()
        return runner

    return measure
