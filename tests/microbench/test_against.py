"""The rules by which sequential figures are read, and that the plain version is METHOD's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="module")
def against() -> ModuleType:
    """The script, which is no test module."""
    path = Path(__file__).with_name("against.py")
    spec = importlib.util.spec_from_file_location("against", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        ([1.0, 1.0], "same"),
        ([1.0, 1.049], "same"),
        ([1.0, 1.051], "slower"),
        ([1.049, 1.0], "same"),
        ([1.051, 1.0], "faster"),
    ],
)
def test_sequential_figures_are_read_alike_in_both_directions(
    against: ModuleType, times: list[float], verdict: str
) -> None:
    """5 % slower and 5 % faster are the same distance."""
    assert against.differs(times) == verdict


def test_the_plain_version_has_blocks_of_four_after_one(against: ModuleType) -> None:
    """Whatever a call takes."""
    block = against.plain_policy().block
    assert (block.min_calls, block.max_calls, block.settle_calls) == (4, 4, 1)
    assert block.settle_below_ms > 1e9
