"""Noise is not read as signal, and a real difference is found where it is."""

from __future__ import annotations

import numpy as np
import pytest

from pillqc.data.exploration import mean_difference
from pillqc.errors import PillqcError


def test_a_real_difference_is_believed_where_it_is() -> None:
    """A patch that is brighter on bad pills, and only that, exceeds what shuffling gives."""
    rng = np.random.default_rng(0)
    images = rng.normal(100.0, 5.0, (60, 12, 12))
    bad = np.arange(60) < 30
    images[:30, 2:5, 6:9] += 15.0
    found = mean_difference(images, bad)
    expected = np.zeros((12, 12), np.bool_)
    expected[2:5, 6:9] = True
    assert np.array_equal(found.believed, expected)
    assert found.levels[3, 7] == pytest.approx(15.0, abs=4.0)


def test_pure_noise_is_rarely_believed() -> None:
    """At 95 % over all pixels together, one noise data set in twenty may show anything."""
    shown = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noise = rng.normal(100.0, 5.0, (40, 8, 8))
        shown += bool(mean_difference(noise, np.arange(40) < 15).believed.any())
    assert shown <= 4


def test_one_kind_has_no_difference() -> None:
    """Good pills alone cannot be compared."""
    with pytest.raises(PillqcError, match="one kind only"):
        mean_difference(np.zeros((3, 4, 4)), np.zeros(3, np.bool_))
