"""Tablets of another renderer: each defect is where its mask says, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pillqc.data.folders import read_samples
from tests.microbench.other_renderer import summary
from tests.microbench.other_tablets import KINDS, SIDE, lay_out, tablet

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_covers_a_small_part_of_the_tablet(kind: str) -> None:
    """The same seed gives the same picture; a mask has pixels, and less than a tenth of all."""
    (photo, mask), (again, _) = tablet(3, kind), tablet(3, kind)
    assert photo.size == (SIDE, SIDE)
    assert np.array_equal(np.asarray(photo), np.asarray(again))
    assert 0.0002 < mask.mean() < 0.1
    assert not tablet(3)[1].any()


def test_a_folder_is_read_as_good_and_bad_with_masks(tmp_path: Path) -> None:
    """Pillqc finds every kind, and a mask for each bad tablet; a second call draws nothing."""
    root = lay_out(tmp_path / "set", good=2, each=1, first_seed=0)
    samples = read_samples(root)
    assert sorted(s.defect for s in samples) == sorted([*KINDS, "good", "good"])
    assert all((s.mask is not None) == s.bad for s in samples)
    assert lay_out(root, good=9, each=9, first_seed=1) == root
    assert len(read_samples(root)) == len(samples)


def test_the_tables_have_a_row_for_each_model() -> None:
    """Figures of images, and what is found of each defect at 5 % false rejects."""
    found: dict[str, Any] = {
        "image_auroc": 0.9512,
        "escape_rate_at_false_reject": {"0.05": 0.123},
        "recall_bad": {"share": 0.5},
        "false_rejects": {"share": 0.02},
        "pixel_auroc": 0.9,
        "pointing_game": 0.75,
        "recall_by_defect": {
            kind: {"at_false_reject": {"0.05": number / 10}} for number, kind in enumerate(KINDS)
        },
    }
    lines = summary({"shipped": found}).splitlines()
    assert lines[2] == "| shipped | 0.951 | 12.3% | 50.0%, 2.0% | 0.900, 75.0% |"
    assert lines[-1] == "| shipped | 0% | 10% | 20% | 30% | 40% | 50% |"
