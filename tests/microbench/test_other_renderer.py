"""Tablets of another renderer: each defect is where its mask says, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pillqc.data.folders import read_samples
from tests.microbench import other_renderer
from tests.microbench.other_renderer import main, summary
from tests.microbench.other_tablets import KINDS, SIDE, lay_out, tablet


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


def figures() -> dict[str, Any]:
    """What `pillqc evaluate --json` prints, as far as the tables need it."""
    return {
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


def test_every_way_gets_its_pictures_and_one_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapted model of a seed is trained once, and stands beside the compared one of `both`."""
    called: list[tuple[str, ...]] = []

    def pretended(*words: object) -> str:
        called.append(tuple(map(str, words)))
        if "--out" in words:
            Path(str(words[words.index("--out") + 1])).touch()
        return json.dumps(figures()) if words[0] == "evaluate" else "trained\nwrote"

    monkeypatch.setattr(other_renderer, "pillqc", pretended)
    words = ["--out", str(tmp_path), "--product", "k7"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert [one[0] for one in called].count("train") == 1
    compared = [" ".join(one) for one in called if one[0] == "compare"]
    good, adapted = tmp_path / "seed-0/test/good", tmp_path / "seed-0.safetensors"
    bad = f"--bad {tmp_path / 'seed-0'}"
    assert [bad in one for one in compared] == [False, False, True, True, False]
    assert [f"--with {adapted}" in one for one in compared] == [False, False, False, True, False]
    assert ["--invented 0" in one for one in compared] == [True, False, False, False, False]
    assert ["--mixed" in one for one in compared] == [False, False, False, False, True]
    assert all(str(good) in one for one in compared[:4])
    assert done.output.count("| 0.951 |") == 7
    before = len(called)
    assert CliRunner().invoke(main, words).exit_code == 0
    assert len(called) == before, "what was measured is not measured again"


def test_the_tables_have_a_row_for_each_model() -> None:
    """Figures of images, and what is found of each defect at 5 % false rejects."""
    lines = summary({"shipped": figures()}).splitlines()
    assert lines[2] == "| shipped | 0.951 | 12.3% | 50.0%, 2.0% | 0.900, 75.0% |"
    assert lines[-1] == "| shipped | 0% | 10% | 20% | 30% | 40% | 50% |"
