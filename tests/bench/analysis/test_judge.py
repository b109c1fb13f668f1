"""The one judge: verdicts from intervals, objections to a comparison, the best of families."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis import verdicts
from bench.analysis.comparison import Comparison, Ratio
from bench.analysis.judge import Judge, level, mean_ratio
from bench.analysis.measurements import Measurements
from bench.errors import BenchError
from bench.plan.scenario import Verdict
from bench.plan.thresholds import DEFAULT, Policy, VerdictPolicy
from tests.known import known

BASE, CONTROL = "base", "base#control"
Group = dict[str, dict[tuple[int, int], float]]


def group(
    speeds: dict[str, float],
    *,
    seed: int = 0,
    process: float = 0.004,
    block: float = 0.01,
    launches: int = 3,
    rounds: int = 6,
) -> Group:
    """Participants with these times relative to 100 ms, with luck of processes and blocks."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 0.05, (launches, rounds))
    found: Group = {}
    for name, time in speeds.items():
        own = rng.normal(0, process, launches)
        found[name] = {
            (launch, place): float(
                100 * time * math.exp(own[launch] + shared[launch, place] + rng.normal(0, block))
            )
            for launch in range(launches)
            for place in range(rounds)
        }
    return found


def judge(participants: Group, policy: Policy = DEFAULT, **more: object) -> Judge:
    """Of one group."""
    return Judge(Measurements(groups={"": participants}, **more), policy)  # type: ignore[arg-type] # any field


def best(one: Judge, ours: list[str], theirs: list[str], **more: str) -> Comparison:
    """The best of two families, which there must be."""
    return known(one.best(ours, theirs, **more))  # type: ignore[arg-type] # `named` alone


EQUAL = {BASE: 1.0, CONTROL: 1.0, "a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}


@pytest.mark.parametrize(
    ("time", "verdict"),
    [(0.8, "faster"), (0.95, "faster"), (1.0, "same"), (1.06, "slower"), (1.5, "slower")],
)
def test_a_verdict_follows_from_the_interval(time: float, verdict: str) -> None:
    """With half-widths of about a percent."""
    found = judge(group({**EQUAL, "a": time})).compare("a", BASE)
    assert found.verdict == verdict
    assert found.reason is None
    assert found.low < 1 / time < found.high


RULE = VerdictPolicy()
EDGES = [
    (1 + RULE.minimal_effect, 1.2, "inconclusive"),
    (1 + RULE.minimal_effect + 1e-6, 1.2, "faster"),
    (0.8, 1 / (1 + RULE.minimal_effect), "inconclusive"),
    (0.8, 1 / (1 + RULE.minimal_effect) - 1e-6, "slower"),
    (1 / (1 + RULE.same_within), 1 + RULE.same_within, "same"),
    (1 / (1 + RULE.same_within) - 1e-6, 1 + RULE.same_within, "inconclusive"),
    (1.006, 1.02, "faster"),
    (0.0, math.inf, "inconclusive"),
]


@pytest.mark.parametrize(("low", "high", "verdict"), EDGES)
def test_every_edge_of_the_rule(low: float, high: float, verdict: str) -> None:
    """The whole interval must lie beyond the minimal effect, or within what counts as the same."""
    middle = math.sqrt(low * high) if low > 0 and high < math.inf else 1.0
    ratio = Ratio(estimate=middle, low=low, high=high, launches=3, rounds=9)
    assert verdicts.by_interval(ratio, RULE) == verdict


def test_at_least_is_the_end_nearer_to_one() -> None:
    """What may be promised; nothing where no difference was shown."""
    ratio = Ratio(estimate=1.2, low=1.1, high=1.3, launches=3, rounds=9)
    made = Comparison(scenario="a", baseline="b", ratio=ratio, verdict=Verdict.FASTER)
    assert made.at_least == pytest.approx(0.1)
    assert made.inverted.verdict == "slower"
    assert made.inverted.at_least == pytest.approx(1 - 1 / 1.1)
    assert replace(made, verdict=Verdict.INCONCLUSIVE).at_least is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 500), st.floats(0.9, 1.1))
def test_verdicts_mirror_when_the_participants_are_swapped(seed: int, time: float) -> None:
    """Faster one way is slower the other."""
    one = judge(group({"x": 1.0, "y": time, "a": 1.0, "b": 1.0}, seed=seed))
    there, back = one.compare("y", "x"), one.compare("x", "y")
    assert there.inverted.verdict == back.verdict
    assert there.inverted.estimate == pytest.approx(back.estimate)
    assert there.inverted.low == pytest.approx(back.low)


def test_what_is_open_says_what_would_decide_it() -> None:
    """So many further processes, and their seconds where the run knows what a process takes."""
    wide = group(EQUAL, block=0.05, rounds=3, launches=2)
    found = judge(wide, process_s=dict.fromkeys(EQUAL, 10.0)).compare("a", BASE)
    assert found.verdict == "inconclusive"
    assert found.seconds_to_decide is not None
    assert found.seconds_to_decide % 30 == 0  # of the participant, the baseline and its control
    assert "further process" in (found.reason or "")
    assert judge(wide).compare("a", BASE).seconds_to_decide is None


def test_more_processes_decide_what_was_open() -> None:
    """With twice as many processes as it names, the comparison is decided."""
    few = judge(
        group(EQUAL, block=0.02, process=0.01, launches=2), process_s=dict.fromkeys(EQUAL, 1.0)
    ).compare("a", BASE)
    assert few.verdict == "inconclusive"
    asked = round((few.seconds_to_decide or 0) / 3)
    many = judge(group(EQUAL, block=0.02, process=0.01, launches=2 + 2 * asked)).compare("a", BASE)
    assert many.verdict == "same"


def test_a_baseline_counts_with_its_control() -> None:
    """Both are processes of one scenario, so the interval is narrower than over one of them."""
    participants = group(EQUAL, process=0.02, launches=6)
    both = judge(participants).compare("a", BASE).known
    alone = judge({k: v for k, v in participants.items() if k != CONTROL}).compare("a", BASE).known
    assert both.standard_error is not None
    assert alone.standard_error is not None
    assert both.standard_error < 0.95 * alone.standard_error


def test_a_control_over_its_own_baseline_is_those_two_alone() -> None:
    """And not half of itself."""
    participants = group({**EQUAL, CONTROL: 1.1})
    assert judge(participants).compare(CONTROL, BASE).estimate == pytest.approx(1 / 1.1, rel=0.02)


def test_an_unusable_participant_is_invalid_on_either_side() -> None:
    """With its reason; as a baseline it is named."""
    one = judge(group({**EQUAL, "a": 0.5}), unusable={"a": "its outputs differ"})
    assert (one.compare("a", BASE).verdict, one.compare("a", BASE).reason) == (
        "invalid",
        "its outputs differ",
    )
    against = one.compare("b", "a")
    assert against.verdict == "invalid"
    assert "its outputs differ" in (against.reason or "")


def test_an_unchecked_participant_is_inconclusive() -> None:
    """However clear its interval is."""
    found = judge(group({**EQUAL, "a": 0.5}), unchecked={"a": "not checked"}).compare("a", BASE)
    assert (found.verdict, found.reason) == ("inconclusive", "not checked")


@pytest.mark.parametrize(
    ("rounds", "verdict"), [(1, "inconclusive"), (2, "inconclusive"), (3, "faster")]
)
def test_three_rounds_are_needed(rounds: int, verdict: str) -> None:
    """And enough, if the others' processes show how processes differ."""
    participants = group({**EQUAL, "a": 0.5}, launches=4)
    participants["a"] = {
        key: ms for key, ms in participants["a"].items() if key[0] == 0 and key[1] < rounds
    }
    found = judge(participants).compare("a", BASE)
    assert (found.verdict, found.rounds) == (verdict, rounds)
    assert found.known.borrowed


def test_one_round_has_no_interval() -> None:
    """Nothing narrows it: it must not look like an answer."""
    participants = group({**EQUAL, "a": 0.5}, launches=1)
    participants["a"] = {(0, 0): participants["a"][0, 0]}
    found = judge(participants).compare("a", BASE)
    assert (found.low, found.high) == (0.0, math.inf)


def test_no_common_round_is_no_ratio() -> None:
    """Launches of their own are compared with nothing."""
    participants = group(EQUAL)
    participants["a"] = {(9, place): ms for (_, place), ms in participants["a"].items()}
    found = judge(participants).compare("a", BASE)
    assert (found.ratio, found.verdict, found.rounds) == (None, "inconclusive", 0)


def test_a_failed_check_makes_the_whole_group_invalid() -> None:
    """Two identical workers that differ by 10 % in every process: the machine favoured one."""
    one = judge(group({**EQUAL, CONTROL: 1.1, "a": 0.5}))
    assert one.compare("a", BASE).verdict == "invalid"
    assert one.compare("b", "c").verdict == "invalid"
    check = known(one.check("", BASE))
    assert check.ratio is not None
    assert (check.ratio.p_value or 1) < 0.001


def test_a_control_that_differs_by_luck_changes_nothing() -> None:
    """A one-degree-of-freedom lottery is no margin: the verdict is the interval's."""
    lucky = [
        seed
        for seed in range(60)
        if (found := judge(group({**EQUAL, "a": 0.9}, seed=seed)).check("", BASE))
        and 0.001 < (found.known.p_value or 0) < 0.05
    ]
    assert lucky
    for seed in lucky:
        assert judge(group({**EQUAL, "a": 0.9}, seed=seed)).compare("a", BASE).verdict == "faster"


def test_too_few_clean_blocks_are_invalid() -> None:
    """Two of eighteen are left; with three it is judged by those."""
    participants = group({**EQUAL, "a": 0.5})
    keys = sorted(participants["a"])
    every = {name: frozenset(keys[2:]) for name in EQUAL}
    assert judge(participants, lost=every).compare("a", BASE).verdict == "invalid"
    fewer = {name: frozenset(keys[3:]) for name in EQUAL}
    assert judge(participants, lost=fewer).compare("a", BASE).verdict == "faster"


def test_a_participant_that_lost_many_more_calls_is_inconclusive() -> None:
    """Its own stalls must not be thrown away."""
    participants = group({**EQUAL, "a": 0.5})
    found = judge(participants, disturbed_shares={"a": 0.5, BASE: 0.2}).compare("a", BASE)
    assert found.verdict == "inconclusive"
    assert "50 %" in (found.reason or "")
    equal = judge(participants, disturbed_shares={"a": 0.5, BASE: 0.3}).compare("a", BASE)
    assert equal.verdict == "faster"


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_an_error(bad: float) -> None:
    """It names the participant, the launch and the round."""
    participants = group(EQUAL)
    participants["a"][1, 2] = bad
    with pytest.raises(BenchError, match="a, launch 1, round 2"):
        judge(participants)


def test_one_against_one_is_the_plain_comparison() -> None:
    """Nothing was chosen, so nothing is paid for it."""
    one = judge(group({**EQUAL, "a": 0.9}))
    found, plain = best(one, ["a"], [BASE]), one.compare("a", BASE)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


def test_the_best_of_each_side_is_named_and_judged() -> None:
    """Its interval is wider than that of the two that happened to lead."""
    one = judge(group({**EQUAL, "a": 0.8, "b": 0.81, "c": 0.9, "d": 0.91}))
    found, plain = best(one, ["a", "b"], ["c", "d"]), one.compare("a", "c")
    assert (found.scenario, found.baseline, found.verdict) == ("a", "c", "faster")
    assert found.low < plain.low
    assert found.high > plain.high or found.high == pytest.approx(plain.high, rel=0.02)


def test_the_best_of_equal_participants_does_not_win_by_its_luck() -> None:
    """The luckiest of nine over one: plainly compared it would be called faster now and then."""
    speeds = {BASE: 1.0, CONTROL: 1.0, **{f"participant{n}": 1.0 for n in range(9)}}
    plain = corrected = 0
    for seed in range(60):
        one = judge(group(speeds, seed=seed, process=0.01, launches=2))
        names = [name for name in speeds if name.startswith("participant")]
        plain += one.compare(str(one.fastest(names)), BASE).found
        corrected += best(one, names, [BASE]).found
    assert corrected <= 3
    assert plain > corrected


def test_unusable_participants_are_in_no_family() -> None:
    """The next best represents its side; without any there is no answer."""
    one = judge(group({**EQUAL, "a": 0.5, "b": 0.8}), unusable={"a": "wrong", "d": "wrong"})
    assert best(one, ["a", "b"], [BASE]).scenario == "b"
    assert one.best(["d"], [BASE]) is None
    assert one.fastest(["d"]) is None
    assert one.fastest([]) is None
    assert one.fastest_first([BASE, "d", "b", "a"]) == ["b", BASE]


def noisy(participants: Group, lost: str) -> Judge:
    """Return a judge of participants of which `a` may not be compared with any."""
    keys = sorted(participants["a"])
    if lost == "nearly all blocks":
        return judge(participants, lost={"a": frozenset(keys[2:])})
    if lost == "many calls":
        return judge(participants, disturbed_shares={"a": 0.5, "b": 0.0, BASE: 0.0})
    return judge({**participants, "a": {key: participants["a"][key] for key in keys[:2]}})


LOST = pytest.mark.parametrize("lost", ["nearly all blocks", "many calls", "most rounds"])


@LOST
def test_a_candidate_that_may_not_be_compared_sets_no_bound(lost: str) -> None:
    """The answer is that of the others alone, whose interval contains its estimate."""
    one = noisy(group({**EQUAL, "a": 0.5, "b": 0.8}), lost)
    found = best(one, ["a", "b"], [BASE])
    assert found == best(one, ["b"], [BASE])
    assert found.verdict == "faster"
    assert found.low < found.estimate < found.high


@LOST
@pytest.mark.parametrize("time", [1.0, 1.3])
def test_without_a_candidate_its_family_is_not_shown_to_be_slower(lost: str, time: float) -> None:
    """Nor the same: the one that was left out may be faster."""
    one = noisy(group({**EQUAL, "a": 0.5, "b": time}, process=0.001, block=0.001), lost)
    assert best(one, ["b"], [BASE]).verdict in ("slower", "same")
    found = best(one, ["a", "b"], [BASE])
    assert found.verdict == "inconclusive"
    assert str(found.reason).startswith("a ")


@LOST
def test_an_opponent_that_may_not_be_compared_is_not_passed_over(lost: str) -> None:
    """Beating the slower of two is not beating the best of them."""
    one = noisy(group({**EQUAL, "a": 0.5, "b": 0.8}), lost)
    assert best(one, ["b"], [BASE]).verdict == "faster"
    assert best(one, ["b"], ["a", BASE]).verdict in ("invalid", "inconclusive")


@pytest.mark.parametrize("common", [0, 1, 2, 6])
def test_a_few_rounds_in_common_take_no_verdict_away(common: int) -> None:
    """Of two that met stock default in launches of their own a further, cut one says little."""
    whole = group({**EQUAL, "a": 0.7, "b": 0.85}, launches=3)
    keys = {
        "a": [key for key in whole["a"] if key[0] == 0],
        "b": [k for k in whole["b"] if k[0] == 1],
    }
    both = [key for key in whole["a"] if key[0] == 2][:common]
    cut = {name: {key: whole[name][key] for key in keys[name] + both} for name in keys}
    found = judge({**whole, **cut}).compare("a", "b")
    assert found.verdict == "faster"
    assert found.rounds >= 6


def test_an_opponent_that_nothing_links_is_not_passed_over() -> None:
    """It is the fastest, in a launch of which stock default lost every block."""
    whole = group({**EQUAL, "a": 0.8, "b": 0.5}, launches=2)
    apart = {
        name: {key: ms for key, ms in blocks.items() if (key[0] == 1) == (name == "b")}
        for name, blocks in whole.items()
    }
    found = best(judge(apart), ["a"], [BASE, "b"])
    assert not found.is_decided
    assert found.low == 0.0


def test_where_nobody_may_be_compared_the_answer_has_the_reason() -> None:
    """It is no answer of nothing: the noise that refuses it can be read."""
    participants = group({**EQUAL, "a": 0.5})
    every = {name: frozenset(sorted(participants["a"])[2:]) for name in EQUAL}
    found = best(judge(participants, lost=every), ["a"], [BASE])
    assert found.verdict == "invalid"
    assert found.reason


def test_a_named_candidate_represents_its_family() -> None:
    """The interval is that of the family; the estimate is its own."""
    one = judge(group({**EQUAL, "a": 0.80, "b": 0.82}))
    found = best(one, ["a", "b"], [BASE], named="b")
    assert found.scenario == "b"
    assert found.estimate == pytest.approx(one.compare("b", BASE).estimate)


def test_a_level_has_an_interval_over_processes() -> None:
    """The geometric mean of processes, and how far it may be off."""
    participants = group({"a": 1.0}, process=0.02, launches=5)
    found = known(level(participants["a"], DEFAULT))
    assert found.low < 100 < found.high
    assert (found.launches, found.rounds) == (5, 30)
    assert level({}, DEFAULT) is None


def test_one_value_has_no_interval() -> None:
    """Of one seed nothing is known of how seeds differ."""
    alone = known(mean_ratio([math.log(2)], DEFAULT))
    assert alone.estimate == pytest.approx(2)
    assert (alone.low, alone.high) == (0.0, math.inf)
    three = known(mean_ratio([math.log(2), math.log(2.1), math.log(1.9)], DEFAULT))
    assert 0 < three.low < three.estimate < three.high < math.inf
    assert mean_ratio([], DEFAULT) is None
