"""Which scenario the first screen calls fastest: as much as the verdicts allow, and no more."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis import winners
from bench.analysis.run_facts import Comparison, Facts
from bench.plan.scenario import Status, Verdict
from bench.report import answers
from bench.store.records import Run
from bench.text.wording import TIMES, at_least, digits, with_interval
from tests.bench.calls import longer
from tests.bench.made_up_runs import BATCH_1, DEFAULT_1, IPEX_1, LAST_1, THREE, MakeRun, answer_of
from tests.known import known

if TYPE_CHECKING:
    from bench.analysis.winners import Winner


def judged(run: Run, verdicts: dict[str, str], **changes: Any) -> Run:
    """The run with other verdicts for those scenarios."""
    speedups = tuple(
        replace(row, verdict=verdicts.get(row.scenario, row.verdict)) for row in run.speedups
    )
    return replace(run, speedups=speedups, **changes)


def winner_of(facts: Facts) -> Winner:
    """The winner at batch 1."""
    return known(winners.winner(facts, BATCH_1))


def runner_up_of(facts: Facts) -> tuple[str, Comparison]:
    """The runner-up at batch 1, and the winner over it."""
    second = known(winners.runner_up(facts, winner_of(facts)))
    return second[0].scenario, second[1]


def test_latency_names_the_largest_valid_speedup_with_its_interval(good: Facts) -> None:
    """The estimate and the time are the row's; the interval allows for its being the best."""
    rows = [
        row
        for row in good.run.speedups
        if row.baseline_kind == "stock_default" and row.scenario.endswith("/b1") and row.speedup
    ]
    best = max(rows, key=lambda row: row.speedup or 0)
    answer, claim = answer_of(good, "latency"), good.claims.answer("best", "inference/b1")
    assert claim is not None
    assert claim.estimate == pytest.approx(best.speedup, rel=1e-9)
    assert claim.low < (best.speedup_low or 0)
    assert with_interval(claim) in answer.headline
    assert answer.number == f"{digits(good.scenarios[best.scenario].median_ms)} ms"
    assert answer.tone == "good"
    assert with_interval(claim) in answers.lead(good)


@pytest.mark.parametrize(
    ("slow_ipex", "is_shared"),
    [(1.085, True), (0.8, False)],
)
def test_the_lead_is_shared_with_rivals(
    make_run: MakeRun, slow_ipex: float, is_shared: bool
) -> None:
    """The ratio to the runner-up has its interval, whether the lead was shown or not."""
    facts = Facts(make_run(only=THREE, slow_ipex=slow_ipex))
    best, (name, comparison) = winner_of(facts), runner_up_of(facts)
    assert bool(best.level) is is_shared
    assert comparison.found is not is_shared
    assert {best.row.scenario, name} == {LAST_1, IPEX_1}
    assert with_interval(comparison) in answers.lead(facts)


def test_stock_before_ipex_is_said_once(make_run: MakeRun) -> None:
    """With the best of IPEX as runner-up, its gain is the same comparison turned round."""
    assert answers.lead(Facts(make_run(only=THREE, slow_ipex=1.2))).count("IPEX") == 1


def test_invalid_wrong_and_placebo_scenarios_never_win(make_run: MakeRun) -> None:
    """Whatever their ratio is, and whatever verdict the file holds."""
    run = make_run(only=THREE)
    wrong = tuple(replace(row, within_tolerance=row.scenario != IPEX_1) for row in run.parity)
    for changed in (judged(run, {IPEX_1: "invalid"}), replace(run, parity=wrong)):
        assert winner_of(Facts(changed)).row.scenario == LAST_1
    placebo = "inference/placebo/eager/fp32/contiguous/b1"
    assert winners.candidates(Facts(make_run(only=(DEFAULT_1, placebo))), BATCH_1) == []


@pytest.mark.parametrize(
    ("plan", "is_slower"),
    [
        ({"slow_ipex": 2.0}, True),
        ({"slow_ipex": 1.4, "spread": 0.1, "rounds": 4, "launches": 2}, False),
    ],
)
def test_without_a_faster_scenario_stock_default_is_the_answer(
    make_run: MakeRun, plan: dict[str, Any], is_slower: bool
) -> None:
    """A larger estimate without a verdict counts as no difference shown."""
    facts = Facts(make_run(only=(DEFAULT_1, IPEX_1), **plan))
    answer, best = answer_of(facts, "latency"), winner_of(facts)
    assert (answer.tone, answer.number_note) == ("level", "stock default")
    assert not best.is_shown
    assert (best.comparison is None) == is_slower


@pytest.mark.parametrize("is_faster", [True, False])
def test_that_nothing_is_faster_does_not_deny_int8(make_run: MakeRun, is_faster: bool) -> None:
    """It is another model and never wins; where it is faster, the sentence leaves it out."""
    rounded = "inference/stock/compile/int8/channels_last/b1"
    run = make_run(only=(DEFAULT_1, LAST_1, rounded), int8=True)
    facts = Facts(longer(longer(run, LAST_1, 1.5), rounded, 1.0 if is_faster else 20.0))
    for sentence in (answer_of(facts, "latency").headline, answers.lead(facts)):
        assert ("int8" in sentence) == is_faster


def test_a_higher_estimate_without_a_verdict_hides_no_faster_one(make_run: MakeRun) -> None:
    """The answer must not deny what the table beside it shows."""
    run = make_run(only=THREE)
    ratios = {(row.scenario, row.baseline_kind): row.speedup or 0 for row in run.speedups}
    other, fastest = sorted((LAST_1, IPEX_1), key=lambda name: ratios[name, "stock_default"])
    facts = Facts(judged(run, {other: "faster", fastest: "inconclusive"}))
    assert winner_of(facts).row.scenario == other
    assert answer_of(facts, "latency").tone == "good"


@pytest.mark.parametrize("clean", [2, 16])
def test_a_faster_way_that_may_not_be_compared_is_named_and_wins_nothing(
    make_run: MakeRun, clean: int
) -> None:
    """Other work took most of its blocks or many more of its calls than of the others'."""
    run = make_run(only=THREE, launches=3, rounds=8)
    places = sorted({(r.launch, r.round) for r in run.iterations if r.round is not None})[:clean]
    calls = tuple(
        replace(row, disturbed=(row.launch, row.round) not in places)
        if row.scenario == IPEX_1 and row.round is not None
        else row
        for row in longer(run, IPEX_1, 0.85).iterations
    )
    facts = Facts(replace(run, iterations=calls, speedups=()))
    best, answer = winner_of(facts), answer_of(facts, "latency")
    assert (best.row.scenario, best.is_shown, best.is_alone) == (LAST_1, True, False)
    assert [row.scenario for row, _ in best.unjudged] == [IPEX_1]
    found = known(best.comparison)
    assert found.low < found.estimate < found.high
    assert runner_up_of(facts)[0] == DEFAULT_1
    assert " leads: " in answer.headline
    assert any(best.unjudged[0][1] in detail for detail in answer.details)


def test_a_way_with_too_few_rounds_leads_only_where_all_have(make_run: MakeRun) -> None:
    """A run was cut after two of its rounds: the page must not give it another way's figure."""
    whole = make_run(only=THREE, launches=3, rounds=8)
    known_ratio = next(row.speedup for row in whole.speedups if row.scenario == LAST_1)
    run = longer(whole, LAST_1, known(known_ratio))
    calls = tuple(
        row
        for row in run.iterations
        if row.scenario != IPEX_1 or row.round is None or (row.launch == 0 and row.round < 2)
    )
    best = winner_of(Facts(replace(run, iterations=calls, speedups=())))
    assert best.row.scenario == LAST_1
    assert known(best.comparison).scenario == LAST_1
    assert [row.scenario for row, _ in best.unjudged] == [IPEX_1]


def test_throughput_is_that_of_a_scenario_that_was_shown(make_run: MakeRun) -> None:
    """Where a batch's fastest has no verdict, stock default's images per second count for it."""
    default_8, ipex_8 = (name.replace("/b1", "/b8") for name in (DEFAULT_1, IPEX_1))
    run = make_run(only=(DEFAULT_1, IPEX_1, default_8, ipex_8))
    calls = tuple(
        row
        for row in run.iterations
        if row.scenario != ipex_8 or row.round is None or (row.launch, row.round) < (0, 2)
    )
    answer = answer_of(Facts(replace(run, iterations=calls, speedups=())), "throughput")
    speeds = {row.scenario: row.images_per_s or 0 for row in run.scenarios}
    assert speeds[IPEX_1] > speeds[default_8]
    assert answer.number == f"{digits(speeds[IPEX_1])} images/s"
    assert answer.question.endswith("batch 1")
    assert any(one.startswith("At batch 8 nothing was shown") for one in answer.details)


def test_throughput_does_not_repeat_the_only_batch_that_was_measured(good: Facts) -> None:
    """The budget left the others out: the first answer has what is known."""
    cut = tuple(
        row if row.batch_size == 1 else replace(row, status="unavailable", median_ms=None)
        for row in good.run.scenarios
    )
    answer = answer_of(Facts(replace(good.run, scenarios=cut)), "throughput")
    assert answer.number == ""
    assert not answer.lines


def test_throughput_takes_the_batch_with_most_images(good: Facts) -> None:
    """Among the groups' winners the images per second decide."""
    most = max(
        best.row.images_per_s or 0
        for group in good.groups
        if group.task == "inference" and (best := winners.winner(good, group)) is not None
    )
    answer = answer_of(good, "throughput")
    assert answer.number == f"{digits(most)} images/s"
    assert not any("nothing was shown" in one for one in answer.details)


def test_failed_control_leaves_no_winner(make_run: MakeRun) -> None:
    """Where identical workers differ by 10 % in every process, no ratio is believed."""
    run = make_run(noisy=True)
    assert {row.verdict for row in run.speedups} == {"invalid"}
    facts = Facts(run)
    assert winners.winner(facts, BATCH_1) is None
    assert answer_of(facts, "latency").tone == "unknown"


def test_unsettled_winner_is_flagged(make_run: MakeRun) -> None:
    """A scenario without a steady state is measured, and the answer says so."""
    unsettled = ((IPEX_1, Status.NO_STEADY_STATE, "did not settle"),)
    facts = Facts(make_run(only=(DEFAULT_1, IPEX_1), faults=unsettled))
    assert "steady state" in answer_of(facts, "latency").details[0]


@pytest.mark.parametrize(("plan", "unit"), [({"only": THREE}, "%"), ({"native_bf16": True}, TIMES)])
def test_the_smallest_gain_is_said(make_run: MakeRun, plan: dict[str, Any], unit: str) -> None:
    """Small gains are shares, large ones are factors."""
    facts = Facts(make_run(**plan))
    comparison = known(winner_of(facts).comparison)
    least = at_least(comparison)
    assert least.endswith(unit)
    assert any(least in detail for detail in answer_of(facts, "latency").details)


def test_training_answers_for_each_group(good: Facts) -> None:
    """The headline is the first group's, the others follow, with the gain of IPEX in lines."""
    answer = answer_of(good, "training")
    assert [line.label for line in answer.lines] == ["Blocks frozen", "Everything trained"]
    best = known(
        winners.winner(good, next(group for group in good.groups if group.trained == "frozen"))
    )
    assert best.comparison is not None
    assert with_interval(best.comparison) in answer.headline


def test_an_empty_run_has_no_answers() -> None:
    """Every answer says what is missing."""
    facts = Facts(Run(folder=Path("empty"), environment={}))
    assert {answer.tone for answer in answers.answers(facts)} == {"unknown"}


@pytest.fixture(scope="module")
def close(make_run: MakeRun) -> tuple[Facts, str]:
    """A run with a rival that one comparison alone calls slower than the best, and a surer not.

    Longer calls move an interval and leave its width, so the rival is put where just that is so.
    """
    run = make_run()
    assert winner_of(Facts(run)).row.scenario == IPEX_1
    rival, _ = runner_up_of(Facts(run))
    facts = Facts(replace(run, speedups=()))
    ends = [facts.compare(rival, IPEX_1, confidence=sure) for sure in (0.95, surer(facts))]
    alone, among_all = (found.high for found in ends if found is not None)
    assert alone < among_all
    limit = 1 / (1 + facts.policy.verdict.minimal_effect)
    return Facts(longer(run, rival, math.sqrt(alone * among_all) / limit)), rival


def surer(facts: Facts) -> float:
    """The confidence of each comparison with the best of batch 1 (Bonferroni).

    The best is compared with all other candidates and stock default.
    """
    return 1 - 0.05 / len(winners.candidates(facts, BATCH_1))


def test_a_rival_is_called_slower_only_by_a_surer_comparison(close: tuple[Facts, str]) -> None:
    """The runner-up is judged with the same confidence as the scenarios that share the lead."""
    facts, rival = close
    best, alone = winner_of(facts), facts.compare(rival, IPEX_1)
    assert best.row.scenario == IPEX_1
    assert alone is not None
    assert alone.verdict == Verdict.SLOWER
    level = {row.scenario: comparison for row, comparison in best.level}
    assert set(level) == {rival}
    assert level[rival].verdict != Verdict.SLOWER
    assert level[rival].estimate == alone.estimate
    assert level[rival].high > alone.high
    assert answer_of(facts, "latency").tone == "good"
    name, comparison = runner_up_of(facts)
    assert name == rival
    assert comparison.verdict != Verdict.FASTER


def test_a_rival_that_is_not_level_is_slower(
    close: tuple[Facts, str],
) -> None:
    """Stock default included."""
    facts, _ = close
    best = winner_of(facts)
    rivals = [row.scenario for row, _ in winners.candidates(facts, BATCH_1) if row is not best.row]
    level = {row.scenario for row, _ in best.level}
    for rival in (*rivals, DEFAULT_1):
        found = known(facts.compare(rival, best.row.scenario, confidence=surer(facts)))
        assert (found.verdict == Verdict.SLOWER) == (rival not in level)


def test_the_winner_over_stock_default_is_the_headlines_claim(good: Facts) -> None:
    """Its interval allows for all that could have won, and for all headlines of the run."""
    for group in good.groups:
        best = known(winners.winner(good, group))
        claim = good.claims.answer("best", group.noise_name, named=best.row.scenario)
        alone = good.against_default(best.row.scenario)
        assert best.comparison == claim
        assert claim is not None
        assert alone is not None
        assert claim.estimate == pytest.approx(alone.estimate, rel=1e-9)
        assert claim.low < alone.low
        assert claim.high > alone.high


def test_one_candidate_pays_for_the_number_of_headlines(
    make_run: MakeRun,
) -> None:
    """Nothing was chosen by the data."""
    facts = Facts(make_run(only=(DEFAULT_1, IPEX_1)))
    best = winner_of(facts).comparison
    alone = facts.compare(IPEX_1, DEFAULT_1, confidence=facts.claims.confidence)
    assert best is not None
    assert alone is not None
    assert (best.low, best.high) == pytest.approx((alone.low, alone.high), rel=1e-9)
