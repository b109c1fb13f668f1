"""Orders are balanced, plans fit their budget, and stopping cannot see significance."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine.schedule import round_orders
from bench.errors import BenchError

participant_counts = st.integers(1, 40)
seeds = st.integers(0, 2**32)


def _cycle_length(participants: int) -> int:
    """After how many rounds the orders are exactly balanced."""
    return participants if participants % 2 == 0 or participants == 1 else 2 * participants


def _cycle(participants: int, seed: int, cycle: int = 0) -> list[tuple[str, ...]]:
    names = [f"participant {number}" for number in range(participants)]
    length = _cycle_length(participants)
    return list(islice(round_orders(names, seed=seed), cycle * length, (cycle + 1) * length))


@settings(deadline=None)
@given(participant_counts, seeds, st.integers(0, 3))
def test_every_round_runs_every_participant_once(participants: int, seed: int, cycle: int) -> None:
    """No participant is forgotten or doubled, whatever the number of participants."""
    for order in _cycle(participants, seed, cycle):
        assert sorted(order) == sorted(f"participant {number}" for number in range(participants))


@settings(deadline=None)
@given(participant_counts, seeds, st.integers(0, 3))
def test_each_has_every_position_equally_often(participants: int, seed: int, cycle: int) -> None:
    """Over a cycle a bias of position cancels exactly."""
    seen = Counter(
        (participant, place)
        for order in _cycle(participants, seed, cycle)
        for place, participant in enumerate(order)
    )
    assert len(seen) == participants * participants
    assert set(seen.values()) == {_cycle_length(participants) // participants}


@settings(deadline=None)
@given(st.integers(2, 40), seeds, st.integers(0, 3))
def test_each_follows_every_other_equally_often(participants: int, seed: int, cycle: int) -> None:
    """Over a cycle what a participant inherits from the one before it cancels exactly."""
    seen = Counter(pair for order in _cycle(participants, seed, cycle) for pair in pairwise(order))
    assert len(seen) == participants * (participants - 1)
    assert set(seen.values()) == {_cycle_length(participants) // participants}


@settings(deadline=None)
@given(st.integers(2, 40), seeds, st.integers(0, 3))
def test_linear_drift_cancels_in_round_pairs(participants: int, seed: int, cycle: int) -> None:
    """Each odd round mirrors the one before: a participant's two turns have the same middle."""
    orders = _cycle(participants, seed, cycle)
    for first, second in zip(orders[::2], orders[1::2], strict=True):
        assert second == first[::-1]
        turns = {
            participant: first.index(participant) + participants + second.index(participant)
            for participant in first
        }
        assert len(set(turns.values())) == 1


@settings(deadline=None)
@given(participant_counts, seeds)
def test_the_seed_decides_the_orders(participants: int, seed: int) -> None:
    """The same seed gives the same orders, so a run can be repeated."""
    assert _cycle(participants, seed) == _cycle(participants, seed)


def test_orders_are_shuffled_between_cycles_and_seeds() -> None:
    """A fixed order would leave a bias that no spread shows."""
    assert len({tuple(_cycle(6, seed)) for seed in range(20)}) == 20
    assert _cycle(6, 0, 0) != _cycle(6, 0, 1)


def test_rows_are_shuffled_too() -> None:
    """Positions must not advance at one pace: some drift advances at the same."""
    shapes = set()
    for seed in range(20):
        orders = _cycle(10, seed)
        shapes.add(
            tuple(tuple(orders[0].index(participant) for participant in order) for order in orders)
        )
    assert len(shapes) > 10


def test_every_participant_starts_about_equally_often_over_seeds() -> None:
    """The shuffle has no favourite: launches of one round each are balanced by chance."""
    first = Counter(_cycle(5, seed)[0][0] for seed in range(1000))
    assert min(first.values()) > 150, first


@pytest.mark.parametrize("participants", [[], ["a", "b", "a"]])
def test_impossible_participants_are_refused_at_once(participants: list[str]) -> None:
    """The error comes with the call, not with the first round."""
    with pytest.raises(BenchError, match="participant"):
        round_orders(participants, seed=0)
