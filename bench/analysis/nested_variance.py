"""Estimate the variance components of a balanced nested experiment, with upper bounds. Pure.

    squares = mean_squares(values)         # participants x execs x prepares x heaps x blocks
    between(squares, 0, 2)                 # the variance of execs and prepares, without blocks'

Components are differences of mean squares (method of moments: Searle, Casella & McCulloch,
*Variance Components*, 1992). Their upper bounds are the modified large-sample ones of Ting,
Burdick, Graybill, Jeyaratnam & Lu (J. Stat. Comput. Simul. 35, 1990), one-sided, at 95 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.shares import CONFIDENCE
from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MeanSquare:
    """The mean square of one level, pooled over participants."""

    value: float
    degrees_of_freedom: float
    blocks: int
    """Blocks in one unit of the level."""


@dataclass(frozen=True, kw_only=True)
class Variance:
    """A variance of log times; the estimate is below zero if the level shows less than noise."""

    estimate: float
    upper: float
    """One-sided 95 % bound, zero at least."""


def mean_squares(values: Floats) -> list[MeanSquare]:
    """Return one for each level of participants x outermost level x ... x blocks.

    Raises:
        BenchError: some level has one unit only, so that it shows no variance.
    """
    if min(values.shape[1:]) < 2:
        raise BenchError("a nested experiment needs two units of each level at least")
    found: list[MeanSquare] = []
    blocks = 1
    while values.ndim > 1:
        means = values.mean(axis=-1)
        deviations = (values - means[..., None]).reshape(len(values), -1)
        dof = means[0].size * (values.shape[-1] - 1)
        found.insert(0, _pooled(blocks * deviations @ deviations.T / dof, dof, blocks))
        blocks *= values.shape[-1]
        values = means
    return found


def _pooled(products: Floats, dof: int, blocks: int) -> MeanSquare:
    """Return the mean of the participants' mean squares, with Satterthwaite's degrees of freedom.

    `products` has the participants' mean squares in its diagonal and their cross products beside
    it: participants are paired with the same blocks of one reference, so they share its noise and
    count for less than as many independent ones. What chance alone adds to squares is subtracted.
    """
    squares = np.diag(products)
    participants = len(squares)
    own = float((squares**2).sum()) * dof / (dof + 2)
    chance = np.outer(squares, squares) / dof
    shared = float((products**2 - chance)[~np.eye(participants, dtype=bool)].sum())
    spread = own + max(0.0, shared)
    worth = float(squares.sum()) ** 2 / spread if spread > 0 else participants
    return MeanSquare(
        value=float(squares.mean()),
        degrees_of_freedom=dof * min(max(worth, 1.0), participants),
        blocks=blocks,
    )


def between(squares: Sequence[MeanSquare], first: int, last: int) -> Variance:
    """Return the sum of the components of the levels from `first` up to, without, `last`."""
    weights = np.zeros(len(squares) + 1)
    for level in range(first, last):
        weights[level] += 1 / squares[level].blocks
        weights[level + 1] -= 1 / squares[level].blocks
    dof = np.array([one.degrees_of_freedom for one in squares])
    terms = weights[:-1] * [one.value for one in squares]
    added, taken = np.maximum(terms, 0), np.maximum(-terms, 0)  # at most one is taken
    tail = 1 - CONFIDENCE
    h = dof / stats.chi2.ppf(tail, dof) - 1
    g = 1 - dof / stats.chi2.isf(tail, dof)
    f = stats.f.ppf(tail, dof[:, None], dof)
    crossed = ((1 - f) ** 2 - (h[:, None] * f) ** 2 - g**2) / f
    square = ((h * added) ** 2 + (g * taken) ** 2).sum() + added @ crossed @ taken
    estimate = float(terms.sum())
    return Variance(
        estimate=estimate, upper=max(0.0, estimate + math.sqrt(max(0.0, float(square))))
    )


def quotient(these: Floats, those: Floats) -> tuple[float, float, float]:
    """Return the ratio of two times and its two-sided 95 % interval (Student's t).

    Both are log times, participants x outermost level x .... A unit of one was measured right after
    that of the other, so they are paired; participants share a reference, so their mean is one
    observation.
    """
    levels = [one.reshape(*one.shape[:2], -1).mean(axis=(0, 2)) for one in (these, those)]
    differences = levels[0] - levels[1]
    mean, error = float(differences.mean()), float(stats.sem(differences))
    reach = float(stats.t.isf((1 - CONFIDENCE) / 2, len(differences) - 1)) * error
    return math.exp(mean), math.exp(mean - reach), math.exp(mean + reach)
