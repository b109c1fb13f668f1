"""Variance components of nested experiments whose truth is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.analysis.nested_variance import between, mean_squares, quotient
from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.nested_variance import Floats

SHAPE = (6, 4, 4, 3)


def simulated(
    draws: np.random.Generator, sds: Sequence[float], *, participants: int = 4, shared: float = 0.0
) -> Floats:
    """Participants x 6 x 4 x 4 x 3; `sds` are the levels' deviations, `shared` the reference's."""
    values = draws.normal(0.0, shared, SHAPE) + np.zeros((participants, *SHAPE))
    for level, sd in enumerate(sds):
        units = (participants, *SHAPE[: level + 1])
        values += draws.normal(0.0, sd, units).reshape(units + (1,) * (len(SHAPE) - level - 1))
    return values


def test_mean_squares_are_those_of_the_textbook() -> None:
    """Two units of two values, by hand: variances 2 and 2 within, twice the means' 12.5 above."""
    outer, inner = mean_squares(np.array([[[1.0, 3.0], [6.0, 8.0]]]))
    assert (inner.value, inner.degrees_of_freedom, inner.blocks) == (2.0, 2, 1)
    assert (outer.value, outer.degrees_of_freedom, outer.blocks) == (25.0, 1, 2)
    assert between([outer, inner], 0, 1).estimate == pytest.approx((25 - 2) / 2)
    assert between([outer, inner], 1, 2).estimate == pytest.approx(2.0)


def test_a_level_that_shows_less_than_noise_is_estimated_below_zero() -> None:
    """Cut off at zero, estimates would be too large on average; the bound alone is cut off."""
    outer, inner = mean_squares(np.array([[[1.0, 9.0], [9.0, 1.0]]]))
    found = between([outer, inner], 0, 1)
    assert found.estimate == -16.0
    assert found.upper >= 0.0


@pytest.mark.parametrize(
    ("sds", "shared"),
    [
        ((0.0, 0.0, 0.0, 0.03), 0.0),
        ((0.005, 0.004, 0.003, 0.02), 0.02),
        ((0.0, 0.006, 0.0, 0.02), 0.02),
    ],
)
@pytest.mark.parametrize("participants", [1, 4])
def test_components_and_bounds_hold(
    sds: tuple[float, ...], shared: float, participants: int
) -> None:
    """About 95 % of bounds hold, also with a shared reference: 91 % at least, of 200."""
    draws = np.random.default_rng(7)
    variances = np.array(sds) ** 2
    variances[3] += shared**2
    spans = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (0, 3)]
    truth = np.array([variances[slice(*span)].sum() for span in spans])
    squares = [
        mean_squares(simulated(draws, sds, participants=participants, shared=shared))
        for _ in range(200)
    ]
    found = [[between(one, *span) for span in spans] for one in squares]
    estimates = np.array([[one.estimate for one in row] for row in found])
    error = estimates.std(axis=0) / math.sqrt(len(found))
    assert np.all(np.abs(estimates.mean(axis=0) - truth) < 4 * error)
    held = np.array([[one.upper for one in row] for row in found]) >= truth
    assert np.all(held.mean(axis=0) >= 0.91)


def test_bounds_are_of_use() -> None:
    """Four participants with 2 % between blocks show that at most half a percent is missed."""
    draws = np.random.default_rng(3)
    squares = mean_squares(simulated(draws, (0.0, 0.008, 0.0, 0.02)))
    assert between(squares, 1, 2).upper < 2 * 0.008**2
    nothing = mean_squares(simulated(draws, (0.0, 0.0, 0.0, 0.02)))
    assert between(nothing, 0, 1).upper < 0.005**2


def test_participants_that_share_their_reference_count_for_less() -> None:
    """All noise in common: four participants know no more than one."""
    draws = np.random.default_rng(5)
    equal = mean_squares(simulated(draws, (0.0,) * 4, shared=0.02))
    apart = mean_squares(simulated(draws, (0.0, 0.0, 0.0, 0.02)))
    blocks = 6 * 4 * 4 * 2
    assert equal[3].degrees_of_freedom == pytest.approx(blocks, rel=0.1)
    assert apart[3].degrees_of_freedom == pytest.approx(4 * blocks, rel=0.1)


def test_one_unit_of_a_level_shows_no_variance() -> None:
    """And is refused in one sentence."""
    with pytest.raises(BenchError, match="two units of each level"):
        mean_squares(np.zeros((4, 1, 2, 3)))


def test_a_quotient_is_paired_by_the_outermost_level() -> None:
    """What both drift by cancels; the interval is Student's over the units' differences."""
    draws = np.random.default_rng(9)
    drift = draws.normal(0.0, 0.05, 6)
    fresh = np.broadcast_to(drift[None, :, None, None], (3, 6, 2, 2))
    longer = draws.normal(0.01, 0.002, 6)
    forked = np.broadcast_to((drift + longer)[None, :, None], (3, 6, 4))
    estimate, low, high = quotient(np.array(forked), np.array(fresh))
    assert estimate == pytest.approx(math.exp(longer.mean()))
    reach = 2.5706 * longer.std(ddof=1) / math.sqrt(6)
    assert (low, high) == pytest.approx(
        (math.exp(longer.mean() - reach), math.exp(longer.mean() + reach)), rel=1e-4
    )
