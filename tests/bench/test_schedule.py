"""Orders are balanced, plans fit their budget, and stopping cannot see significance."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.schedule import cycle_length, round_orders

lane_counts = st.integers(1, 40)
seeds = st.integers(0, 2**32)


def _cycle(lanes: int, seed: int, cycle: int = 0) -> list[tuple[str, ...]]:
    names = [f"lane {number}" for number in range(lanes)]
    length = cycle_length(lanes)
    return list(islice(round_orders(names, seed=seed), cycle * length, (cycle + 1) * length))


@settings(deadline=None)
@given(lane_counts, seeds, st.integers(0, 3))
def test_every_round_runs_every_lane_once(lanes: int, seed: int, cycle: int) -> None:
    """No lane is forgotten or doubled, whatever the number of lanes."""
    for order in _cycle(lanes, seed, cycle):
        assert sorted(order) == sorted(f"lane {number}" for number in range(lanes))


@settings(deadline=None)
@given(lane_counts, seeds, st.integers(0, 3))
def test_every_lane_stands_at_every_position_equally_often(
    lanes: int, seed: int, cycle: int
) -> None:
    """Over a cycle a bias of position cancels exactly."""
    seen = Counter(
        (lane, place) for order in _cycle(lanes, seed, cycle) for place, lane in enumerate(order)
    )
    assert len(seen) == lanes * lanes
    assert set(seen.values()) == {cycle_length(lanes) // lanes}


@settings(deadline=None)
@given(st.integers(2, 40), seeds, st.integers(0, 3))
def test_every_lane_follows_every_other_equally_often(lanes: int, seed: int, cycle: int) -> None:
    """Over a cycle what a lane inherits from the one before it cancels exactly."""
    seen = Counter(pair for order in _cycle(lanes, seed, cycle) for pair in pairwise(order))
    assert len(seen) == lanes * (lanes - 1)
    assert set(seen.values()) == {cycle_length(lanes) // lanes}


@settings(deadline=None)
@given(st.integers(2, 40), seeds, st.integers(0, 3))
def test_linear_drift_cancels_in_every_pair_of_rounds(lanes: int, seed: int, cycle: int) -> None:
    """Each odd round mirrors the one before: a lane's two turns have the same middle."""
    orders = _cycle(lanes, seed, cycle)
    for first, second in zip(orders[::2], orders[1::2], strict=True):
        assert second == first[::-1]
        turns = {lane: first.index(lane) + lanes + second.index(lane) for lane in first}
        assert len(set(turns.values())) == 1


@settings(deadline=None)
@given(lane_counts, seeds)
def test_the_seed_decides_the_orders(lanes: int, seed: int) -> None:
    """The same seed gives the same orders, so a run can be repeated."""
    assert _cycle(lanes, seed) == _cycle(lanes, seed)


def test_orders_are_shuffled_between_cycles_and_seeds() -> None:
    """A fixed order would leave a bias that no spread shows."""
    assert len({tuple(_cycle(6, seed)) for seed in range(20)}) == 20
    assert _cycle(6, 0, 0) != _cycle(6, 0, 1)


def test_rows_are_shuffled_too() -> None:
    """Lanes must not march through the positions at one pace: some drift marches at the same."""
    shapes = set()
    for seed in range(20):
        orders = _cycle(10, seed)
        shapes.add(tuple(tuple(orders[0].index(lane) for lane in order) for order in orders))
    assert len(shapes) > 10


def test_every_lane_starts_about_equally_often_over_seeds() -> None:
    """The shuffle has no favourite: launches of one round each are balanced by chance."""
    first = Counter(_cycle(5, seed)[0][0] for seed in range(1000))
    assert min(first.values()) > 150, first


@pytest.mark.parametrize("lanes", [[], ["a", "b", "a"]])
def test_impossible_lanes_are_refused_at_once(lanes: list[str]) -> None:
    """The error comes with the call, not with the first round."""
    with pytest.raises(BenchError, match="lane"):
        round_orders(lanes, seed=0)
