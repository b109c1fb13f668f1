"""A model that teaches itself from unsorted pictures."""

from __future__ import annotations

import shutil
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from pillqc.errors import PillqcError
from pillqc.inspection.prediction import Prediction, predict
from pillqc.training import judge_fit, unsorted
from pillqc.training.judge_fit import held_out_scores
from pillqc.training.unsorted import make_unsorted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from pillqc.training.comparing import Comparison
    from pillqc.training.judge_fit import Lesson

pytestmark = pytest.mark.torch

SIZE = 64
PILLS, BAD = 40, 12


@pytest.fixture(autouse=True, scope="module")
def short() -> Iterator[None]:
    """Fits of a third of the steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge_fit, "SHOWN", 1_600)
        yield


def is_bad(path: Path) -> bool:
    """Return whether a picture of `tray` has a defect."""
    return int(path.stem[:2]) % 10 in {1, 4, 7}


@pytest.fixture(scope="module")
def tray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 grey pills with a faint speck somewhere, of which twelve have a black square, too."""
    folder = tmp_path_factory.mktemp("tray")
    for number in range(PILLS):
        rng = np.random.default_rng(number)
        pixels = rng.normal(110.0, 4.0, (SIZE, SIZE, 3))
        row, column = rng.integers(4, 50, 2)
        pixels[row : row + 8, column : column + 8] += 25.0
        path = folder / f"{number:02}.png"
        if is_bad(path):
            row, column = rng.integers(18, 30, 2)
            pixels[row : row + 14, column : column + 16] = 10.0
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    assert sum(map(is_bad, folder.iterdir())) == BAD
    return folder


@pytest.fixture(scope="module")
def made(tray: Path) -> Comparison:
    """A model by random features."""
    return make_unsorted(sorted(tray.iterdir()), weights="random", invented=40, most=16, size=SIZE)


def test_it_finds_the_defects_of_its_own_pictures(tray: Path, made: Comparison) -> None:
    """It has seen no label; specks, which every pill has, are none."""
    paths = sorted(tray.iterdir())
    done = [one for one in predict(made.model, paths, size=SIZE) if isinstance(one, Prediction)]  # type: ignore[arg-type] # a comparing model
    good = [one.bad for one in done if not is_bad(one.path)]
    bad = [one.bad for one in done if is_bad(one.path)]
    above = (np.array(bad)[:, None] > np.array(good)[None]).mean()
    assert above > 0.97
    assert sum(one >= made.card.threshold for one in bad) >= BAD - 2
    assert sum(one >= made.card.threshold for one in good) <= (PILLS - BAD) // 3


def test_its_card_says_what_it_was_made_of(made: Comparison) -> None:
    """No picture is marked as seen: nobody said which of them are bad, and they may judge it."""
    assert made.card.compares == {
        "pictures": 16,
        "mixed": True,
        "features": "random",
        "bad": 0,
        "invented": 40,
    }
    assert made.card.seen == ""
    assert made.card.threshold == pytest.approx(0.5)
    assert made.card.undecided is not None
    assert made.card.undecided[0] < 0.5
    assert (made.pictures, made.good, made.bad, made.invented) == (16, PILLS, 0, 40)
    assert BAD - 2 <= made.called_bad <= PILLS // 2


def test_each_turn_learns_from_the_less_suspicious_half(
    tray: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And scores all pictures, by judges that have not learnt from them."""
    monkeypatch.setattr(judge_fit, "SHOWN", 400)
    turns: list[tuple[list[int], NDArray[np.float64]]] = []

    def told(lesson: Lesson, *, teaching: Tensor, **how: object) -> NDArray[np.float64]:
        assert len(lesson.bad) == PILLS + 12
        assert teaching[PILLS:].all()
        assert lesson.bad.tolist() == [False] * PILLS + [True] * 12
        scores = held_out_scores(lesson, teaching=teaching, **how)  # type: ignore[arg-type]
        good = torch.arange(PILLS)[teaching[:PILLS]].tolist()
        assert set(lesson.group[PILLS:].tolist()) <= set(good)
        turns.append((good, scores[:PILLS]))
        return scores

    monkeypatch.setattr(unsorted, "held_out_scores", told)
    make_unsorted(sorted(tray.iterdir()), weights="random", invented=12, most=16, size=SIZE)
    assert len(turns) == unsorted.TURNS
    assert all(len(good) == PILLS // 2 for good, _ in turns)
    for (_, before), (good, _) in pairwise(turns):
        assert before[good].max() <= np.delete(before, good).min()


def test_a_model_that_finds_no_invented_defect_is_told(
    tray: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it makes of the pictures is chance then."""
    notes: list[str] = []
    monkeypatch.setattr(judge_fit, "SHOWN", 20)
    make_unsorted(
        sorted(tray.iterdir()),
        weights="random",
        invented=12,
        most=16,
        size=SIZE,
        on_note=notes.append,
    )
    assert len(notes) == 1
    assert "12 invented defects" in notes[0]


def test_copies_count_once_and_progress_ends(
    tray: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be read is told."""
    monkeypatch.setattr(judge_fit, "SHOWN", 40)
    folder = shutil.copytree(tray, tmp_path / "tray")
    shutil.copy(folder / "00.png", folder / "90.png")
    (folder / "91.png").write_bytes(b"no picture")
    notes: list[str] = []
    steps: list[tuple[int, int]] = []
    again = make_unsorted(
        sorted(folder.iterdir()),
        weights="random",
        invented=8,
        most=10,
        size=SIZE,
        on_note=notes.append,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert (again.good, again.pictures) == (PILLS, 10)
    assert "91.png" in notes[0]
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


def test_at_most_so_many_are_learnt_from(tray: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly spaced: the first pictures alone could be of one hour."""
    monkeypatch.setattr(judge_fit, "SHOWN", 40)
    monkeypatch.setattr(unsorted, "MOST", 24)
    few = make_unsorted(sorted(tray.iterdir()), weights="random", invented=4, most=20, size=SIZE)
    assert (few.good, few.pictures) == (24, 12)


def test_too_few_pictures_are_refused(tray: Path) -> None:
    """The half that is taken for good does not show how much good pills differ."""
    with pytest.raises(PillqcError, match="19 different pictures"):
        make_unsorted(sorted(tray.iterdir())[:19], weights="random", invented=4, most=20, size=SIZE)
