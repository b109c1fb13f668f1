"""A model that compares and has learnt from bad pictures: limits, card, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import special

from pillqc.data.folders import read_samples
from pillqc.data.seen_images import decode_seen
from pillqc.errors import PillqcError
from pillqc.evaluation.defect_calibration import fit_sigmoid
from pillqc.inspection.prediction import Prediction, predict
from pillqc.model.artifact import ModelCard
from pillqc.model.judging import JudgingVGG
from pillqc.model.network import LoadedModel, load_model
from pillqc.training import judge_fit, judging
from pillqc.training.described_pictures import describe
from pillqc.training.judge_lesson import make_lesson
from pillqc.training.judging import make_judgement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from pillqc.data.images import Sample
    from pillqc.training.comparing import Comparison
    from pillqc.training.judge_fit import Lesson

pytestmark = pytest.mark.torch

SIZE = 64


@pytest.fixture(autouse=True, scope="module")
def short() -> Iterator[None]:
    """Fits of a third of the steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge_fit, "SHOWN", 1_600)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good grey pills, and 14 with a black square; all have a bright speck somewhere."""
    root = tmp_path_factory.mktemp("data")
    for kind in ("test/good", "test/spot", "ground_truth/spot"):
        (root / kind).mkdir(parents=True)
    for number in range(38):
        rng = np.random.default_rng(number)
        pixels = rng.normal(110.0, 4.0, (SIZE, SIZE, 3))
        row, column = rng.integers(4, 50, 2)
        pixels[row : row + 8, column : column + 8] += 100.0
        kind, name = "good", f"{number:02}.png"
        if number >= 24:
            kind, mask = "spot", np.zeros((SIZE, SIZE), np.uint8)
            place = slice(20 + number % 4, 34), slice(24, 40)
            pixels[place], mask[place] = 10.0, 255
            Image.fromarray(mask).save(root / "ground_truth/spot" / name)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(root / "test" / kind / name)
    return root


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> list[Lesson]:
    """The lessons that judges have learnt, briefly."""
    lessons: list[Lesson] = []

    def told(lesson: Lesson, *, seed: int) -> nn.Sequential:
        lessons.append(lesson)
        return judge_fit.fit_judge(lesson, seed=seed)

    monkeypatch.setattr(judging, "fit_judge", told)
    monkeypatch.setattr(judge_fit, "SHOWN", 40)
    return lessons


def parts(data: Path) -> tuple[list[Path], list[Sample]]:
    """Return the good pictures and the bad samples."""
    samples = read_samples(data)
    return [one.path for one in samples if not one.bad], [one for one in samples if one.bad]


@pytest.fixture(scope="module")
def made(data: Path) -> Comparison:
    """A model by random features from 18 good and ten bad pills."""
    good, bad = parts(data)
    return make_judgement(good[:18], bad[:10], weights="random", size=SIZE, most=12)


def test_it_finds_defects_that_it_has_not_seen(data: Path, made: Comparison) -> None:
    """And takes no speck for one; the heat is where the square is."""
    good, bad = parts(data)
    unseen = [*good[18:], *(one.path for one in bad[10:])]
    done = [one for one in predict(made.model, unseen, size=SIZE) if isinstance(one, Prediction)]  # type: ignore[arg-type] # a comparing model
    found = [one.bad for one in done]
    assert max(found[:6]) < min(found[6:])
    for one in done[6:]:
        row, column = np.unravel_index(one.heat.argmax(), one.heat.shape)
        assert 12 <= row < 42
        assert 16 <= column < 48


@pytest.mark.parametrize("real", [0, 10])
def test_invented_defects_teach_too(data: Path, real: int) -> None:
    """Without any bad picture and beside some; good pictures' specks are no defects."""
    good, bad = parts(data)
    options = {"weights": "random", "size": SIZE, "most": 12}
    made = make_judgement(good[:18], bad[:real], invented=60, **options)  # type: ignore[arg-type]
    assert (made.good, made.bad, made.invented) == (18, real, 60)
    assert 60 >= made.invented_found >= 8  # random features see few of them
    assert made.called_bad <= 2
    assert made.card.compares["invented"] == 60
    assert len(decode_seen(made.card.seen)) == 18 + real
    unseen = [*good[18:], *(one.path for one in bad[real:])]
    done = [one for one in predict(made.model, unseen, size=SIZE) if isinstance(one, Prediction)]  # type: ignore[arg-type] # a comparing model
    assert max(one.bad for one in done[:6]) < min(one.bad for one in done[6:])


@pytest.mark.parametrize(("real", "wanted"), [(0, 48), (10, 28)])
def test_real_defects_alone_say_how_certain_a_defect_is(
    data: Path, monkeypatch: pytest.MonkeyPatch, real: int, wanted: int
) -> None:
    """Invented ones may be plainer than any that occur; without others they must do."""
    known: list[list[float]] = []

    def told(scores: NDArray[np.float64], labels: NDArray[np.float32]) -> tuple[float, float]:
        known.append(labels.tolist())
        return fit_sigmoid(scores, labels)

    monkeypatch.setattr(judging, "fit_sigmoid", told)
    monkeypatch.setattr(judge_fit, "SHOWN", 40)
    good, bad = parts(data)
    make_judgement(good[:18], bad[:real], weights="random", size=SIZE, most=12, invented=30)
    assert known == [[0.0] * 18 + [1.0] * (wanted - 18)]


def test_bad_pictures_may_come_first(data: Path) -> None:
    """An invented defect goes with the good picture that it was made of."""
    good, bad = parts(data)
    model = JudgingVGG(pictures=0, size=SIZE).eval()
    samples = [bad[0], None, bad[1], None]
    paths = [one.path if one else good[number] for number, one in enumerate(samples)]
    read, described = describe(model, paths, on_note=print)
    lesson = make_lesson(model, read, described, samples, most=9, invented=8, seed=0)
    assert lesson.bad.tolist() == [True, False, True, False] + [True] * 8
    assert lesson.group.tolist() == [0, 1, 2, 3] + [1, 3] * 4


def test_an_invented_defect_is_not_compared_with_its_picture(
    data: Path, learnt: list[Lesson]
) -> None:
    """Wherever it is not defective it would not differ, as no other picture does."""
    good, bad = parts(data)
    make_judgement(good, bad, weights="random", size=SIZE, most=40, invented=30)
    lesson = learnt[0]
    assert lesson.group[: len(good) + len(bad)].tolist() == list(range(len(good) + len(bad)))
    made = lesson.of(torch.arange(len(lesson.bad)) >= len(good) + len(bad))
    assert made.bad.all()
    assert len(made.bad) == 30
    assert set(made.group.tolist()) <= set(range(len(good)))
    assert bool((made.cells == 1.0).flatten(1).any(1).all())
    assert float(made.differences.amax(1).min()) > 0.0


def test_its_card_says_what_it_was_made_of(made: Comparison) -> None:
    """And which pictures must not judge it."""
    assert made.card.compares == {
        "pictures": 12,
        "mixed": False,
        "features": "random",
        "bad": 10,
        "invented": 0,
    }
    assert made.model.references.shape[1] == made.pictures == 12
    assert len(decode_seen(made.card.seen)) == 28
    assert (made.good, made.bad) == (18, 10)
    assert 0 <= made.called_bad <= 2
    assert made.found >= 8
    assert made.card.threshold == pytest.approx(0.5)
    assert made.card.undecided is not None
    assert made.card.undecided[0] < 0.5


def test_cells_beside_a_mask_are_neither_defective_nor_free(
    data: Path, learnt: list[Lesson]
) -> None:
    """Good pictures have no defective cell; of bad ones without a mask nothing is known."""
    good, bad = parts(data)
    bad[0] = replace(bad[0], mask=None)
    make_judgement(good, bad, weights="random", size=SIZE, most=12)
    cells = learnt[0].cells.numpy()
    assert (cells[: len(good)] == 0.0).all()
    assert np.isnan(cells[len(good)]).all()
    second = cells[len(good) + 1]  # its mask covers rows 21 to 33, columns 24 to 39 of 64
    wanted = np.zeros((8, 8))
    wanted[1:6, 2:6] = np.nan
    wanted[2:5, 3:5] = 1.0
    np.testing.assert_array_equal(second, wanted)


def trained(*, size: int = SIZE, seen: str = "") -> LoadedModel:
    """Return a model that `pillqc train` could have made."""
    card = ModelCard(
        size=size, threshold=0.8, undecided=(0.4, 0.8), thresholds={"0.1": 0.3}, seen=seen
    )
    loaded = load_model("random")
    return replace(loaded, trained=True, name="line", card=card, threshold=0.8)


def test_a_model_beside_it_adds_its_evidence_and_its_limits(data: Path, made: Comparison) -> None:
    """Thresholds are known for the shares that both know."""
    good, bad = parts(data)
    seen = "AAAAAAAAAAA="
    both = make_judgement(
        good[:18], bad[:10], weights="random", beside=trained(seen=seen), size=SIZE, most=12
    )
    assert both.card.compares["beside"] == "line"
    assert float(both.model.settings[3]) == pytest.approx(special.logit(0.8))
    assert float(both.model.settings[0]) == pytest.approx(float(made.model.settings[0]))
    assert decode_seen(seen) < decode_seen(both.card.seen)
    assert both.card.threshold == pytest.approx(0.5)
    assert both.card.undecided is not None
    assert made.card.undecided is not None
    lower = special.logit(made.card.undecided[0]) + special.logit(0.4) - special.logit(0.8)
    assert special.logit(both.card.undecided[0]) == pytest.approx(lower, abs=1e-3)
    assert set(both.card.thresholds) == {"0.1"}
    assert len(made.card.thresholds) > 1


def test_copies_count_once_and_unreadable_files_are_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among good and bad ones."""
    monkeypatch.setattr(judge_fit, "SHOWN", 100)
    good, bad = parts(data)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    notes: list[str] = []
    steps: list[tuple[int, int]] = []
    again = make_judgement(
        [*good[:18], good[0], broken],
        [*bad[:10], bad[0]],
        weights="random",
        size=SIZE,
        most=60,
        on_note=notes.append,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert (again.pictures, again.good, again.bad) == (18, 18, 10)
    assert len(notes) == 1
    assert "broken.png" in notes[0]
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


@pytest.mark.parametrize(("good_ones", "bad_ones"), [(9, 10), (18, 9)])
def test_too_few_pictures_are_refused(data: Path, good_ones: int, bad_ones: int) -> None:
    """One line says of which kind."""
    good, bad = parts(data)
    with pytest.raises(PillqcError, match="9 different pictures of"):
        make_judgement(good[:good_ones], bad[:bad_ones], weights="random", size=SIZE, most=60)


def test_a_picture_that_is_good_and_bad_is_refused(data: Path, tmp_path: Path) -> None:
    """By its content, whatever its name."""
    good, bad = parts(data)
    copy = tmp_path / "copy.png"
    shutil.copy(bad[3].path, copy)
    with pytest.raises(PillqcError, match=r"copy\.png.*good"):
        make_judgement([*good, copy], bad, weights="random", size=SIZE, most=60)


def test_bad_pictures_without_any_mask_are_refused(data: Path) -> None:
    """Nobody says where their defects are."""
    good, bad = parts(data)
    without = [replace(one, mask=None) for one in bad]
    with pytest.raises(PillqcError, match="mask"):
        make_judgement(good, without, weights="random", size=SIZE, most=60)


@pytest.mark.parametrize(
    ("beside", "wanted"),
    [(trained(size=32), "32 px"), (load_model("random"), "not trained")],
    ids=["size", "untrained"],
)
def test_what_cannot_judge_beside_is_refused(data: Path, beside: LoadedModel, wanted: str) -> None:
    """One line says why."""
    good, bad = parts(data)
    with pytest.raises(PillqcError, match=wanted):
        make_judgement(good, bad, weights="random", beside=beside, size=SIZE, most=60)
