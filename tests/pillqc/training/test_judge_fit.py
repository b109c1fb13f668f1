"""A judge learns which differences are defects, and is judged by pictures that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pytest
import torch

from pillqc.model.judging import FEATURES, evidence, pill_evidence
from pillqc.training import judge_fit
from pillqc.training.judge_fit import Lesson, fit_judge, held_out_scores

pytestmark = pytest.mark.torch

SIDE: Final = 6
SPECKS, DEFECTS = slice(0, 20), slice(20, 40)
"""Features in which specks of good pills differ, and defects."""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit of a tenth of the steps."""
    monkeypatch.setattr(judge_fit, "SHOWN", 480)


def lesson(count: int = 24, *, known: bool = True) -> Lesson:
    """Return pictures with specks everywhere, of which the second half have a defect, too."""
    generator = torch.Generator().manual_seed(count)
    differences = 0.002 * torch.rand(count, FEATURES, SIDE, SIDE, generator=generator)
    specks = torch.rand(count, SIDE, SIDE, generator=generator) < 0.2
    differences[:, SPECKS] += 0.02 * specks[:, None]
    cells = torch.zeros(count, SIDE, SIDE)
    bad = torch.arange(count) >= count // 2
    cells[bad, 2:4, 1:4] = 1.0
    differences[:, DEFECTS] += 0.005 * cells[:, None]
    differences[:, FEATURES - 1] = 0.0  # a feature that never differs
    if not known:
        cells[bad] = torch.nan
    return Lesson(differences=differences, cells=cells, bad=bad, group=torch.arange(count))


def test_specks_of_good_pills_are_no_defects() -> None:
    """They differ four times as much as the defect does, and the judge tells which is which."""
    judge = fit_judge(lesson(24))
    fresh = lesson(40)
    found = evidence(judge(fresh.differences))
    scores = pill_evidence(found)
    assert scores[fresh.bad].min() > scores[~fresh.bad].max()
    places = found[fresh.bad].flatten(1).argmax(1)
    rows, columns = places // SIDE, places % SIDE
    assert bool(((rows >= 1) & (rows <= 4) & (columns <= 4)).all())


def test_pictures_without_a_mask_teach_too() -> None:
    """By having a defect somewhere."""
    judge = fit_judge(lesson(40, known=False))
    fresh = lesson(60)
    scores = pill_evidence(evidence(judge(fresh.differences)))
    assert float(scores[fresh.bad].mean()) > 0.0 > float(scores[~fresh.bad].mean())


def test_the_same_seed_gives_the_same_judge() -> None:
    """And leaves the caller's random numbers alone."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other, third = (fit_judge(lesson(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    first, other_first = next(one.parameters()), next(third.parameters())
    assert not torch.equal(first, other_first)


def test_its_weights_fit_into_half_precision() -> None:
    """Even where a feature never differs."""
    judge = fit_judge(lesson())
    assert all(bool(p.half().isfinite().all()) for p in judge.parameters())


def test_every_picture_is_scored_once_by_a_judge_that_has_not_seen_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each fold leaves out others, good and bad ones alike."""
    whole = lesson(24)
    left_out = []

    def told(part: Lesson, *, seed: int) -> torch.nn.Sequential:
        seen = {tuple(row) for row in part.differences[:, :, 0, 0].tolist()}
        missing = [
            index
            for index, row in enumerate(whole.differences[:, :, 0, 0].tolist())
            if tuple(row) not in seen
        ]
        left_out.append(missing)
        assert int(part.bad.sum()) == 9
        return fit_judge(part, seed=seed)

    monkeypatch.setattr(judge_fit, "fit_judge", told)
    folds: list[int] = []
    scores = held_out_scores(whole, on_fold=folds.append)
    assert sorted(one for missing in left_out for one in missing) == list(range(24))
    assert [len(missing) for missing in left_out] == [6, 6, 6, 6]
    assert folds == list(range(1, judge_fit.FOLDS + 1))
    assert np.isfinite(scores).all()
    assert scores[whole.bad.numpy()].mean() > scores[~whole.bad.numpy()].mean()


def test_pictures_that_do_not_teach_are_scored_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No judge learns from them, whatever their labels."""
    monkeypatch.setattr(judge_fit, "SHOWN", 40)
    whole = lesson(24)
    teaching = torch.arange(24) % 3 > 0
    spoilt = replace(whole, cells=whole.cells.clone(), bad=whole.bad.clone())
    spoilt.cells[~teaching] = 1.0
    one = held_out_scores(whole, teaching=teaching)
    np.testing.assert_array_equal(held_out_scores(spoilt, teaching=teaching), one)
    assert np.isfinite(one).all()
    assert (held_out_scores(spoilt) != held_out_scores(whole)).any()


def test_noise_is_not_learnt() -> None:
    """Where good and bad do not differ, held-out pictures are told apart by chance."""
    whole = lesson(40)
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(whole.differences.shape, generator=generator)
    scores = held_out_scores(replace(whole, differences=noise))
    bad = whole.bad.numpy()
    above = (scores[bad][:, None] > scores[~bad][None]).mean()
    assert 0.2 < above < 0.8


def test_a_group_is_left_out_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made of a picture would tell of it: one of its specks, for example."""
    whole = lesson(24)
    good = whole.group[~whole.bad]
    whole = replace(whole, group=torch.cat([good, good.flip(0)[:8], torch.arange(100, 104)]))
    learnt: list[set[int]] = []

    def told(part: Lesson, *, seed: int) -> torch.nn.Sequential:
        learnt.append(set(part.group.tolist()))
        return fit_judge(part, seed=seed)

    monkeypatch.setattr(judge_fit, "SHOWN", 40)
    monkeypatch.setattr(judge_fit, "fit_judge", told)
    held_out_scores(whole)
    every = set(whole.group.tolist())
    left_out = [every - part for part in learnt]
    assert sorted(group for part in left_out for group in part) == sorted(every)
    assert [len(part & set(good.tolist())) for part in left_out] == [3, 3, 3, 3]
