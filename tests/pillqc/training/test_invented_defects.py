"""Invented defects: on the pill, of every kind, as large as their mask says, and repeatable."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from pillqc.training import invented_defects
from pillqc.training.invented_defects import KINDS, Invented, invent, pill_area

pytestmark = pytest.mark.torch

SIDE = 96
PILL = slice(24, 72)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Five pills: a light square with a darker sign on dark ground, with grain."""
    generator = torch.Generator().manual_seed(3)
    made = 0.1 + 0.02 * torch.rand(5, 3, SIDE, SIDE, generator=generator)
    made[:, :, PILL, PILL] += 0.6
    made[:, :, 40:56, 36:42] -= 0.2
    return made


@pytest.fixture(scope="module")
def made(pictures: torch.Tensor) -> list[Invented]:
    """Ten of each kind."""
    return list(invent(pictures, 10 * len(KINDS), seed=1))


def test_pictures_and_kinds_take_turns(made: list[Invented]) -> None:
    """Every picture has every kind of defect as often."""
    assert len(made) == 10 * len(KINDS)
    assert Counter(one.source for one in made) == dict.fromkeys(range(5), 16)


def test_a_mask_is_where_the_picture_changed(pictures: torch.Tensor, made: list[Invented]) -> None:
    """A little more may change: soft edges, and what nobody sees."""
    for one in made:
        change = (one.picture - pictures[one.source]).abs().amax(0)
        assert one.picture.shape == (3, SIDE, SIDE)
        assert 0.0 <= float(one.picture.min()) <= float(one.picture.max()) <= 1.0
        assert int(one.mask.sum()) >= 6
        assert float(change[one.mask].min()) > 0.01
        assert bool((change[one.mask].mean() > change[~one.mask].mean()) | one.mask.all())


def test_defects_touch_the_pill(made: list[Invented]) -> None:
    """On the ground beside it nothing would be a defect."""
    wide = slice(PILL.start - 8, PILL.stop + 8)
    assert all(bool(one.mask[wide, wide].any()) for one in made)


def test_sizes_differ(made: list[Invented]) -> None:
    """From specks to the whole pill."""
    sizes = sorted(int(one.mask.sum()) for one in made)
    assert sizes[0] < 60
    assert sizes[-1] > 1000
    assert len(set(sizes)) > 50


def test_the_same_seed_gives_the_same(pictures: torch.Tensor, made: list[Invented]) -> None:
    """And another one others."""
    again = list(invent(pictures, 12, seed=1))
    others = list(invent(pictures, 12, seed=2))
    for one, same, other in zip(made, again, others, strict=False):
        assert torch.equal(one.picture, same.picture)
        assert torch.equal(one.mask, same.mask)
        assert not torch.equal(one.picture, other.picture)


def test_what_cannot_be_seen_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain grey picture has no part that looks different when it is turned round."""
    monkeypatch.setattr(invented_defects, "KINDS", (invented_defects._turned,))
    assert list(invent(torch.full((2, 3, SIDE, SIDE), 0.5), 4, seed=0)) == []


def test_lengths_grow_with_the_picture(pictures: torch.Tensor) -> None:
    """A scratch takes the same share of a picture of twice the side."""
    line = (invented_defects._line,)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invented_defects, "KINDS", line)
        wide = torch.nn.functional.interpolate(pictures, scale_factor=2.0)
        small = [float(one.mask.float().mean()) for one in invent(pictures, 30, seed=5)]
        large = [float(one.mask.float().mean()) for one in invent(wide, 30, seed=5)]
    assert sum(large) == pytest.approx(sum(small), rel=0.5)


def test_the_pill_is_what_is_unlike_the_edge(pictures: torch.Tensor) -> None:
    """Of pictures that are the same everywhere all of it."""
    area = pill_area(pictures)
    wanted = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    wanted[PILL, PILL] = True
    assert float((area == wanted).float().mean()) > 0.97
    assert bool(pill_area(torch.full((2, 3, SIDE, SIDE), 0.5)).all())
