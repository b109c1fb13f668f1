"""Recall, precision and confusion of classes, counted by hand."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from pillqc.evaluation.naming import Naming, call, judge_names, mean_auroc

NAMES = ("crack", "scratch")
TRUTH = ["good", "good", "crack", "crack", "crack", "scratch", "combined", "combined", "dent"]
BAD = np.array([0.1, 0.6, 0.9, 0.9, 0.2, 0.9, 0.9, 0.9, 0.9])
PROBABILITIES = np.array(
    [
        [0.0, 0.1],
        [0.2, 0.3],
        [0.9, 0.1],
        [0.8, 0.6],
        [0.4, 0.0],
        [0.1, 0.4],
        [0.7, 0.8],
        [0.7, 0.2],
        [0.3, 0.1],
    ]
)


@pytest.fixture(scope="module")
def naming() -> Naming:
    """Nine pills, of which one has a defect that the model does not know."""
    return judge_names(TRUTH, names=NAMES, probabilities=PROBABILITIES, bad=BAD, threshold=0.5)


def test_a_pill_is_called_good_a_defect_or_combined() -> None:
    """By the decision first, then by how many defects are likely, then by the likeliest."""
    called = call(NAMES, PROBABILITIES, BAD, 0.5)
    assert " ".join(called) == "good scratch crack combined good scratch combined crack crack"


def test_recall_and_precision_count_what_pills_are_called(naming: Naming) -> None:
    """Of three cracks one is called so; of three pills called so one is a crack."""
    assert list(naming.classes) == ["good", "crack", "scratch", "combined", "dent"]
    crack, scratch = naming.classes["crack"], naming.classes["scratch"]
    assert (crack.recall.count, crack.recall.n) == (1, 3)
    assert (crack.precision.count, crack.precision.n) == (1, 3)
    assert (scratch.recall.share, scratch.precision.share) == (1.0, 0.5)
    assert naming.classes["combined"].recall.share == 0.5
    assert naming.classes["dent"].precision.share is None


def test_a_pill_is_named_rightly_by_its_likeliest_defect(naming: Naming) -> None:
    """Whatever it is called; of `combined` nothing says which it has, and a dent is not known."""
    assert (naming.named_rightly.count, naming.named_rightly.n) == (4, 4)


def test_the_confusion_matrix_has_every_pill_once(naming: Naming) -> None:
    """Rows are what pills are."""
    assert naming.confusion["crack"] == {
        "good": 1,
        "crack": 1,
        "scratch": 0,
        "combined": 1,
        "dent": 0,
    }
    assert sum(count for row in naming.confusion.values() for count in row.values()) == 9
    assert json.dumps(asdict(naming))


def test_each_class_has_its_auroc_against_the_others(naming: Naming) -> None:
    """Pills with several defects are left out for one defect: whether they have it is not known."""
    assert naming.classes["crack"].auroc == 1.0
    assert naming.classes["scratch"].auroc == pytest.approx(5 / 6)
    assert naming.classes["good"].auroc == pytest.approx(13 / 14)
    assert naming.classes["combined"].auroc is not None
    assert naming.classes["dent"].auroc is None


def test_combined_is_no_class_where_it_does_not_occur() -> None:
    """Neither in the data nor among what pills are called."""
    kept = [0, 2, 5]
    found = judge_names(
        [TRUTH[i] for i in kept],
        names=NAMES,
        probabilities=PROBABILITIES[kept],
        bad=BAD[kept],
        threshold=0.5,
    )
    assert list(found.classes) == ["good", "crack", "scratch"]


def test_the_mean_auroc_is_over_defects_that_occur() -> None:
    """A defect that no pill has, or all have, says nothing."""
    present = np.array([[0, 0, 1], [1, 0, 1], [np.nan, np.nan, np.nan]], np.float32)
    scores = np.array([[0.1, 0.5, 0.5], [0.9, 0.5, 0.5], [0.0, 0.0, 0.0]])
    assert mean_auroc(present, scores) == 1.0
    assert mean_auroc(present[:, 1:], scores[:, 1:]) is None
