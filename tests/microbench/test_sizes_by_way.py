"""Smallest defects of two ways are compared pill by pill."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pillqc.evaluation.detectability import fitted_a90
from tests.microbench import sizes_by_way
from tests.microbench.sizes_by_way import REFERENCE, size_ratio, table

SIZES = [float(size) for size in np.geomspace(0.5, 12.0, 120)]


def hits(centre: float) -> list[bool]:
    """Decisions of a model that finds half of the defects of a size; the same luck every time."""
    luck = np.random.default_rng(3).logistic(0.0, 0.25, len(SIZES))
    return [bool(np.log(size / centre) + at > 0.0) for size, at in zip(SIZES, luck, strict=True)]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes_by_way, "RESAMPLES", 40)


def test_a_way_that_decides_alike_finds_the_same_size() -> None:
    """Nothing is resampled, and nothing is lost where there is no fit."""
    assert size_ratio(SIZES, hits(2.0), hits(2.0)) == (1.0, 1.0, 1.0)


def test_a_way_that_needs_larger_defects_has_a_ratio_above_one() -> None:
    """Half as large again, and the interval holds it."""
    ratio = size_ratio(SIZES, hits(3.0), hits(2.0))
    assert ratio is not None
    middle, low, high = ratio
    assert 1.0 < low < middle < high < 2.5


def test_without_an_overlap_of_hits_and_misses_there_is_no_ratio() -> None:
    """A step has no fit."""
    step = [size > 2.0 for size in SIZES]
    assert size_ratio(SIZES, step, hits(2.0)) is None


def report(centre: float) -> dict[str, Any]:
    """Return the keys of `pillqc evaluate --sizes --json` that the table shows."""
    found = hits(centre)
    curve = {"a90": fitted_a90(SIZES, found), "a90_95": None}
    crack = {"sizes": SIZES, "found": found, "curve": curve}
    return {"false_rejects": {"count": 1, "n": 120}, "defects": {"crack": crack}}


def test_the_table_counts_what_is_decided_otherwise() -> None:
    """fp32 has no ratio to itself."""
    lines = table({REFERENCE: report(2.0), "stock/bf16": report(3.0)}).splitlines()
    apart = sum(one != other for one, other in zip(hits(2.0), hits(3.0), strict=True))
    assert "times" not in lines[2]
    assert lines[3].startswith(f"| stock/bf16 | 1 of 120 | {apart} of 120 | ")
    assert " times [" in lines[3]
