"""Measure how well a model names defects.

    naming = judge_names(truth, names=names, probabilities=defects, bad=bad, threshold=0.1)
    naming.classes["crack"].recall.share

A pill is called `good` below the model's threshold, as everywhere. From there on it is called by
its most probable defect, or `combined` where two or more defects reach `PRESENT`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn import metrics

from pillqc.data.defects import COMBINED
from pillqc.data.images import GOOD
from pillqc.evaluation.shares import Share, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PRESENT: Final = 0.5
"""Probability from which a pill is said to have a defect."""


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """How well one class is recognised."""

    recall: Share
    """Of the pills of this class, those that are called so."""
    precision: Share
    """Of the pills that are called so, those of this class."""
    auroc: float | None
    """Of its probability, against all other classes; None without both, or for a class that the
    model does not know. Pills with several defects count for `good` and `combined` only."""


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How well defects are named; a field's name is its key in the JSON."""

    named_rightly: Share
    """Of the pills with one defect that the model knows, those whose most probable defect it is,
    whether they are called bad or not."""
    classes: dict[str, ClassFigures]
    """`good`, the defects, `combined` where it occurs, and folders that the model does not know."""
    confusion: dict[str, dict[str, int]]
    """What pills are -> what they are called -> how many."""


def judge_names(
    truth: Sequence[str],
    *,
    names: Sequence[str],
    probabilities: NDArray[np.float64],
    bad: NDArray[np.float64],
    threshold: float,
) -> Naming:
    """Compare the probabilities of defects with the truth.

    Args:
        truth: `good`, or the name of the defect's folder, of every pill.
        names: the defects that the model names.
        probabilities: of those defects (pills, names).
        bad: probability of bad of every pill (pills).
        threshold: probability from which a pill is called bad.
    """
    real, called = np.asarray(truth), np.asarray(call(names, probabilities, bad, threshold))
    single = np.isin(real, names)
    most_probable = np.asarray(names)[probabilities.argmax(axis=1)]
    known = [GOOD, *names, COMBINED]
    classes = [c for c in known if c != COMBINED or COMBINED in {*truth, *called.tolist()}]
    classes += sorted(set(truth) - set(known))
    evidence = {
        GOOD: 1.0 - bad,
        COMBINED: np.sort(probabilities, axis=1)[:, -2],  # that of the second defect
        **dict(zip(names, probabilities.T, strict=True)),
    }
    return Naming(
        named_rightly=share(int((most_probable == real)[single].sum()), int(single.sum())),
        classes={name: _figures(name, real, called, evidence.get(name)) for name in classes},
        confusion={
            row: {column: int(((real == row) & (called == column)).sum()) for column in classes}
            for row in classes
        },
    )


def call(
    names: Sequence[str],
    probabilities: NDArray[np.float64],
    bad: NDArray[np.float64],
    threshold: float,
) -> list[str]:
    """Return what every pill is called: `good`, a defect, or `combined`."""
    several = (probabilities >= PRESENT).sum(axis=1) > 1
    most_probable = np.asarray(names)[probabilities.argmax(axis=1)]
    defect = np.where(several, COMBINED, most_probable)
    called: list[str] = np.where(bad < threshold, GOOD, defect).tolist()
    return called


def mean_auroc(present: NDArray[np.float32], scores: NDArray[np.float64]) -> float | None:
    """Return the mean of the defects' AUROC against all other pills; None without any.

    Args:
        present: which defects the pills have (pills, defects); NaN is not known.
        scores: scores of the defects (pills, defects).
    """
    found = [
        _auroc(defect > 0, mine, ~np.isnan(defect))
        for defect, mine in zip(present.T, scores.T, strict=True)
    ]
    usable = [value for value in found if value is not None]
    return float(np.mean(usable)) if usable else None


def _figures(
    name: str,
    real: NDArray[np.str_],
    called: NDArray[np.str_],
    evidence: NDArray[np.float64] | None,
) -> ClassFigures:
    mine, so_called = real == name, called == name
    right = int((mine & so_called).sum())
    # whether a pill with several defects has this one is not known
    judged = np.ones(len(real), np.bool_) if name in (GOOD, COMBINED) else real != COMBINED
    return ClassFigures(
        recall=share(right, int(mine.sum())),
        precision=share(right, int(so_called.sum())),
        auroc=None if evidence is None else _auroc(mine, evidence, judged),
    )


def _auroc(
    mine: NDArray[np.bool_], scores: NDArray[np.float64], judged: NDArray[np.bool_]
) -> float | None:
    labels = mine[judged]
    if not labels.any() or labels.all():
        return None
    return float(metrics.roc_auc_score(labels, scores[judged]))
