"""What pictures of good pills are compared with, and how unusual a good pill may be."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from pillqc.errors import PillqcError
from pillqc.inspection.prediction import Prediction, predict
from pillqc.training.comparing import low_limits, make_comparison, score_limits

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("count", [10, 60])
def test_one_good_pill_of_a_hundred_exceeds_the_threshold(count: int) -> None:
    """On average over sets of good pictures, whatever their number: Student's t."""
    rng = np.random.default_rng(count)
    shares = []
    for _ in range(2_000):
        typical, limits = score_limits(rng.normal(9.0, 1.0, count), [0.01], mixed=False)
        shares.append(stats.norm.sf(limits[0.01], 9.0))
        assert typical < limits[0.01]
    assert np.mean(shares) == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize("bad", [0.0, 0.1, 0.3, 0.5])
def test_bad_pills_among_them_move_the_threshold_little(bad: float) -> None:
    """Up to half of them: few good pills are called bad, and most bad ones are."""
    rng = np.random.default_rng(7)
    rejected, missed = [], []
    for _ in range(300):
        good, worse = 0.2 * rng.gumbel(size=200), rng.normal(2.5, 0.7, 200)
        scores = np.exp(np.where(rng.random(200) < bad, worse, good))
        _, limits = score_limits(scores, [0.01], mixed=True)
        rejected.append(stats.gumbel_r.sf(np.log(limits[0.01]) / 0.2))
        missed.append(stats.norm.cdf(np.log(limits[0.01]), 2.5, 0.7))
    assert np.mean(rejected) < 0.03
    assert np.mean(missed) < 0.15


@pytest.mark.parametrize("bad", [0.0, 0.1, 0.3, 0.5])
def test_low_evidence_alone_sets_the_limits(bad: float) -> None:
    """Up to half of the pills may be bad: few good ones are called bad, and most bad ones are."""
    rng = np.random.default_rng(8)
    rejected, missed = [], []
    for _ in range(300):
        good, worse = rng.normal(-4.0, 1.5, 200), rng.normal(4.0, 2.0, 200)
        limit = low_limits(np.where(np.arange(200) < 200 * bad, worse, good), [0.01])[0.01]
        rejected.append(stats.norm.sf(limit, -4.0, 1.5))
        missed.append(stats.norm.cdf(limit, 4.0, 2.0))
    assert np.mean(rejected) < 0.03
    assert np.mean(missed) < 0.05


def test_the_limits_of_many_low_values_are_those_of_a_normal_distribution() -> None:
    """Its shortest third lies about its middle."""
    limits = low_limits(np.random.default_rng(3).normal(2.0, 0.5, 100_000), [0.01, 0.1])
    for share, limit in limits.items():
        assert stats.norm.sf(limit, 2.0, 0.5) == pytest.approx(share, rel=0.2)


def test_the_scale_of_low_scores_is_that_of_a_gumbel_distribution() -> None:
    """From many good scores the limits are those of their distribution, or a little higher.

    A Gumbel distribution leans to the right, and so does its shortest third.
    """
    scores = np.exp(0.3 * np.random.default_rng(1).gumbel(size=100_000))
    typical, limits = score_limits(scores, [0.01, 0.1], mixed=True)
    assert typical == pytest.approx(1.0, abs=0.05)
    for share, limit in limits.items():
        assert 0.7 * share < (scores > limit).mean() < share


@given(scale=st.floats(0.01, 100.0), seed=st.integers(0, 100), mixed=st.booleans())
def test_the_unit_of_the_scores_does_not_matter(scale: float, seed: int, mixed: bool) -> None:
    """Stretched scores stretch the typical one and the limits."""
    scores = np.exp(np.random.default_rng(seed).normal(size=30))
    typical, limits = score_limits(scores, [0.01], mixed=mixed)
    stretched = score_limits(scale * scores, [0.01], mixed=mixed)
    assert stretched[0] == pytest.approx(scale * typical)
    assert stretched[1][0.01] == pytest.approx(scale * limits[0.01])


@pytest.mark.parametrize("mixed", [False, True])
def test_equal_scores_are_refused(mixed: bool) -> None:
    """They say nothing of how pills differ."""
    with pytest.raises(PillqcError, match="do not differ"):
        score_limits(np.full(20, 0.1), [0.01], mixed=mixed)


def test_a_third_of_equal_pictures_is_refused() -> None:
    """Files of other bytes may hold the same picture, whose distance is about 0."""
    scores = np.r_[np.zeros(5), -1e-8, 0.0, np.linspace(0.1, 0.4, 13)]
    with pytest.raises(PillqcError, match="do not differ"):
        score_limits(scores, [0.01], mixed=True)


@pytest.fixture(scope="module")
def tray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 grey pills of 64 px, each with its own noise, of which the last four have a black spot."""
    folder = tmp_path_factory.mktemp("tray")
    for number in range(24):
        rng = np.random.default_rng(number)
        pixels = rng.normal(120.0, 4.0, (64, 64, 3))
        pixels[16:48, 16:48] += 80.0
        if number >= 20:
            pixels[26:40, 24 + number % 4 : 38] = 10.0
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
    return folder


def judged(tray: Path, model: object) -> tuple[list[float], list[Prediction]]:
    """Return the probabilities of bad, good pills first, and the predictions."""
    found = list(predict(model, sorted(tray.iterdir()), size=64))  # type: ignore[arg-type] # a comparing model
    done = [one for one in found if isinstance(one, Prediction)]
    return [one.bad for one in done], done


def test_good_pictures_alone_find_a_defect_and_its_place(tray: Path) -> None:
    """Even by random features, where pills are equal up to noise."""
    good = sorted(tray.iterdir())[:14]
    made = make_comparison(good, weights="random", size=64, most=200)
    bad, done = judged(tray, made.model)
    assert max(bad[14:20]) < made.card.threshold <= min(bad[20:])
    for one in done[20:]:
        row, column = np.unravel_index(one.heat.argmax(), one.heat.shape)
        assert 16 <= row < 48
        assert 16 <= column < 48
    assert np.median(bad[14:20]) == pytest.approx(0.01, abs=0.02)
    assert (made.pictures, made.called_bad) == (14, 0)
    assert made.card.compares == {"pictures": 14, "mixed": False, "features": "random"}


def test_unsorted_pictures_find_their_own_defects(tray: Path) -> None:
    """What four of 24 have is rare among them; nothing is left out of judging them."""
    made = make_comparison(sorted(tray.iterdir()), weights="random", size=64, mixed=True, most=200)
    bad, _ = judged(tray, made.model)
    assert max(bad[:20]) < min(bad[20:])
    assert made.called_bad == sum(one >= made.card.threshold for one in bad)
    assert made.card.seen == ""


def test_copies_count_once_and_unreadable_files_are_told(tray: Path, tmp_path: Path) -> None:
    """A copy would make its picture look usual."""
    folder = shutil.copytree(tray, tmp_path / "tray")
    shutil.copy(folder / "00.png", folder / "90.png")
    (folder / "91.png").write_bytes(b"no picture")
    notes: list[str] = []
    steps: list[tuple[int, int]] = []
    made = make_comparison(
        sorted(folder.iterdir()),
        weights="random",
        size=64,
        most=200,
        on_note=notes.append,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert made.pictures == 24
    assert len(notes) == 1
    assert "91.png" in notes[0]
    assert steps[-1] == (24, 25)


def test_at_most_so_many_are_kept_evenly_spaced(tray: Path) -> None:
    """The first pictures alone could be of one hour."""
    made = make_comparison(sorted(tray.iterdir()), weights="random", size=64, most=12)
    assert made.pictures == 12
    assert made.model.references.shape == (64, 12, 256)


@pytest.mark.parametrize(("count", "mixed"), [(9, False), (19, True)])
def test_too_few_pictures_are_refused(tray: Path, count: int, mixed: bool) -> None:
    """They do not show how much good pills differ."""
    with pytest.raises(PillqcError, match=f"{count} different pictures"):
        make_comparison(
            sorted(tray.iterdir())[:count], weights="random", size=64, mixed=mixed, most=200
        )
