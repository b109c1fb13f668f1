"""Verdicts are counted and compared with their bounds; no comparison proves nothing."""

from __future__ import annotations

import json

import pytest

from bench.analysis.comparison import Ratio
from bench.plan.scenario import Verdict
from bench.plan.thresholds import SelfcheckPolicy
from bench.selfcheck.result import Result, Tally

POLICY = SelfcheckPolicy(max_wrong_share=0.01, found_at_least={0.05: 0.9, 0.10: 1.0})


def tally(**counts: int) -> Tally:
    """So many of each verdict."""
    made = Tally()
    for verdict, count in counts.items():
        for _ in range(count):
            made.add(Verdict(verdict), None)
    return made


def held(result: Result) -> dict[str, bool | None]:
    """By what the line says."""
    return {line.what: line.held for line in result.lines()}


def test_only_a_claimed_difference_is_wrong() -> None:
    """No verdict is no wrong verdict; one that the harness refused proves nothing either way."""
    counted = tally(faster=1, slower=2, same=3, inconclusive=4, invalid=5)
    assert counted.wrong == 3
    assert (counted.comparisons, counted.invalid, counted.made) == (10, 5, 15)
    assert counted.found == 2


def test_comparisons_that_are_all_invalid_hold_nothing() -> None:
    """They were measured, and the line says how many were refused."""
    result = Result(policy=POLICY, identical=tally(invalid=299))
    result.planted = {0.05: tally(invalid=3)}
    wrong, found = ("identical, called different", "5 % slower, found")
    assert held(result)[wrong] is held(result)[found] is None
    figures = {line.what: line.figure for line in result.lines()}
    assert figures[wrong].startswith("0 of 0")
    assert "299" in figures[wrong]
    assert "3" in figures[found]
    assert result.table().count("too few to tell") == 2
    counted = json.loads(json.dumps(result.json()))["identical"]
    assert (counted["comparisons"], counted["verdicts"]["invalid"]) == (0, 299)


def test_invalid_comparisons_do_not_dilute_wrong_ones() -> None:
    """Three wrong of 200 judged are above 1 %, however many were refused."""
    result = Result(policy=POLICY, identical=tally(same=197, slower=3, invalid=300))
    assert held(result)["identical, called different"] is False


def test_how_much_slower_it_measured_is_reported_beside_what_was_planted() -> None:
    """A speedup of 1/1.05 is 5 % longer."""
    counted = Tally()
    counted.add(
        Verdict.SLOWER, Ratio(estimate=1 / 1.05, low=0.94, high=0.96, launches=5, rounds=50)
    )
    found = counted.json("found", "median_slowdown")
    assert found["median_slowdown"] == pytest.approx(0.05)
    assert found["median_half_width"] == pytest.approx(0.0105, rel=0.01)


def test_the_json_has_what_scripts_rely_on() -> None:
    """DESIGN's keys, with shares as they are written."""
    result = Result(policy=POLICY)
    result.identical = tally(same=199, faster=1)
    result.planted = {0.03: tally(same=2), 0.05: tally(slower=2), 0.10: tally(slower=2)}
    result.parent_cpu_share, result.measuring_share = 0.002, 0.9
    found = json.loads(json.dumps(result.json()))
    assert found["identical"]["comparisons"] == 200
    assert found["identical"]["wrong"] == 1
    assert set(found["planted"]) == {"0.03", "0.05", "0.1"}
    assert found["planted"]["0.05"]["comparisons"] == found["planted"]["0.05"]["found"] == 2
    assert found["parent_cpu_share"] == 0.002
    assert found["measuring_share"] == 0.9


@pytest.mark.parametrize(
    ("wrong", "of", "expected"),
    [(0, 299, True), (0, 298, None), (1, 299, None), (1, 473, True), (4, 299, False)],
)
def test_wrong_verdicts_have_a_bound(wrong: int, of: int, expected: bool | None) -> None:
    """The exact upper bound must lie below 1 %: no few comparisons prove that."""
    result = Result(policy=POLICY, identical=tally(same=of - wrong, slower=wrong))
    assert held(result)["identical, called different"] is expected
    assert ("too few to tell" in result.table()) is (expected is None)


@pytest.mark.parametrize(
    ("share", "found", "of", "expected"),
    [
        (0.05, 1, 1, None),
        (0.05, 0, 1, None),
        (0.05, 28, 28, None),
        (0.05, 29, 29, True),
        (0.05, 9, 10, None),
        (0.05, 6, 10, False),
        (0.10, 10, 10, None),
        (0.10, 9, 10, False),
        (0.03, 0, 10, None),
    ],
)
def test_found_slowdowns_have_bounds(
    share: float, found: int, of: int, expected: bool | None
) -> None:
    """By exact bounds, as wrong verdicts: 9 of 10 may be 99 % or 61 %. 3 % has no bound."""
    result = Result(policy=POLICY, planted={share: tally(slower=found, same=of - found)})
    assert held(result)[f"{100 * share:g} % slower, found"] is expected


def test_what_was_not_measured_is_not_held() -> None:
    """No comparison is no proof, in the table as in the object."""
    result = Result(policy=POLICY, planted={0.05: Tally()})
    assert set(held(result).values()) == {None}
    assert result.table().count("not measured") == 6
    json.dumps(result.json())


def test_the_table_says_what_is_not_held_and_its_notes() -> None:
    """A reader needs no legend."""
    result = Result(policy=POLICY, identical=tally(same=1, faster=1), notes=["Interrupted."])
    result.parent_cpu_share = 0.02
    text = result.table()
    assert "1 of 2: at most 97.5 %" in text
    assert text.count("NOT HELD") == 2
    assert text.endswith("Interrupted.")
