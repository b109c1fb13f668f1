"""Ratios, intervals, margins, verdicts and steady state, held against known answers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.policy import SteadyStatePolicy, VerdictPolicy
from bench.scenarios import Verdict
from bench.statistics import (
    Ratio,
    _bootstrap_medians,
    calls_before_level,
    is_steady,
    judge,
    margin,
    paired_log_ratios,
    percent,
    speedup,
    steady_after,
)

POLICY = VerdictPolicy()
STEADY = SteadyStatePolicy()

Blocks = dict[tuple[int, int], float]
Arrays = list[NDArray[np.float64]]

keys = st.tuples(st.integers(0, 4), st.integers(0, 9))
times = st.floats(0.01, 1e5)
pairs = st.dictionaries(keys, st.tuples(times, times), min_size=2, max_size=20)
log_ratio_lists = st.lists(
    st.lists(st.floats(-3, 3), min_size=1, max_size=8).map(np.array), min_size=1, max_size=4
)


def _interval(log_ratios: Arrays, draws: int = 500) -> Ratio:
    return speedup(log_ratios, draws=draws, seed=1, confidence=0.95)


def _ratio(low: float, high: float, *, launches: int = 3, rounds: int = 12) -> Ratio:
    return Ratio(
        estimate=math.sqrt(low * high), low=low, high=high, launches=launches, rounds=rounds
    )


CONTROL = _ratio(0.99, 1.01)


# --- pairs ---------------------------------------------------------------------------------------


def test_only_shared_rounds_are_paired_launch_by_launch() -> None:
    """A block whose partner is missing is not compared with any other block."""
    baseline = {(0, 0): 2.0, (0, 1): 8.0, (2, 0): 3.0, (3, 0): 1.0}
    scenario = {(0, 1): 2.0, (0, 0): 1.0, (2, 0): 3.0, (1, 0): 5.0}
    launches = paired_log_ratios(baseline, scenario)
    assert [values.tolist() for values in launches] == [
        pytest.approx([math.log(2), math.log(4)]),
        pytest.approx([0.0]),
    ]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_an_error(bad: float) -> None:
    """Neither lane may hand in a time that no clock measures."""
    good, damaged = {(1, 2): 1.0}, {(1, 2): bad}
    with pytest.raises(BenchError, match="launch 1, round 2"):
        paired_log_ratios(good, damaged)
    with pytest.raises(BenchError, match="launch 1, round 2"):
        paired_log_ratios(damaged, good)


# --- estimate and interval -----------------------------------------------------------------------


def _split(blocks: dict[tuple[int, int], tuple[float, float]]) -> tuple[Blocks, Blocks]:
    return (
        {key: pair[0] for key, pair in blocks.items()},
        {key: pair[1] for key, pair in blocks.items()},
    )


def _triple(ratio: Ratio) -> list[float]:
    return [ratio.low, ratio.estimate, ratio.high]


@settings(deadline=None)
@given(pairs, st.floats(0.01, 100))
def test_a_faster_machine_leaves_the_speedup(
    blocks: dict[tuple[int, int], tuple[float, float]], factor: float
) -> None:
    """Scaling both lanes by one constant changes nothing."""
    baseline, scenario = _split(blocks)
    scaled = [{key: ms * factor for key, ms in lane.items()} for lane in (baseline, scenario)]
    assert _triple(_interval(paired_log_ratios(*scaled))) == pytest.approx(
        _triple(_interval(paired_log_ratios(baseline, scenario)))
    )


@settings(deadline=None)
@given(pairs)
def test_swapping_the_lanes_inverts_the_speedup(
    blocks: dict[tuple[int, int], tuple[float, float]],
) -> None:
    """Which lane is called the baseline does not change what is known."""
    baseline, scenario = _split(blocks)
    there = _interval(paired_log_ratios(baseline, scenario))
    back = _interval(paired_log_ratios(scenario, baseline))
    assert _triple(back) == pytest.approx([1 / there.high, 1 / there.estimate, 1 / there.low])


@settings(deadline=None)
@given(pairs, st.dictionaries(keys, st.floats(0.1, 10)))
def test_what_slows_a_whole_round_cancels(
    blocks: dict[tuple[int, int], tuple[float, float]], drift: dict[tuple[int, int], float]
) -> None:
    """Drift and load that last longer than a round do not move the speedup."""
    baseline, scenario = _split(blocks)
    slowed = [
        {key: ms * drift.get(key, 1.0) for key, ms in lane.items()} for lane in (baseline, scenario)
    ]
    assert _triple(_interval(paired_log_ratios(*slowed))) == pytest.approx(
        _triple(_interval(paired_log_ratios(baseline, scenario)))
    )


@settings(deadline=None)
@given(log_ratio_lists, st.floats(0.1, 10))
def test_a_faster_scenario_moves_the_whole_interval(log_ratios: Arrays, factor: float) -> None:
    """The interval carries no absolute scale of its own."""
    moved = _interval([values + math.log(factor) for values in log_ratios])
    assert _triple(moved) == pytest.approx([factor * v for v in _triple(_interval(log_ratios))])


@settings(deadline=None)
@given(log_ratio_lists)
def test_the_interval_stays_within_what_was_seen(log_ratios: Arrays) -> None:
    """A median of resampled rounds lies between the fastest and the slowest of them."""
    ratio = _interval(log_ratios)
    pooled = np.concatenate(log_ratios)
    assert ratio.estimate == pytest.approx(math.exp(np.median(pooled)))
    assert (ratio.launches, ratio.rounds) == (len(log_ratios), pooled.size)
    if pooled.size > 1:
        assert math.exp(pooled.min()) * (1 - 1e-9) <= ratio.low <= ratio.high
        assert ratio.high <= math.exp(pooled.max()) * (1 + 1e-9)


def _reference_medians(log_ratios: Arrays, draws: int) -> NDArray[np.float64]:
    """The two-level bootstrap, written the slow way."""
    rng = np.random.default_rng(5)
    medians = []
    for _ in range(draws):
        picked = [log_ratios[i] for i in rng.integers(len(log_ratios), size=len(log_ratios))]
        sample = [rng.choice(values, size=len(values)) for values in picked]
        medians.append(np.median(np.concatenate(sample)))
    return np.array(medians)


@pytest.mark.parametrize("sizes", [(5, 5, 5), (2, 9, 4), (1, 12), (7,), (1, 1, 1)])
def test_the_vectorised_bootstrap_is_the_plain_one(sizes: tuple[int, ...]) -> None:
    """Unequal rounds a launch included, its quantiles are those of the textbook loop."""
    rng = np.random.default_rng(3)
    log_ratios = [rng.normal(rng.normal(0, 0.1), 0.1, size) for size in sizes]
    ratio = speedup(log_ratios, draws=8000, seed=1, confidence=0.8)
    medians = _reference_medians(log_ratios, 4000)
    shares = [np.mean(medians <= math.log(end) + 1e-12) for end in (ratio.low, ratio.high)]
    below = [np.mean(medians < math.log(end) - 1e-12) for end in (ratio.low, ratio.high)]
    assert below[0] - 0.03 <= 0.1 <= shares[0] + 0.03
    assert below[1] - 0.03 <= 0.9 <= shares[1] + 0.03


def test_long_runs_are_drawn_in_chunks_of_the_same_meaning() -> None:
    """10 million draws of values do not fill the memory, and the interval is the textbook one."""
    values = np.random.default_rng(0).normal(0, 0.1, 5000)
    ratio = speedup([values], draws=2000, seed=1, confidence=0.95)
    standard_error = 0.1 * math.sqrt(math.pi / 2 / 5000)
    assert ratio.half_width == pytest.approx(1.96 * standard_error, rel=0.15)


def test_chunks_are_drawn_anew() -> None:
    """A chunk that repeated the one before would make 10,000 draws count as a few hundred."""
    values = np.random.default_rng(0).normal(0, 0.1, 5000)
    medians = _bootstrap_medians([values], draws=800, seed=1)
    assert len(medians) == 800
    assert not np.array_equal(medians[:400], medians[400:])


def test_one_round_has_an_infinite_interval() -> None:
    """A single pair knows no spread: no verdict is possible, and stopping cannot be satisfied."""
    ratio = _interval([np.array([0.5])])
    assert ratio == Ratio(estimate=math.exp(0.5), low=0.0, high=math.inf, launches=1, rounds=1)
    assert ratio.half_width == math.inf


def test_the_seed_decides_the_interval() -> None:
    """The same rows give the same verdict on any day."""
    values = [np.random.default_rng(launch).normal(0, 0.1, 20) for launch in range(3)]
    assert _interval(values) == _interval(values)
    assert _interval(values) != speedup(values, draws=500, seed=2, confidence=0.95)


def test_launches_that_disagree_widen_the_interval() -> None:
    """The spread between processes is in the interval, not only the spread within them."""
    within = np.random.default_rng(0).normal(0, 0.01, 12)
    agreeing = _interval([within, within, within])
    disagreeing = _interval([within - 0.1, within, within + 0.1])
    assert disagreeing.half_width > 5 * agreeing.half_width


def test_the_half_width_is_a_share_of_the_estimate() -> None:
    """1.9 to 2.1 around 2 is 5 %, as it is around 1."""
    ratio = Ratio(estimate=2.0, low=1.9, high=2.1, launches=3, rounds=9)
    assert ratio.half_width == pytest.approx(0.05)


@pytest.mark.parametrize("log_ratios", [[], [np.array([])]])
def test_no_pairs_is_an_error_that_says_so(log_ratios: Arrays) -> None:
    """There is no number that could stand for nothing."""
    with pytest.raises(BenchError, match="nothing to divide"):
        _interval(log_ratios)


def test_a_ratio_that_is_none_is_an_error() -> None:
    """NaN would otherwise pass every comparison silently."""
    with pytest.raises(BenchError, match="not finite"):
        _interval([np.array([0.0, math.nan])])


# --- margins and verdicts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "launches", "expected"),
    [
        (None, 3, 0.03),
        (None, 1, 0.15),
        (1.0, 3, 0.03),
        (1.01, 3, 0.03),
        (1.05, 3, 0.1025),
        (1 / 1.05, 3, 0.1025),
        (1.01, 1, 0.15),
        (1.10, 1, 0.21),
    ],
)
def test_the_margin_is_the_largest_of_floor_control_and_launches(
    control: float | None, launches: int, expected: float
) -> None:
    """Twice the control's deviation counts alike in both directions, on the log scale."""
    ratio = None if control is None else _ratio(control, control)
    assert margin(ratio, launches, POLICY) == pytest.approx(expected)


EDGE = 1.03
VERDICTS = [
    # low, high, verdict
    (1.031, 1.2, Verdict.FASTER),
    (EDGE, 1.2, Verdict.INCONCLUSIVE),
    (1.029, 1.2, Verdict.INCONCLUSIVE),
    (1 / EDGE, EDGE, Verdict.SAME),
    (0.98, 1.02, Verdict.SAME),
    (0.98, 1.031, Verdict.INCONCLUSIVE),
    (0.969, 1.02, Verdict.INCONCLUSIVE),
    (0.8, 0.969, Verdict.SLOWER),
    (0.8, 1 / EDGE, Verdict.INCONCLUSIVE),
    (0.8, 1.2, Verdict.INCONCLUSIVE),
]


def _judge(
    ratio: Ratio,
    *,
    control: Ratio | None = CONTROL,
    limit: float = 0.03,
    noisy_share: float | None = 0.0,
    invalid_reason: str | None = None,
) -> tuple[Verdict, str | None]:
    return judge(
        ratio,
        control=control,
        margin=limit,
        noisy_share=noisy_share,
        invalid_reason=invalid_reason,
        policy=POLICY,
    )


@pytest.mark.parametrize(("low", "high", "verdict"), VERDICTS)
def test_a_difference_is_called_only_beyond_the_margin(
    low: float, high: float, verdict: Verdict
) -> None:
    """The whole interval decides, and only a verdict that is none carries a reason."""
    got, reason = _judge(_ratio(low, high))
    assert got == verdict
    assert (reason is not None) == (verdict is Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        (POLICY.widest_same, Verdict.SAME),
        (POLICY.widest_same + 0.001, Verdict.INCONCLUSIVE),
        (0.19, Verdict.INCONCLUSIVE),
    ],
)
def test_equal_within_a_wide_margin_is_no_finding(limit: float, verdict: Verdict) -> None:
    """To be level within 19 % says nothing: the run could not tell, and says so."""
    got, reason = _judge(_ratio(0.99, 1.01), limit=limit)
    assert got == verdict
    if verdict is Verdict.INCONCLUSIVE:
        assert "could not tell" in str(reason)
        assert percent(limit) in str(reason)


@settings(deadline=None)
@given(st.floats(0.5, 2), st.floats(1, 1.5), st.floats(0.001, 0.3))
def test_verdicts_mirror_when_the_lanes_are_swapped(low: float, width: float, limit: float) -> None:
    """The margin is symmetric: A faster than B is B slower than A."""
    opposite = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
    high = low * width
    upper, lower = 1 + limit, 1 / (1 + limit)
    if any(math.isclose(end, edge) for end in (low, high) for edge in (upper, lower)):
        return
    there, _ = _judge(_ratio(low, high), limit=limit)
    back, _ = _judge(_ratio(1 / high, 1 / low), limit=limit)
    assert back == opposite.get(there, there)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"invalid_reason": "its outputs are wrong"}, "its outputs are wrong"),
        ({"control": _ratio(1.031, 1.1)}, "two identical workers"),
        ({"control": _ratio(0.9, 0.970)}, "two identical workers"),
        ({"noisy_share": 0.51}, "51 % of the rounds were not quiet"),
    ],
)
def test_untrustworthy_comparisons_are_invalid(changes: dict[str, object], words: str) -> None:
    """However clear the interval looks, and the reason says which rule fired."""
    verdict, reason = _judge(_ratio(1.5, 1.6), **changes)  # type: ignore[arg-type] # a table of mixed fields
    assert verdict == Verdict.INVALID
    assert reason is not None
    assert words in reason


@pytest.mark.parametrize(
    "changes",
    [
        {"control": _ratio(1.03, 1.1)},
        {"control": _ratio(0.9, 1 / 1.03)},
        {"control": _ratio(1.1, 1.14, launches=1)},
        {"noisy_share": 0.5},
        {"noisy_share": None},
    ],
)
def test_a_rule_at_its_limit_does_not_fire(changes: dict[str, object]) -> None:
    """Limits are allowed values; one launch's control has the one-launch margin."""
    assert _judge(_ratio(1.5, 1.6), **changes)[0] == Verdict.FASTER  # type: ignore[arg-type] # mixed fields


def test_a_control_that_failed_cannot_excuse_itself() -> None:
    """A control at 1.2 widens the margin to 44 %, which must not make the control valid."""
    control = _ratio(1.15, 1.25)
    limit = margin(control, 3, POLICY)
    assert _judge(control, control=control, limit=limit)[0] == Verdict.INVALID


@pytest.mark.parametrize(("rounds", "words"), [(1, "1 paired round, 3"), (2, "2 paired rounds, 3")])
def test_too_few_rounds_give_no_verdict(rounds: int, words: str) -> None:
    """The reason says how many there were and how many it takes."""
    verdict, reason = _judge(_ratio(1.5, 1.6, rounds=rounds))
    assert verdict == Verdict.INCONCLUSIVE
    assert reason is not None
    assert words in reason


def test_three_rounds_are_enough() -> None:
    """The minimum itself is allowed."""
    assert _judge(_ratio(1.5, 1.6, rounds=3))[0] == Verdict.FASTER


def test_without_a_control_there_is_no_verdict() -> None:
    """The noise floor is unknown then."""
    verdict, reason = _judge(_ratio(1.5, 1.6), control=None)
    assert verdict == Verdict.INCONCLUSIVE
    assert "no control" in str(reason)


@pytest.mark.parametrize(
    ("ratio", "limit", "words"),
    [
        (_ratio(0.99, 1.08), 0.03, "more rounds or launches would narrow it"),
        (_ratio(0.99, 1.08), 0.05, "widened by the control"),
        (_ratio(0.99, 1.3, launches=1), 0.15, "add launches"),
    ],
)
def test_inconclusive_says_what_would_help(ratio: Ratio, limit: float, words: str) -> None:
    """What helps depends on what made the interval or the margin wide."""
    verdict, reason = _judge(ratio, limit=limit)
    assert verdict == Verdict.INCONCLUSIVE
    assert words in str(reason)
    assert percent(limit) in str(reason)


def test_one_round_never_has_a_verdict() -> None:
    """Even where policy asks for one round only, an infinite interval decides nothing."""
    verdict, _ = judge(
        _interval([np.array([2.0])]),
        control=CONTROL,
        margin=0.03,
        noisy_share=0,
        invalid_reason=None,
        policy=replace(POLICY, min_rounds=1),
    )
    assert verdict == Verdict.INCONCLUSIVE


# --- simulation ----------------------------------------------------------------------------------


def _simulate(rng: np.random.Generator, launches: int, launch_sd: float) -> Arrays:
    """Log ratios of two equally fast lanes in rounds of 3 % noise."""
    return [rng.normal(effect, 0.03, 12) for effect in rng.normal(0, launch_sd, launches)]


COVERAGE = [
    # launches, launch_sd, coverage in 20,000 repetitions: the table in the docstring of `speedup`
    (1, 0.00, 0.93),
    (2, 0.01, 0.90),
    (2, 0.03, 0.73),
    (3, 0.00, 0.97),
    (3, 0.01, 0.93),
    (3, 0.03, 0.82),
    (3, 0.30, 0.75),
    (5, 0.00, 0.98),
    (5, 0.01, 0.95),
    (5, 0.03, 0.89),
    (5, 0.30, 0.92),
]


@pytest.mark.parametrize(("launches", "launch_sd", "expected"), COVERAGE)
def test_the_interval_covers_as_often_as_documented(
    launches: int, launch_sd: float, expected: float
) -> None:
    """How often a 95 % interval holds the truth: what `speedup` says of itself is measured here."""
    rng = np.random.default_rng(7)
    repeats = 600
    covered = 0
    for _ in range(repeats):
        ratio = _interval(_simulate(rng, launches, launch_sd))
        covered += ratio.low <= 1 <= ratio.high
    assert covered / repeats == pytest.approx(expected, abs=0.045)


def test_stopping_on_precision_costs_no_coverage() -> None:
    """Launches that end as soon as the interval is narrow enough still give an honest one."""
    rng = np.random.default_rng(13)
    covered = total = 0
    for _ in range(200):
        kept: Arrays = []
        for _launch in range(3):
            rounds = rng.normal(0, 0.02, 12)
            widths = [_interval([*kept, rounds[:n]], 200).half_width for n in range(3, 13)]
            end = next((n for n, width in enumerate(widths, start=3) if width <= 0.02), 12)
            kept.append(rounds[:end])
        ratio = _interval(kept)
        covered += ratio.low <= 1 <= ratio.high
        total += ratio.rounds
    assert covered / 200 >= 0.91
    assert total / 200 < 20, "it is to save rounds"


def _simulate_lanes(
    rng: np.random.Generator, process_sd: float, round_sd: float, faster: float = 0.0
) -> tuple[Arrays, Arrays]:
    """Log ratios of a control and a scenario that share their baseline's luck, 3 launches of 12."""
    lanes = rng.normal(0, process_sd, (3, 3, 1)) + rng.normal(0, round_sd, (3, 3, 12))
    baseline, control, scenario = lanes
    return list(baseline - control), list(baseline - scenario + faster)


def _verdicts(process_sd: float, round_sd: float, faster: float = 0.0) -> dict[Verdict, float]:
    """Share of each verdict in 300 simulated runs."""
    rng = np.random.default_rng(11)
    shares = dict.fromkeys(Verdict, 0.0)
    for _ in range(300):
        pair = _simulate_lanes(rng, process_sd, round_sd, faster)
        control, ratio = (_interval(log_ratios, draws=300) for log_ratios in pair)
        verdict, _ = _judge(ratio, control=control, limit=margin(control, 3, POLICY))
        shares[verdict] += 1 / 300
    return shares


@pytest.mark.parametrize(
    ("process_sd", "round_sd"), [(0.005, 0.01), (0.01, 0.03), (0.02, 0.02), (0.03, 0.03)]
)
def test_identical_lanes_are_hardly_ever_called_different(
    process_sd: float, round_sd: float
) -> None:
    """In at most 1 of 100 runs, even where processes of one build differ by 3 %."""
    shares = _verdicts(process_sd, round_sd)
    assert shares[Verdict.FASTER] + shares[Verdict.SLOWER] <= 0.01


@pytest.mark.parametrize(
    ("process_sd", "round_sd", "faster", "found"),
    [(0.005, 0.01, 0.05, 0.9), (0.01, 0.03, 0.10, 0.95), (0.02, 0.02, 0.10, 0.8)],
)
def test_a_planted_difference_is_found(
    process_sd: float, round_sd: float, faster: float, found: float
) -> None:
    """Being careful must not mean being blind; the other direction is never claimed."""
    shares = _verdicts(process_sd, round_sd, faster)
    assert shares[Verdict.FASTER] >= found
    assert shares[Verdict.SLOWER] == 0


# --- steady state --------------------------------------------------------------------------------


FLAT = [100.0, 100.5, 99.5, 100.2, 99.8]
STEADY_CASES = [
    ("nothing yet", [], False),
    ("too few for two windows twice", FLAT * 2, False),
    ("exactly enough", [*FLAT * 2, 100.0], True),
    ("one spike among them", [*FLAT, 100.0, 150.0, 100.1, 99.9, 100.0, 100.2], True),
    ("a step of 3 % between the windows", [100.0] * 5 + [97.0] * 6, False),
    ("after the step has left the windows", [100.0] * 5 + [97.0] * 11, True),
    ("1 % faster a call", [100 * 0.99**call for call in range(30)], False),
    ("0.3 % slower a call", [100 * 1.003**call for call in range(30)], True),
    ("level at the latest position only", [120.0] * 3 + [100.0] * 8, False),
    ("level at the one before too", [120.0] * 3 + [100.0] * 9, True),
    ("slow calls, too few", [1000.0], False),
    ("slow calls, level", [1000.0, 1050.0], True),
    ("slow calls, falling", [1000.0, 940.0], False),
    ("slow calls, level at last", [1500.0, 1000.0, 1010.0], True),
    ("at the limit of slow", [120.0, 120.0], False),
]


@pytest.mark.parametrize(
    ("calls", "expected"), [case[1:] for case in STEADY_CASES], ids=[c[0] for c in STEADY_CASES]
)
def test_steady_means_level_and_without_slope(calls: list[float], expected: bool) -> None:
    """Every part of the rule, at both sides of its limit."""
    assert is_steady(calls, STEADY) is expected


def test_a_slope_hidden_from_the_medians_is_seen() -> None:
    """A sawtooth whose windows share a median but climb within."""
    calls = [90.0, 95.0, 100.0, 105.0, 110.0] * 2
    once = replace(STEADY, confirmations=1)
    assert is_steady(calls, once) is False
    assert is_steady(calls, replace(once, max_slope=0.05)) is True


@settings(deadline=None)
@example([10.0] * 6 + [121.0] * 6, 1)
@given(st.lists(st.floats(10, 200), min_size=0, max_size=30), st.integers(0, 30))
def test_only_the_latest_calls_decide(calls: list[float], dropped: int) -> None:
    """With quick calls what lies before the windows does not matter any more."""
    needed = 2 * STEADY.window + STEADY.confirmations - 1
    latest = calls[min(dropped, max(0, len(calls) - needed)) :]
    assert is_steady(calls, STEADY) == is_steady(latest, STEADY)


@settings(deadline=None)
@given(st.lists(st.floats(1, 100), min_size=11, max_size=20))
def test_the_slope_is_the_one_of_theil_and_sen(calls: list[float]) -> None:
    """Flat in the sense of the median of all pairwise slopes, and in no other."""
    policy = replace(STEADY, max_median_change=math.inf, confirmations=1)
    pair = calls[-10:]
    steps = [(pair[j] - pair[i]) / (j - i) for i in range(10) for j in range(i + 1, 10)]
    slope = abs(np.median(steps)) / np.median(pair)
    if not math.isclose(slope, policy.max_slope, rel_tol=1e-6):
        assert is_steady(calls, policy) == (slope < policy.max_slope)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_warm_up_call_without_a_time_is_an_error(bad: float) -> None:
    """It must not count as level."""
    with pytest.raises(BenchError, match="warm-up"):
        is_steady([100.0, bad], STEADY)


FLAT = [10.0] * 11


@pytest.mark.parametrize(
    ("calls", "after", "before"),
    [
        ([], None, None),
        (FLAT, 11, 0),
        ([*FLAT, 99.0, 10.0], 11, 0),
        ([30.0, 20.0, 15.0, *FLAT], 12, 1),
        ([90.0, 70.0, 50.0, 40.0, 30.0, 20.0, 15.0, *FLAT], 16, 5),
        ([200.0, 200.0], 2, 0),
        ([900.0, 200.0, 200.0], 3, 1),
        ([10.0, 20.0] * 8, None, None),
    ],
)
def test_what_came_before_the_level_stretch_is_known(
    calls: list[float], after: int | None, before: int | None
) -> None:
    """A later launch has to make those calls only; the stretch itself was to see it."""
    assert steady_after(calls, STEADY) == after
    assert calls_before_level(calls, STEADY) == before
