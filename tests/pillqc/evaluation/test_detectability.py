"""The curve of hits and misses by size, and its bound."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pillqc.errors import UsageError
from pillqc.evaluation.detectability import detectability, fitted_a90


def drawn(count: int, slope: float, seed: int) -> tuple[list[float], list[bool]]:
    """Sizes over a factor of 25 around a centre of 1, found by a known curve."""
    random = np.random.default_rng(seed)
    sizes = np.exp(random.uniform(math.log(0.2), math.log(5), count))
    found = random.random(count) < 1 / (1 + sizes**-slope)
    return sizes.tolist(), found.tolist()


def test_the_curve_is_the_one_that_was_drawn() -> None:
    """Many defects: the fit is close, and the bound lies just above."""
    fit = detectability(*drawn(2000, 4.0, seed=1))
    truth = math.exp(math.log(9) / 4)
    assert fit.centre == pytest.approx(1, rel=0.05)
    assert fit.slope == pytest.approx(4, rel=0.15)
    assert fit.a90 == pytest.approx(truth, rel=0.1)
    assert fit.a90_95 is not None
    assert fit.a90 is not None
    assert fit.a90 < fit.a90_95 < 1.1 * truth
    assert fit.probability(fit.a90) == pytest.approx(0.9)


def test_a90_alone_is_that_of_the_whole_analysis() -> None:
    """None where hits and misses do not overlap."""
    defects = drawn(200, 4.0, seed=2)
    assert fitted_a90(*defects) == detectability(*defects).a90
    assert fitted_a90([1.0, 2.0, 3.0], [False, True, True]) is None


@pytest.mark.parametrize("slope", [3.0, 6.0])
def test_the_bound_holds_in_about_95_of_100(slope: float) -> None:
    """Simulated with a known curve, 80 defects each; 53 of 60 is what 95 % give almost always."""
    truth = math.exp(math.log(9) / slope)
    bounds = [detectability(*drawn(80, slope, seed)).a90_95 for seed in range(60)]
    assert sum(bound is None or bound >= truth for bound in bounds) >= 53


def test_hits_and_misses_that_do_not_overlap_have_a_bound_and_no_fit() -> None:
    """The bound lies above the smallest that was found; more defects bring it nearer."""
    few, many = (
        detectability(sizes := np.geomspace(0.1, 10, count).tolist(), [s > 1 for s in sizes])
        for count in (20, 200)
    )
    assert (few.a90, few.centre, few.probability(1)) == (None, None, None)
    assert few.a90_95 is not None
    assert many.a90_95 is not None
    assert 1 < many.a90_95 < few.a90_95


def test_hits_and_misses_that_share_one_size_have_no_fit() -> None:
    """The steepest curve would fit best, whatever slope is the steepest that is tried."""
    assert detectability([1.0, 2.0, 2.0, 3.0], [False, False, True, True]).a90 is None
    assert detectability([2.0, 2.0], [False, True]).a90 is None


@pytest.mark.filterwarnings("error")
def test_a_step_has_probabilities_far_below_it() -> None:
    """The picture draws the curve over all sizes; no number is too large on the way."""
    sizes = [0.1, *np.linspace(19.99, 20.01, 41).tolist()]
    fit = detectability(
        sizes, [size > 19.999 and number != 30 for number, size in enumerate(sizes)]
    )
    assert fit.slope is not None
    assert fit.slope > 190
    assert fit.probability(0.1) == pytest.approx(0.0)


def test_what_is_never_or_hardly_found_has_no_bound() -> None:
    """No size that was tried is shown to be found nine times in ten."""
    sizes = np.geomspace(0.1, 10, 40).tolist()
    assert detectability(sizes, [False] * 40).a90_95 is None
    assert detectability(sizes, [index % 2 == 0 for index in range(40)]).a90_95 is None


@pytest.mark.parametrize(
    ("sizes", "hits"), [([], []), ([1.0], []), ([0.0], [True]), ([math.nan], [True])]
)
def test_sizes_that_are_none_are_refused(sizes: list[float], hits: list[bool]) -> None:
    """In one sentence."""
    with pytest.raises(UsageError):
        detectability(sizes, hits)
