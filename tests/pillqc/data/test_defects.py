"""The folders say which defects can be named, and which of them a pill has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pillqc.data.defects import defect_names, presence
from pillqc.data.images import Sample
from pillqc.errors import PillqcError


def samples(*defects: str) -> list[Sample]:
    """One sample of each folder."""
    return [
        Sample(path=Path(f"{n}.png"), defect=d, bad=d != "good", mask=None, split="all")
        for n, d in enumerate(defects)
    ]


def test_names_are_sorted_and_pills_with_several_defects_have_none_of_their_own() -> None:
    """`combined` says that there are several, not which."""
    found = defect_names(samples("scratch", "good", "combined", "crack", "scratch"))
    assert found == ("crack", "scratch")


@pytest.mark.parametrize("defects", [("good",), ("good", "bad"), ("good", "bad", "combined")])
def test_a_single_defect_has_nothing_to_be_told_from(defects: tuple[str, ...]) -> None:
    """A folder `bad` beside `good` is no name of a defect."""
    with pytest.raises(PillqcError, match="two or more defects"):
        defect_names(samples(*defects))


def test_presence_knows_yes_no_and_not_known() -> None:
    """A good pill has none, one with another defect has none of these, `combined` may have any."""
    present = presence(["good", "crack", "combined", "dent"], ("crack", "scratch"))
    assert present.dtype == np.float32
    assert present[[0, 1, 3]].tolist() == [[0, 0], [1, 0], [0, 0]]
    assert np.isnan(present[2]).all()
    assert presence(["good", "combined"], ()).shape == (2, 0)
