"""The table of trainings from different weights."""

from __future__ import annotations

from typing import Any

from tests.microbench.start_weights import summary, tutorials_way


def found(auroc: float, recall: float) -> dict[str, Any]:
    """Return the keys of `pillqc evaluate --json` that the table shows."""
    return {
        "image_auroc": auroc,
        "recall_bad": {"share": recall},
        "false_rejects": {"share": 0.02},
    }


def test_a_row_has_every_seed_and_the_medians() -> None:
    """Rows are sorted by the number of images; one extreme seed does not move the median."""
    results = {
        (260, "hed"): [found(0.9, 0.5)],
        (60, "hed"): [found(0.71, 0.4), found(0.1, 0.0), found(0.75, 0.44)],
    }
    few, many = summary(results).splitlines()[-2:]
    assert few == "| 60 | hed | 0.710, 0.100, 0.750 | 0.710 | 40%, 2% |"
    assert many.startswith("| 260 | hed | 0.900 | 0.900 |")


def test_few_images_are_shown_as_often_as_many() -> None:
    """2,000 images are 13 epochs of the 156 that train of 260, and 56 of 36."""
    assert tutorials_way(260, 2000)[-1] == "13"
    assert tutorials_way(60, 2000)[-1] == "56"
