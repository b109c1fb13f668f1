"""Runs that were never measured, as the report's tests make them up."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from bench.store.records import Run

_NAME = "made_up_runs"


def _load() -> ModuleType:
    if _NAME not in sys.modules:
        path = Path(__file__).parents[1] / "report" / "conftest.py"
        spec = importlib.util.spec_from_file_location(_NAME, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[_NAME]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Makes a run of the given `Plan` choices."""
    made_up = _load()

    def make(**choices: Any) -> Run:
        return made_up.build_run(made_up.Plan(**choices))  # type: ignore[no-any-return] # by path

    return make


@pytest.fixture(scope="session")
def save() -> Callable[[Run, Path], Path]:
    """Writes a run that was made up to a folder."""
    return _load().save_run  # type: ignore[no-any-return] # by path
