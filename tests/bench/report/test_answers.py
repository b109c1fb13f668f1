"""The first screen's rules: each says what the rows allow, and no more."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable
from typing import Any

import pytest

from bench.analysis import recovered, winners
from bench.analysis.facts import Comparison, Facts, Group
from bench.plan.scenario import Status, Verdict
from bench.report import answers, banners, build
from bench.store.events import Event, EventKind, to_environment
from bench.store.records import IterationRow, Run, SpeedupRow
from bench.text.wording import bounds, digits, times
from tests.bench.calls import longer

MakeRun = Callable[..., Run]
DEFAULT_1 = "inference/stock/eager/fp32/contiguous/b1"
LAST_1 = "inference/stock/eager/fp32/channels_last/b1"
IPEX_1 = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"
BATCH_1 = Group("inference", 1, "")


def said(facts: Facts, key: str) -> answers.Answer:
    """The answer of that key."""
    return next(answer for answer in answers.answers(facts) if answer.key == key)


def judged(run: Run, scenario: str, verdict: str, *, kind: str | None = None) -> Run:
    """The run with another verdict for that scenario."""

    def change(row: SpeedupRow) -> SpeedupRow:
        if row.scenario == scenario and kind in (None, row.baseline_kind):
            return dataclasses.replace(row, verdict=verdict)
        return row

    return dataclasses.replace(run, speedups=tuple(change(row) for row in run.speedups))


@pytest.fixture(scope="module")
def good(make_run: MakeRun) -> Facts:
    """A quiet, complete run."""
    return Facts(make_run())


# ---- who is fastest


def test_latency_names_the_largest_valid_speedup_with_its_interval(good: Facts) -> None:
    """The estimate and the time are the row's; the interval allows for its being the best."""
    rows = [
        row
        for row in good.run.speedups
        if row.baseline_kind == "stock_default" and row.scenario.endswith("/b1") and row.speedup
    ]
    best = max(rows, key=lambda row: row.speedup or 0)
    answer = said(good, "latency")
    claim = good.claims.answer("best", "inference/b1")
    assert claim is not None
    assert claim.estimate == pytest.approx(best.speedup, rel=1e-9)
    assert claim.low < (best.speedup_low or 0)
    assert f"{times(best.speedup)} {bounds(claim.low, claim.high)}" in answer.headline
    assert answer.number == f"{digits(good.scenarios[best.scenario].median_ms)} ms"
    assert answer.tone == "good"


def test_rivals_that_were_not_shown_to_be_slower_are_named(make_run: MakeRun) -> None:
    """Two ways that differ by less than the margin share the lead."""
    facts = Facts(make_run(only=(DEFAULT_1, LAST_1, IPEX_1), slow_ipex=1.085))
    answer = said(facts, "latency")
    assert "leads" in answer.headline
    assert "Not shown to be slower" in answer.details[0]


def test_clear_winner_is_called_fastest(make_run: MakeRun) -> None:
    """Where every rival was shown to be slower, the sentence says so."""
    facts = Facts(make_run(only=(DEFAULT_1, LAST_1, IPEX_1), slow_ipex=0.8))
    answer = said(facts, "latency")
    assert "is fastest" in answer.headline
    assert "shown to be slower" in answer.details[0]


@pytest.mark.parametrize("slow_ipex", [0.8, 1.085])
def test_ratio_to_the_runner_up_has_its_interval(make_run: MakeRun, slow_ipex: float) -> None:
    """Whether the lead was shown or not, how large it is stands in the first sentence."""
    facts = Facts(make_run(only=(DEFAULT_1, LAST_1, IPEX_1), slow_ipex=slow_ipex))
    best = winners.winner(facts, BATCH_1)
    assert best is not None
    second = winners.runner_up(facts, best)
    assert second is not None
    assert {best.row.scenario, second[0].scenario} == {LAST_1, IPEX_1}
    lead = answers.lead(facts)
    assert f"{times(second[1].estimate)} {bounds(second[1].low, second[1].high)}" in lead
    assert ("no difference shown" in lead) == (not second[1].found)


def test_what_ipex_gains_in_bf16_is_not_denied_by_fp32(make_run: MakeRun) -> None:
    """The headline speaks of fp32 alone where bf16 has another answer, and says which."""
    facts = Facts(make_run(native_bf16=True, slow_ipex=0.8))
    groups = [group for group in facts.groups if group.task == "inference"]
    bf16 = {
        group.batch_size: claim.verdict
        for group in groups
        if (claim := facts.claims.answer("ipex", group.noise_name, "bf16")) is not None
    }
    shown = [size for size, verdict in bf16.items() if verdict in ("faster", "slower")]
    headline = said(facts, "ipex").headline
    assert shown
    assert "in fp32" in headline
    assert "In bf16 it is " in headline
    assert str(shown[0]) in headline[headline.index("In bf16") :]
    assert "In bf16" not in said(Facts(make_run()), "ipex").headline


def test_stock_before_ipex_is_said_once(make_run: MakeRun) -> None:
    """The runner-up is the best of IPEX: what IPEX gains is the same comparison turned round."""
    facts = Facts(make_run(only=(DEFAULT_1, LAST_1, IPEX_1), slow_ipex=1.2))
    lead = answers.lead(facts)
    assert "Over the runner-up, IPEX" in lead
    assert "IPEX is slower" not in lead
    assert "Between IPEX" not in lead


def test_invalid_scenario_never_wins(make_run: MakeRun) -> None:
    """The largest ratio counts for nothing when its verdict is invalid."""
    run = judged(make_run(only=(DEFAULT_1, LAST_1, IPEX_1)), IPEX_1, "invalid")
    best = winners.winner(Facts(run), BATCH_1)
    assert best is not None
    assert best.row.scenario == LAST_1


def test_wrong_outputs_never_win(make_run: MakeRun) -> None:
    """Fast and wrong is not fast, even if a verdict in the file says so."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))
    wrong = tuple(
        dataclasses.replace(row, within_tolerance=row.scenario != IPEX_1) for row in run.parity
    )
    best = winners.winner(Facts(dataclasses.replace(run, parity=wrong)), BATCH_1)
    assert best is not None
    assert best.row.scenario == LAST_1


def test_placebo_never_wins(make_run: MakeRun) -> None:
    """Importing IPEX is no way of running a model."""
    placebo = "inference/placebo/eager/fp32/contiguous/b1"
    facts = Facts(make_run(only=(DEFAULT_1, placebo)))
    assert winners.candidates(facts, BATCH_1) == []


def test_stock_default_can_be_the_answer(make_run: MakeRun) -> None:
    """Where nothing is faster, the answer is to leave everything as it is."""
    answer = said(Facts(make_run(only=(DEFAULT_1, IPEX_1), slow_ipex=2.0)), "latency")
    assert "nothing that was measured is faster" in answer.headline
    assert answer.tone == "level"


def test_inconclusive_lead_is_no_lead(make_run: MakeRun) -> None:
    """A larger estimate without a verdict is reported as no difference shown."""
    run = make_run(only=(DEFAULT_1, IPEX_1), slow_ipex=1.4, spread=0.1, rounds=4, launches=2)
    answer = said(Facts(run), "latency")
    assert answer.headline == "Nothing was shown to be faster than stock default."
    assert answer.tone == "level"


def test_a_higher_estimate_without_a_verdict_hides_no_faster_one(make_run: MakeRun) -> None:
    """The answer would say that nothing was shown, and the table beside it that something was."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))
    ratios = {(r.scenario, r.baseline_kind): r for r in run.speedups}
    fastest, other = sorted(
        (LAST_1, IPEX_1), key=lambda name: -(ratios[name, "stock_default"].speedup or 0)
    )
    facts = Facts(judged(judged(run, other, "faster"), fastest, "inconclusive"))
    best = winners.winner(facts, BATCH_1)
    assert best is not None
    assert best.row.scenario == other
    assert "over stock default" in said(facts, "latency").headline
    assert "Nothing was shown" not in answers.lead(facts)


def test_throughput_is_that_of_a_way_that_was_shown(make_run: MakeRun) -> None:
    """Where a batch's fastest has no verdict, stock default's images per second count for it."""
    run = make_run(
        only=(DEFAULT_1, IPEX_1, *(name.replace("/b1", "/b8") for name in (DEFAULT_1, IPEX_1)))
    )
    at_8 = IPEX_1.replace("/b1", "/b8")
    rows = {row.scenario: row for row in run.scenarios}
    calls = tuple(
        row
        for row in run.iterations
        if row.scenario != at_8 or row.round is None or (row.launch, row.round) < (0, 2)
    )
    thin = dataclasses.replace(run, iterations=calls, speedups=())
    answer = said(Facts(thin), "throughput")
    shown, default_at_8 = rows[IPEX_1], rows[DEFAULT_1.replace("/b1", "/b8")]
    assert (shown.images_per_s or 0) > (default_at_8.images_per_s or 0)
    assert answer.number == f"{digits(shown.images_per_s)} images/s"
    assert answer.question.endswith("batch 1")


def test_failed_control_leaves_no_winner(make_run: MakeRun) -> None:
    """Where identical workers differ by 10 % in every process, no ratio is believed."""
    run = make_run(noisy=True)
    assert {row.verdict for row in run.speedups} == {"invalid"}
    facts = Facts(run)
    assert winners.winner(facts, BATCH_1) is None
    assert said(facts, "latency").tone == "unknown"
    assert "cannot be believed" in answers.lead(facts)


def test_throughput_takes_the_batch_with_most_images(good: Facts) -> None:
    """Among the groups' winners the images per second decide."""
    most = max(
        best.row.images_per_s or 0
        for group in good.groups
        if group.task == "inference" and (best := winners.winner(good, group)) is not None
    )
    assert said(good, "throughput").number == f"{digits(most)} images/s"


def test_unsettled_winner_is_flagged(make_run: MakeRun) -> None:
    """`no_steady_state` is measured all the same, and said."""
    run = make_run(
        only=(DEFAULT_1, IPEX_1), faults=((IPEX_1, Status.NO_STEADY_STATE, "did not settle"),)
    )
    assert "never settled" in said(Facts(run), "latency").details[0]


# ---- IPEX


@pytest.mark.parametrize(
    ("plan", "words", "tone"),
    [
        ({}, "faster at batch 1", "good"),
        ({"slow_ipex": 1.2}, "SLOWER at batch 1", "bad"),
        ({"slow_ipex": 1.085}, "equally fast, within 3 %", "level"),
        (
            {"slow_ipex": 1.085, "spread": 0.1, "rounds": 4, "launches": 2},
            "No difference between IPEX and tuned",
            "level",
        ),
    ],
)
def test_ipex_headline_follows_the_verdict_against_stock_tuned(
    make_run: MakeRun, plan: dict[str, Any], words: str, tone: str
) -> None:
    """A gain over stock default alone is no gain of IPEX."""
    answer = said(Facts(make_run(only=(DEFAULT_1, LAST_1, IPEX_1), **plan)), "ipex")
    assert words in answer.headline
    assert answer.tone == tone


def test_ipex_over_a_baseline_that_cannot_be_used_is_said_to_be_without(make_run: MakeRun) -> None:
    """Tuned stock PyTorch lost all blocks but two to other work, and stock default none."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))
    calls = tuple(
        dataclasses.replace(row, disturbed=(row.launch, row.round) > (0, 1))
        if row.scenario == LAST_1 and row.round is not None
        else row
        for row in run.iterations
    )
    answer = said(Facts(dataclasses.replace(run, iterations=calls, speedups=())), "ipex")
    assert "without a valid comparison at batch 1" in answer.headline
    assert answer.tone == "unknown"
    first, second = answer.lines[0].cells
    assert first is not None
    assert first.verdict == "faster"
    assert second is not None
    assert (second.baseline, second.verdict) == (LAST_1, "invalid")


def test_ipex_lines_hold_both_baselines(good: Facts) -> None:
    """One line a batch size, over stock default and over stock tuned."""
    answer = said(good, "ipex")
    assert answer.columns == ("over stock default", "over stock tuned")
    assert [line.label for line in answer.lines] == ["Batch 1", "Batch 8", "Batch 32"]
    first = answer.lines[0].cells
    assert first[0] is not None
    assert first[1] is not None
    rows = {(row.scenario, row.baseline_kind): row for row in good.run.speedups}
    assert first[0].estimate == rows[first[0].scenario, "stock_default"].speedup
    tuned = rows[first[1].scenario, "stock_tuned"]
    assert first[1].estimate == pytest.approx(tuned.speedup, rel=1e-9)
    assert first[1].low < (tuned.speedup_low or 0)  # as one of several headlines


def test_ways_of_ipex_that_lose_are_on_the_first_screen(good: Facts) -> None:
    """The best way leads, and yet `ipex.optimize` alone may be slower than doing nothing."""
    eager = "inference/ipex/eager/fp32/channels_last/b1"
    ratio = next(
        row
        for row in good.run.speedups
        if (row.scenario, row.baseline_kind) == (eager, "stock_default")
    )
    assert "stock default" not in said(good, "ipex").headline
    answer = said(Facts(judged(good.run, eager, "slower", kind="stock_default")), "ipex")
    found = f"IPEX eager, {times(ratio.speedup)} {bounds(ratio.speedup_low, ratio.speedup_high)}"
    assert f"SLOWER than stock default at batch 1: {found}." in answer.headline
    assert answer.tone != "good"


def test_noise_and_not_an_unsupported_way_is_why_ipex_has_no_answer(make_run: MakeRun) -> None:
    """On a CPU without bf16 kernels IPEX's bf16 cannot run; its fp32 did, and was too noisy."""
    run = make_run(noisy=True)
    scenarios = tuple(
        dataclasses.replace(
            row, status=Status.UNSUPPORTED, reason="IPEX packs no bf16 weights", median_ms=None
        )
        if (row.backend, row.dtype) == ("ipex", "bf16")
        else row
        for row in run.scenarios
    )
    answer = said(Facts(dataclasses.replace(run, scenarios=scenarios)), "ipex")
    assert answer.headline == "IPEX gave no valid result."
    assert "The control failed" in answer.details[0]
    assert "bf16" not in " ".join(answer.details)


def test_missing_ipex_says_why(make_run: MakeRun) -> None:
    """Unavailable is an answer with a reason."""
    answer = said(Facts(make_run(ipex=False)), "ipex")
    assert answer.headline == "IPEX could not be measured here."
    assert "not installed" in answer.details[0]


# ---- bf16, decisions, noise


def test_emulated_bf16_is_called_slower_and_emulated(good: Facts) -> None:
    """On a CPU without bf16 the page advises against it."""
    answer = said(good, "bf16")
    assert "SLOWER" in answer.headline
    assert "emulated" in answer.details[0]
    assert answer.tone == "bad"


def test_a_pair_that_tells_nothing_is_not_one_that_bf16_does_not_help(make_run: MakeRun) -> None:
    """Nine pairs near 2x, one of them open, are no `and not in others`."""
    facts = Facts(make_run(native_bf16=True))
    usual, (opened, twin) = facts.compare, winners.bf16_pairs(facts)[0]

    def one_open(candidate: str, baseline: str, **more: Any) -> Comparison | None:
        found = usual(candidate, baseline, **more)
        if found is None or (candidate, baseline) != (opened.scenario, twin.scenario):
            return found
        return dataclasses.replace(found, verdict=Verdict.INCONCLUSIVE)

    object.__setattr__(facts, "compare", one_open)  # frozen, and of this test alone
    answer = said(facts, "bf16")
    assert answer.tone == "good"
    assert "in every way that could be told" in " ".join((answer.headline, *answer.details))


def test_native_bf16_that_helps_is_said_to_help(make_run: MakeRun) -> None:
    """The same rule on another CPU gives the opposite answer."""
    answer = said(Facts(make_run(native_bf16=True)), "bf16")
    assert "the best in bf16 is 1.8" in answer.headline
    assert "faster than fp32 in every way" in answer.details[0]
    assert answer.tone == "good"


def test_same_decisions_of_a_trained_model(make_run: MakeRun) -> None:
    """No decision changed, on a model whose decisions mean something."""
    answer = said(Facts(make_run(trained=True)), "decisions")
    assert answer.headline.startswith("Yes")


def test_how_many_images_agree_is_said_and_what_so_few_leave_open(make_run: MakeRun) -> None:
    """No change in 8 images does not show that there is none: 31 % could be (0.69^8 is .05)."""
    run = make_run(trained=True)
    inference = [row for row in run.parity if row.scenario.startswith("inference/")]
    few = dataclasses.replace(inference[-1], images=8)
    parity = tuple(few if row is inference[-1] else row for row in run.parity)
    answer = said(Facts(dataclasses.replace(run, parity=parity)), "decisions")
    assert answer.headline.endswith("decide alike on 8 to 32 images.")
    assert any("No change in 8 images" in text and "31 %" in text for text in answer.details)


def test_changed_decisions_are_counted_and_named(make_run: MakeRun) -> None:
    """One changed decision is enough to say so."""
    run = make_run(trained=True, decisions_changed=((IPEX_1, 2),))
    answer = said(Facts(run), "decisions")
    assert answer.headline.startswith("1 of ")
    assert answer.lines[0].label == IPEX_1
    assert "2 decisions of 32 changed" in answer.lines[0].text
    assert answer.tone == "bad"


def test_untrained_decisions_mean_nothing(good: Facts) -> None:
    """The sentence does not say yes where the model cannot decide."""
    assert "decisions mean nothing" in said(good, "decisions").headline


def test_wrong_outputs_are_said_first(make_run: MakeRun) -> None:
    """A wrong output outranks everything else about decisions."""
    run = make_run(faults=((IPEX_1, Status.WRONG_OUTPUT, "x"),))
    assert "1 scenario gave wrong outputs" in said(Facts(run), "decisions").headline


def test_noise_shows_the_control_that_is_least_expected(good: Facts) -> None:
    """Of five controls one has the smallest p-value; whether that is odd is said of all five."""
    controls = [row for row in good.run.speedups if row.baseline_kind == "control"]
    worst = min(controls, key=lambda row: row.p_value or 1)
    assert worst.p_value is not None
    answer = said(good, "noise")
    assert f"{times(worst.speedup)} {bounds(worst.speedup_low, worst.speedup_high)}" in (
        answer.headline
    )
    of_all = 1 - (1 - worst.p_value) ** len(controls)
    assert of_all > 0.05
    assert f"p = {of_all:.2g}" in answer.headline
    assert "with care" not in answer.headline
    assert answer.tone == "plain"


def test_a_control_that_differs_a_little_is_read_with_care(make_run: MakeRun) -> None:
    """Too little to refute the model, and more than it expects."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))
    facts = Facts(longer(run, f"{DEFAULT_1}#control", 1.015))
    control = facts.control_of(BATCH_1)
    assert control is not None
    assert control.is_valid
    answer = said(facts, "noise")
    assert "with care" in answer.headline
    assert answer.tone == "plain"


def test_what_processes_differ_by_is_said(good: Facts, make_run: MakeRun) -> None:
    """As the run showed it; where it repeated nothing, what is assumed."""
    spreads = [one.between_processes for one in good.analysis.judge.fitted.spreads.values()]
    details = said(good, "noise").details
    told = f"differ by {100 * min(spreads):.2g} % to {100 * max(spreads):.2g} %"
    assert any(told in one for one in details)
    assert not any("one process" in one for one in details)
    once = make_run(only=(DEFAULT_1, LAST_1, IPEX_1), launches=1, rounds=20)
    details = said(Facts(once), "noise").details
    assert any("second process" in one and "1.5 %" in one for one in details)
    number = len([row for row in once.speedups if row.borrowed])
    assert number == len(once.speedups)
    assert f"{number} of {number} comparisons rest on one process." in details


def test_comparisons_that_rest_on_one_process_are_counted(make_run: MakeRun) -> None:
    """How its processes differ is taken from those that were repeated."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))
    calls = tuple(row for row in run.iterations if row.scenario != IPEX_1 or row.launch == 0)
    facts = Facts(dataclasses.replace(run, iterations=calls, speedups=()))
    few = [row for row in facts.speedup_rows if row.borrowed]
    assert {row.scenario for row in few} >= {IPEX_1}
    assert len(few) < len(facts.speedup_rows)
    start = f"{len(few)} of {len(facts.speedup_rows)} comparisons rest on one process: "
    (told,) = [one for one in said(facts, "noise").details if one.startswith(start)]
    assert "other scenarios" in told


def test_rounds_that_were_not_quiet_change_no_verdict(make_run: MakeRun) -> None:
    """What other work did is told block by block: beside pressure most of them may be clean."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))
    noise = tuple(dataclasses.replace(row, cpu_pressure=0.9, quiet=False) for row in run.noise)
    facts = Facts(dataclasses.replace(run, noise=noise, speedups=()))
    assert list(facts.speedup_rows) == list(run.speedups)


def test_too_few_clean_blocks_leave_no_verdict(make_run: MakeRun) -> None:
    """Other work disturbed all but two of each: nothing is left that three would carry."""
    run = make_run(disturbed=True)
    assert {row.verdict for row in run.speedups} == {"invalid"}
    facts = Facts(run)
    assert winners.winner(facts, BATCH_1) is None
    answer = said(facts, "latency")
    assert answer.tone == "unknown"
    assert "other work disturbed 22 of the 24 blocks" in answer.details[0]
    blocks = 24 * len({row.scenario for row in run.iterations})
    trust = said(facts, "noise")
    assert trust.tone == "bad"
    assert f"of {blocks * 22 // 24:,} of {blocks:,} blocks nothing is left" in trust.details[0]
    banner = next(one for one in banners.banners(facts) if one.level == "stop")
    assert banner.text.startswith("5 of 5 comparison groups failed: other work disturbed 22 of")


def test_some_disturbed_blocks_are_told_and_left_out(make_run: MakeRun) -> None:
    """A quarter of one scenario's blocks took twice as long beside other work: none counts."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))

    def hit(row: IterationRow) -> IterationRow:
        if row.scenario != IPEX_1 or row.round is None or row.round % 4:
            return row
        return dataclasses.replace(row, wall_ns=2 * row.wall_ns, disturbed=True)

    changed = dataclasses.replace(run, iterations=tuple(map(hit, run.iterations)), speedups=())
    facts = Facts(changed)
    found, before = facts.against_default(IPEX_1), Facts(run).against_default(IPEX_1)
    assert found is not None
    assert before is not None
    assert (found.verdict, found.rounds) == ("faster", 18)
    assert found.estimate == pytest.approx(before.estimate, rel=0.01)
    details = said(facts, "noise").details
    assert "up to 25 % of a scenario's calls" in details[0]
    assert "of 6 of 96 blocks nothing is left" in details[0]


@pytest.mark.parametrize(
    ("pages", "told"),
    [
        ((6240, 6240), False),
        ((6240, 6900), False),
        ((262_000, 267_000), False),
        ((6240, 15_648), True),
    ],
)
def test_unlike_work_of_identical_workers_is_said(
    make_run: MakeRun, pages: tuple[int, int], told: bool
) -> None:
    """Of one launch; where both fault alike, or no worker tells, there is nothing to say."""
    run = make_run()
    by_worker = dict(zip((DEFAULT_1, f"{DEFAULT_1}#control"), pages, strict=True))
    calls = [
        dataclasses.replace(row, page_faults=by_worker.get(row.scenario) if row.launch else 6240)
        for row in run.iterations
    ]
    answer = said(Facts(dataclasses.replace(run, iterations=tuple(calls))), "noise")
    found = [one for one in answer.details if "pages in a call" in one]
    assert bool(found) is told
    assert all("15,648" in one and "6,240" in one and BATCH_1.label in one for one in found)


def test_failed_control_is_loud(make_run: MakeRun) -> None:
    """It is the headline, with each group's control below."""
    answer = said(Facts(make_run(noisy=True)), "noise")
    assert answer.headline.startswith("NOT in 5 of 5")
    assert "identical workers came out as" in answer.headline
    assert len(answer.lines) == 5


def test_too_few_clean_blocks_are_not_blamed_on_identical_workers(make_run: MakeRun) -> None:
    """They agree; what speaks against the group is the other work."""
    answer = said(Facts(make_run(disturbed=True)), "noise")
    assert answer.headline.startswith("NOT in 5 of 5")
    assert "other work disturbed" in answer.headline
    assert "identical workers" not in answer.headline


# ---- banners


def titles(run: Run) -> list[str]:
    """The banners' titles, worst first."""
    return [banner.title for banner in banners.banners(Facts(run))]


@pytest.mark.parametrize(
    ("choices", "title"),
    [
        ({}, "The model is untrained"),
        ({}, "bf16 is emulated on this CPU"),
        ({}, "Synthetic pills"),
        ({}, "IPEX is archived"),
        ({"complete": False}, "The run is incomplete"),
        ({"notes": ("A picture is missing.",)}, "Noted while measuring"),
        ({"noisy": True}, "Not to be believed everywhere"),
        ({"disturbed": True}, "Not to be believed everywhere"),
        ({"faults": ((IPEX_1, Status.WRONG_OUTPUT, "x"),)}, "Wrong outputs"),
    ],
)
def test_banner_is_shown_when_it_is_true(
    make_run: MakeRun, choices: dict[str, Any], title: str
) -> None:
    """Each condition has its banner."""
    assert title in titles(make_run(**choices))


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        ({"cgroup_cpu_limit": 2.0, "affinity": [0, 1, 2, 3]}, "A CPU quota of 2"),
        ({"cgroup_cpu_limit": 0.5, "affinity": [0]}, "A CPU quota of 0.5"),
        ({"slow_cpus": [8, 9]}, "Fast cores only"),
    ],
)
def test_what_the_machine_allows_is_a_banner(
    make_run: MakeRun, facts: dict[str, Any], title: str
) -> None:
    """It changes what figures mean; where it limits nothing there is none."""
    run = make_run()
    machine = {**run.environment["machine"], **facts}
    limited = dataclasses.replace(run, environment={**run.environment, "machine": machine})
    assert set(titles(limited)) - set(titles(run)) == {title}


def test_being_stopped_by_the_own_quota_is_a_banner_and_no_neighbours_doing(
    make_run: MakeRun,
) -> None:
    """Rounds are named as noisy, and the words do not ask to stop other work."""
    run = make_run()
    noise = tuple(dataclasses.replace(row, throttled=0.3, quiet=False) for row in run.noise)
    stopped = dataclasses.replace(run, noise=noise)
    assert set(titles(stopped)) - set(titles(run)) == {"A CPU quota stopped the workers"}


def test_blocks_that_do_not_count_are_told_once(make_run: MakeRun) -> None:
    """A dozen sentences that differ in a scenario's name would push the answers off the screen."""
    lost = [
        Event(kind=EventKind.BLOCK_NOT_COUNTED, subject=f"inference/x/b{n}", reason="it was paused")
        for n in range(11)
    ]
    over = Event(kind=EventKind.BUDGET_EXCEEDED, budget_s=60.0, seconds=10.0)
    run = make_run()
    environment = {**run.environment, **to_environment([*lost, over])}
    found = banners.banners(Facts(dataclasses.replace(run, environment=environment)))
    texts = {banner.title: banner.text for banner in found}
    assert texts["Noted while measuring"] == "11 blocks did not count: it was paused."
    assert texts["The budget cut something"] == over.sentence


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        (EventKind.PROBE_FAILED, "It ended early: it shows what was measured until then. The"),
        (EventKind.INTERRUPTED, "The run was interrupted after 40 s"),
    ],
)
def test_an_incomplete_run_says_that_it_ended_early(
    make_run: MakeRun, kind: EventKind, start: str
) -> None:
    """A killed run has no event of its end, though it may have others."""
    run = make_run(complete=False)
    kept = to_environment([Event(kind=kind, seconds=40.0, reason="planted")])
    cut = dataclasses.replace(run, environment={**run.environment, **kept})
    texts = {banner.title: banner.text for banner in banners.banners(Facts(cut))}
    assert texts["The run is incomplete"].startswith(start)


def test_good_run_of_a_trained_model_has_only_the_note_on_ipex(make_run: MakeRun) -> None:
    """No banner cries wolf."""
    run = make_run(native_bf16=True, trained=True, source="folder")
    assert titles(run) == ["IPEX is archived"]


def test_batch_sizes_that_the_machine_could_not_do_are_said(make_run: MakeRun) -> None:
    """Who asked for 32 and sees 8 as the largest must not look for the reason."""
    run = make_run()
    left_out = {"what": "inference batches of 16 and above", "reason": "20 workers need 21 GiB"}
    matrix = {**run.environment["matrix"], "excluded": [left_out, "nonsense", {"what": "int8"}]}
    cut = dataclasses.replace(run, environment={**run.environment, "matrix": matrix})
    assert sorted([*titles(run), "Larger batches are left out"]) == sorted(titles(cut))
    texts = [banner.text for banner in banners.banners(Facts(cut))]
    assert "Inference batches of 16 and above: 20 workers need 21 GiB." in texts


def test_stopping_banners_come_first(make_run: MakeRun) -> None:
    """What forbids a decision is read before what merely colours it."""
    found = banners.banners(Facts(make_run(complete=False, noisy=True)))
    assert [banner.level for banner in found[:2]] == ["stop", "stop"]
    assert "stop" not in [banner.level for banner in found[2:]]


def test_scenarios_without_a_row_are_counted(make_run: MakeRun) -> None:
    """A run killed half-way says how much is missing."""
    run = make_run(complete=False)
    cut = dataclasses.replace(run, scenarios=run.scenarios[:10])
    text = banners.banners(Facts(cut))[0].text
    assert f"{len(run.scenarios) - 10} of {len(run.scenarios)} scenarios have no row" in text


def test_too_few_rounds_is_not_no_difference(make_run: MakeRun) -> None:
    """Two rounds allow no verdict: the page says that, and claims nothing about the difference."""
    facts = Facts(make_run(profile="smoke", launches=1, rounds=2))
    for key in ("latency", "ipex", "bf16"):
        answer = said(facts, key)
        assert answer.headline == "Too few rounds for a verdict.", key
        assert answer.tone == "unknown"
    assert "Too little was measured" in answers.lead(facts)
    assert "Too little was measured" in titles(facts.run)
    assert not any("importing IPEX" in line for line in said(facts, "ipex").details)


def test_unmeasured_scenarios_are_counted_in_a_banner(make_run: MakeRun, mishaps: Any) -> None:
    """Crashes and timeouts are known before the tables are reached."""
    run = make_run(faults=mishaps)
    banner = next(
        one
        for one in banners.banners(Facts(run))
        if one.title == "Not everything could be measured"
    )
    failed = [row for row in run.scenarios if row.median_ms is None]
    assert banner.text.startswith(f"{len(failed)} of {len(run.scenarios)} scenarios")


def test_killed_run_is_answered_from_its_calls(make_run: MakeRun) -> None:
    """Without its last summary it says the same; of what nothing was checked, nothing."""
    whole = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))
    killed = dataclasses.replace(whole, speedups=())
    assert said(Facts(killed), "latency").headline == said(Facts(whole), "latency").headline
    assert "Speedups were computed for this page" in titles(killed)
    bare = dataclasses.replace(killed, scenarios=(), parity=(), noise=(), kernels=(), warnings=())
    answer = said(Facts(bare), "latency")
    assert answer.headline == "Nothing was shown to be faster than stock default."
    assert any("checked" in one for one in answer.details)
    assert "The run's summaries are missing" in titles(bare)
    assert "No outputs were compared" in said(Facts(bare), "decisions").headline


def of_first_version(run: Run, **row: Any) -> Run:
    """The run as version 0.1 would have left it, with these fields in all rows of speedups.csv.

    Its policy knew no model, its calls say nothing of other work, its scenarios nothing of checks,
    and its speedups only what followed from the interval of a bootstrap.
    """
    policy = {key: value for key, value in run.environment["policy"].items() if key != "model"}
    new = ("standard_error", "degrees_of_freedom", "borrowed", "at_least", "p_value")
    unknown: dict[str, Any] = {**dict.fromkeys(new), "processes": 0, "seconds_to_decide": None}
    return dataclasses.replace(
        run,
        environment={**run.environment, "policy": policy},
        iterations=tuple(dataclasses.replace(one, disturbed=None) for one in run.iterations),
        scenarios=tuple(dataclasses.replace(one, checked=None) for one in run.scenarios),
        speedups=tuple(
            dataclasses.replace(one, margin=0.03, **unknown, **row) for one in run.speedups
        ),
    )


def test_a_run_of_the_first_version_is_judged_again_and_says_so(make_run: MakeRun) -> None:
    """Its rows followed a rule with margins that is gone; the whole page follows one rule."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))
    old = of_first_version(run, verdict="inconclusive", speedup_low=0.5, speedup_high=2.5)
    facts = Facts(old)
    assert facts.is_judged_again
    assert list(facts.speedup_rows) == list(run.speedups)
    (banner,) = [one for one in banners.banners(facts) if one.title == "Judged again"]
    assert f"{len(old.speedups)} of {len(old.speedups)} verdicts" in banner.text
    assert "Judged again" not in titles(run)
    page = html.unescape(build(old))
    assert "Judged again" in page
    assert bounds(0.5, 2.5) not in page
    for row in run.speedups:
        assert bounds(row.speedup_low, row.speedup_high) in page


def test_only_verdicts_that_changed_are_counted_as_read_otherwise(make_run: MakeRun) -> None:
    """Where both rules say the same, the page does not sound as if they differed."""
    old = of_first_version(make_run(only=(DEFAULT_1, LAST_1, IPEX_1)))
    (banner,) = [one for one in banners.banners(Facts(old)) if one.title == "Judged again"]
    assert f"0 of {len(old.speedups)} verdicts" in banner.text


def test_a_run_without_calls_cannot_be_judged_again(make_run: MakeRun) -> None:
    """Its rows stand as they were written, and no banner says otherwise."""
    old = of_first_version(make_run(only=(DEFAULT_1, LAST_1, IPEX_1)), verdict="inconclusive")
    bare = dataclasses.replace(old, iterations=())
    assert not Facts(bare).is_judged_again
    assert Facts(bare).speedup_rows == bare.speedups
    assert "Judged again" not in titles(bare)


def test_other_work_beside_a_run_of_the_first_version_is_found_in_its_cpu_times(
    make_run: MakeRun,
) -> None:
    """A block with less CPU time than usual does not count if its round saw other work."""
    run = make_run(only=(DEFAULT_1, LAST_1, IPEX_1))

    def starved(row: IterationRow) -> IterationRow:
        if row.scenario != IPEX_1 or row.round != 0:
            return row
        return dataclasses.replace(row, wall_ns=2 * row.wall_ns)

    old = of_first_version(run)
    old = dataclasses.replace(old, iterations=tuple(map(starved, old.iterations)))
    noise = [
        dataclasses.replace(one, cpu_pressure=0.9) if one.round == 0 else one for one in old.noise
    ]
    quiet, busy = Facts(old), Facts(dataclasses.replace(old, noise=tuple(noise)))
    assert [one and one.rounds for one in map(against, (quiet, busy))] == [24, 21]


def against(facts: Facts) -> Comparison | None:
    """The fast IPEX scenario over stock default."""
    return facts.against_default(IPEX_1)


@pytest.mark.parametrize("profile", ["smoke", "full"])
def test_rows_made_from_calls_equal_those_of_the_summary(make_run: MakeRun, profile: str) -> None:
    """Every scenario id is understood; what both know agrees."""
    run = make_run(profile=profile, rounds=2, launches=1)
    bare = dataclasses.replace(run, scenarios=(), speedups=())
    made = {row.scenario: row for row in recovered.scenario_rows(bare)}
    assert set(made) == {row.scenario for row in run.scenarios}
    fields = ("task", "backend", "mode", "fusion", "dtype", "layout", "batch_size", "options")
    for row in run.scenarios:
        for field in (*fields, "environment", "median_ms", "rounds", "first_call_ms"):
            assert getattr(made[row.scenario], field) == getattr(row, field), field


# ---- the lead


def test_lead_names_winner_and_ipex_share(good: Facts) -> None:
    """One breath: who leads, by how much, and what of it is IPEX."""
    lead = answers.lead(good)
    assert lead.startswith("IPEX with TorchScript (fusion on) is fastest at batch 1")
    claim = good.claims.answer("best", "inference/b1")
    assert claim is not None
    assert f"{times(claim.estimate)} {bounds(claim.low, claim.high)} over stock default" in lead
    assert "tuned stock PyTorch" in lead


def test_no_answer_promises_anything_for_an_empty_run() -> None:
    """Every card says what is missing."""
    from pathlib import Path

    facts = Facts(Run(folder=Path("empty"), environment={}))
    assert {answer.tone for answer in answers.answers(facts)} == {"unknown"}
    assert "no answer yet" in answers.lead(facts)
