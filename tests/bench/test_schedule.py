"""Orders are balanced, plans fit their budget, and stopping cannot see significance."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.schedule import GroupCost, cycle_length, next_launch, round_orders, should_stop

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


costs_lists = st.lists(
    st.builds(GroupCost, fixed_s=st.floats(0, 60), round_s=st.floats(0.1, 60)),
    min_size=1,
    max_size=8,
)


launch_cases = (
    st.floats(0, 2000),
    st.integers(1, 5),
    costs_lists,
    st.integers(1, 5),
    st.integers(5, 40),
)


def launch_s(rounds: tuple[int, ...], costs: list[GroupCost]) -> float:
    """What a launch with these rounds takes."""
    return sum(
        cost.fixed_s + count * cost.round_s
        for count, cost in zip(rounds, costs, strict=True)
        if count
    )


@settings(deadline=None)
@given(*launch_cases)
def test_a_launch_fits_and_keeps_the_bounds(
    remaining_s: float, launches: int, costs: list[GroupCost], low: int, high: int
) -> None:
    """The time is never exceeded, and a group has none or at least the minimum of rounds."""
    rounds = next_launch(remaining_s, launches, costs, min_rounds=low, max_rounds=high)
    assert launch_s(rounds, costs) <= remaining_s + 1e-6
    assert all(count == 0 or low <= count <= high for count in rounds)


@settings(deadline=None)
@given(*launch_cases)
def test_groups_that_fit_at_all_are_not_left_out_for_surplus(
    remaining_s: float, launches: int, costs: list[GroupCost], low: int, high: int
) -> None:
    """Nobody has a round above the minimum in the last launch while a group's minimum would fit."""
    rounds = next_launch(remaining_s, 1, costs, min_rounds=low, max_rounds=high)
    least = tuple(low if count else 0 for count in rounds)
    left_s = remaining_s - launch_s(least, costs)
    for count, cost in zip(rounds, costs, strict=True):
        assert count or cost.fixed_s + low * cost.round_s > left_s


@settings(deadline=None)
@given(*launch_cases)
def test_launches_planned_one_after_the_other_fit_together(
    remaining_s: float, launches: int, costs: list[GroupCost], low: int, high: int
) -> None:
    """What is promised to later launches is still there when they come."""
    left_s = remaining_s
    had: list[tuple[int, ...]] = []
    for left in range(launches, 0, -1):
        had.append(next_launch(left_s, left, costs, min_rounds=low, max_rounds=high))
        left_s -= launch_s(had[-1], costs)
    assert left_s >= -1e-6
    if launches * launch_s((low,) * len(costs), costs) <= remaining_s:
        assert all(all(rounds) for rounds in had)


def test_surplus_goes_where_a_second_narrows_most() -> None:
    """Many wide intervals and cheap rounds draw it; a precise group gets nothing."""

    def split(*costs: GroupCost) -> tuple[int, ...]:
        return next_launch(100, 1, list(costs), min_rounds=2, max_rounds=60)

    plain = GroupCost(fixed_s=0, round_s=1, wide=(0.1,) * 4, rounds=10)
    assert split(plain, plain) == (50, 50)
    first, second = split(replace(plain, wide=(0.1,) * 12), plain)
    assert first > second > 2
    first, second = split(replace(plain, round_s=4), plain)
    assert second > 2 * first
    assert split(replace(plain, wide=()), plain) == (2, 60), "what is precise keeps its minimum"


def test_the_first_groups_get_all_their_launches_before_the_last_gets_one() -> None:
    """Two launches of the first take 80 of 100 s; the second's 30 s do not fit even once."""
    costs = [GroupCost(fixed_s=10, round_s=10), GroupCost(fixed_s=0, round_s=10)]
    assert next_launch(100, 2, costs, min_rounds=3, max_rounds=3) == (3, 0)
    assert next_launch(110, 2, costs, min_rounds=3, max_rounds=3) == (3, 3)


def test_bounds_that_contradict_are_read_as_the_smaller() -> None:
    """The limit of rounds holds, and a measured group has at least one."""
    costs = [GroupCost(fixed_s=1, round_s=1)]
    assert next_launch(100, 1, costs, min_rounds=5, max_rounds=2) == (2,)
    assert next_launch(1.5, 1, costs, min_rounds=0, max_rounds=2) == (0,)
    assert next_launch(2.5, 1, costs, min_rounds=0, max_rounds=2) == (1,)


def test_nothing_fits_into_no_time() -> None:
    """A budget too small for anything leaves every group out instead of failing."""
    costs = [GroupCost(fixed_s=1, round_s=1)]
    assert next_launch(0, 3, costs, min_rounds=3, max_rounds=9) == (0,)


def _stop(half_widths: list[float], rounds: int = 5, left: float = 100.0) -> str | None:
    return should_stop(
        half_widths,
        target=0.02,
        rounds=rounds,
        min_rounds=3,
        max_rounds=12,
        deadline_left_s=left,
        round_cost_s=10,
    )


@pytest.mark.parametrize(
    ("half_widths", "rounds", "left", "reason"),
    [
        ([0.02, 0.01], 5, 100, "within +/-2 %"),
        ([0.0201, 0.01], 5, 100, None),
        ([0.01], 2, 100, None),
        ([0.01], 3, 100, "within +/-2 %"),
        ([], 5, 100, None),
        ([float("inf")], 5, 100, None),
        ([0.5], 11, 100, None),
        ([0.5], 12, 100, "limit of 12 rounds"),
        ([0.5], 5, 10, None),
        ([0.5], 5, 9.9, "budget"),
        ([0.5], 1, 9.9, "budget"),
    ],
)
def test_rounds_end_on_precision_limit_or_budget(
    half_widths: list[float], rounds: int, left: float, reason: str | None
) -> None:
    """Each rule at its boundary; the widest interval decides, and the budget before all."""
    got = _stop(half_widths, rounds, left)
    assert (got is None) if reason is None else (got is not None and reason in got)


def test_stopping_takes_no_estimate() -> None:
    """What it does not take it cannot peek at: stopping on significance is biased."""
    parameters = list(inspect.signature(should_stop).parameters)
    bounds = ["rounds", "min_rounds", "max_rounds", "deadline_left_s", "round_cost_s"]
    assert parameters == ["half_widths", "target", *bounds]
