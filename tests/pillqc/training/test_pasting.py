"""A pasted defect lies where its mask says, looks as it did, and brings nothing else along."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pillqc.training.pasting import FARTHEST, Move, draw_move, pasted

pytestmark = pytest.mark.torch

SIDE = 64


def _disc(row: int, column: int, radius: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def _flat(level: float) -> torch.Tensor:
    return torch.full((3, SIDE, SIDE), level)


def test_a_defect_comes_with_its_contrast_and_without_its_light() -> None:
    """A spot .8 below its own surroundings is .8 below the new ones, which stay as they are."""
    mask = _disc(30, 20, 5)
    bad = torch.where(mask, _flat(-0.3), _flat(0.5))
    move = Move(shift=(4, 10))
    made = pasted(_flat(1.5), bad, mask, move)
    assert torch.allclose(made[:, 34, 30], torch.tensor(0.7), atol=1e-5)
    there = move.of(mask)
    assert torch.allclose(made[:, there].mean(), torch.tensor(0.7), atol=0.05)
    assert torch.allclose(made[:, ~_disc(34, 30, 14)], torch.tensor(1.5), atol=1e-6)


def test_the_light_of_each_place_is_its_own() -> None:
    """A long scratch has its contrast at both ends of a pill that is lit from one side."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[31:33, 8:56] = True
    lit = torch.linspace(0.0, 2.0, SIDE).expand(3, SIDE, SIDE)
    made = pasted(lit, torch.where(mask, _flat(0.3), _flat(0.8)), mask, Move())
    along = (made - lit)[:, 31, 14:50]
    assert torch.allclose(along, torch.tensor(-0.5), atol=0.1)


def test_without_a_defect_nothing_is_pasted() -> None:
    """An empty mask leaves the picture as it is, bit by bit."""
    nothing = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    onto = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(pasted(onto, _flat(9.0), nothing, Move()), onto)


def test_a_part_of_the_same_light_leaves_no_seam() -> None:
    """What is pasted from a picture of the same surface in another light cannot be seen."""
    surface = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    made = pasted(surface, surface + 0.7, _disc(30, 30, 8), Move())
    assert torch.allclose(made, surface, atol=1e-5)


def test_a_mirrored_defect_lies_on_the_other_side() -> None:
    """Upside down and left to right are the two axes of a picture."""
    mask = _disc(10, 20, 3)
    assert torch.equal(Move(mirrored=(True, False)).of(mask), _disc(SIDE - 1 - 10, 20, 3))
    assert torch.equal(Move(mirrored=(False, True)).of(mask), _disc(10, SIDE - 1 - 20, 3))


def test_what_leaves_on_one_side_does_not_enter_on_the_other() -> None:
    """A chip at the rim of the picture is no chip at the opposite rim."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[:2, :2] = True
    assert not Move(shift=(-2, 0)).of(mask).any()
    assert not Move(shift=(0, -2)).of(mask).any()
    assert Move(shift=(SIDE - 2, SIDE - 2)).of(mask)[-2:, -2:].all()


@given(seed=st.integers(0, 2**31))
def test_a_defect_stays_near_its_place_or_that_place_in_a_mirror(seed: int) -> None:
    """It is whole, so that its label holds, and on the pill."""
    mask = _disc(20, 40, 6)
    move = draw_move(torch.Generator().manual_seed(seed), side=SIDE)
    moved = move.of(mask)
    assert moved.sum() == mask.sum()
    places = torch.nonzero(moved).float()
    at = (SIDE - 1 - 20 if move.mirrored[0] else 20, SIDE - 1 - 40 if move.mirrored[1] else 40)
    assert (places.mean(0) - torch.tensor(at)).abs().max() <= FARTHEST * SIDE + 0.5


def test_moves_are_repeatable_and_differ() -> None:
    """One seed gives one move, and many seeds show a defect in many places."""
    moves = [draw_move(torch.Generator().manual_seed(seed), side=224) for seed in range(50)]
    assert moves[7] == draw_move(torch.Generator().manual_seed(7), side=224)
    assert len({move.mirrored for move in moves}) == 4
    assert len({move.shift for move in moves}) > 40
