"""The scale of a map starts outside of defects and has its middle at their edge."""

from __future__ import annotations

import numpy as np
import pytest

from pillqc.evaluation.heat_scale import HeatSamples


def test_the_middle_separates_defects_from_the_rest() -> None:
    """Heat of 0 outside and of 10 inside, with a few of each on the wrong side."""
    random = np.random.default_rng(0)
    values = random.normal(0.0, 1.0, (64, 64)).astype(np.float32)
    mask = np.zeros((64, 64), np.bool_)
    mask[:16] = True
    values[mask] += np.float32(10.0)
    heat = HeatSamples()
    heat.add(values, mask)
    low, high = heat.scale()
    assert heat.has_masks
    assert low == pytest.approx(0.0, abs=0.1)
    assert (low + high) / 2 == pytest.approx(5.0, abs=1.5)
    assert heat.scale(2.0, 1.0) == pytest.approx((2.0 * low + 1.0, 2.0 * high + 1.0), abs=1e-3)


def test_without_a_mask_nearly_all_heat_is_below_the_middle() -> None:
    """So that a class without masks does not glow everywhere."""
    values = np.random.default_rng(0).normal(0.0, 1.0, (100, 100)).astype(np.float32)
    heat = HeatSamples()
    heat.add(values, np.zeros(values.shape, np.bool_))
    low, high = heat.scale()
    assert not heat.has_masks
    assert (values > (low + high) / 2).mean() == pytest.approx(0.001, abs=0.0005)
