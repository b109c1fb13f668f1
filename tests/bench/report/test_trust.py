"""What the first screen says of decisions and of noise."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.analysis import winners
from bench.analysis.run_facts import Facts
from bench.plan.scenario import Status
from bench.report import banners, build
from bench.text.wording import bounds, times
from tests.bench.calls import longer, with_rows
from tests.bench.made_up_runs import BATCH_1, DEFAULT_1, IPEX_1, LAST_1, THREE, MakeRun, answer_of

if TYPE_CHECKING:
    from bench.store.records import IterationRow, Run


def test_same_decisions_have_a_count_and_what_so_few_leave_open(
    make_run: MakeRun,
) -> None:
    """No change in 8 images does not show that there is none: 31 % could be (0.69^8 is .05)."""
    run = make_run(trained=True)
    few = next(row.scenario for row in run.parity if row.scenario.startswith("inference/ipex"))
    answer = answer_of(Facts(with_rows(run, "parity", few, images=8)), "decisions")
    assert (answer.tone, answer.number) == ("good", "same")
    assert "8 to 32" in answer.headline
    assert any("8 images" in text and "31 %" in text for text in answer.details)


def test_the_largest_difference_has_the_images_that_it_was_found_on(make_run: MakeRun) -> None:
    """Not those of another dtype's comparison."""
    run = make_run(trained=True)
    for row in run.parity:
        run = with_rows(
            run, "parity", row.scenario, images=8 if "bf16" in row.scenario else row.images
        )
    found = [one for one in answer_of(Facts(run), "decisions").details if "Largest" in one]
    assert {one.split(" in ")[1][:4]: one.endswith("on 8 images.") for one in found} == {
        "fp32": False,
        "bf16": True,
    }


def test_changed_decisions_are_counted_and_named(make_run: MakeRun) -> None:
    """One scenario with changed decisions is enough."""
    answer = answer_of(Facts(make_run(trained=True, decisions_changed=((IPEX_1, 2),))), "decisions")
    assert answer.headline.startswith("1 of ")
    assert answer.lines[0].label == IPEX_1
    assert re.findall(r"\d+", answer.lines[0].text) == ["2", "32"]
    assert answer.tone == "bad"


def test_an_untrained_or_wrong_model_is_no_yes(good: Facts, make_run: MakeRun) -> None:
    """Random weights decide nothing, and a wrong output outranks every decision."""
    assert answer_of(good, "decisions").tone == "plain"
    wrong = make_run(trained=True, faults=((IPEX_1, Status.WRONG_OUTPUT, "x"),))
    assert answer_of(Facts(wrong), "decisions").number == "1 wrong"


def test_wrong_outputs_of_one_hide_no_changed_decision_of_another(make_run: MakeRun) -> None:
    """The headline counts both."""
    wrong = ((LAST_1, Status.WRONG_OUTPUT, "x"),)
    run = make_run(trained=True, only=THREE, faults=wrong, decisions_changed=((IPEX_1, 3),))
    answer = answer_of(Facts(run), "decisions")
    assert re.findall(r"\d+", answer.headline) == ["1", "1"]
    assert "agree" not in answer.headline


def test_wrong_outputs_are_none_of_the_others(make_run: MakeRun) -> None:
    """A scenario whose outputs are wrong may decide differently, too: it counts once."""
    wrong = ((LAST_1, Status.WRONG_OUTPUT, "x"),)
    run = make_run(trained=True, only=THREE, faults=wrong, decisions_changed=((LAST_1, 3),))
    answer = answer_of(Facts(run), "decisions")
    assert re.findall(r"\d+", answer.headline) == ["1"]
    assert len(answer.lines) == 1


def test_noise_shows_the_control_that_is_least_expected(good: Facts) -> None:
    """The smallest p-value of five controls, and whether that is odd for five of them."""
    controls = [row for row in good.run.speedups if row.baseline_kind == "control"]
    worst = min(controls, key=lambda row: row.p_value or 1)
    assert worst.p_value is not None
    answer = answer_of(good, "noise")
    assert f"{times(worst.speedup)} {bounds(worst.speedup_low, worst.speedup_high)}" in (
        answer.headline
    )
    of_all = 1 - (1 - worst.p_value) ** len(controls)
    assert of_all > 0.05
    assert f"p = {of_all:.2g}" in answer.headline
    assert "with care" not in answer.headline
    assert answer.tone == "plain"


def test_a_control_that_differs_a_little_is_read_with_care(three: Run) -> None:
    """Too little to refute the model, and more than it expects."""
    facts = Facts(longer(three, f"{DEFAULT_1}#control", 1.015))
    control, answer = facts.control_of(BATCH_1), answer_of(facts, "noise")
    assert control is not None
    assert control.is_valid
    assert "with care" in answer.headline
    assert answer.tone == "plain"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("noisy", "identical workers"), ("disturbed", "22 of")],
)
def test_failed_controls_are_loud(make_run: MakeRun, cause: str, reason: str) -> None:
    """Headline and banner count the same groups, those with a control, and name the cause."""
    run = make_run(**{cause: True})
    lacking = next(row.scenario for row in run.speedups if row.baseline_kind == "control")
    speedups = tuple(
        row for row in run.speedups if (row.scenario, row.baseline_kind) != (lacking, "control")
    )
    for changed, where in ((run, "5 of 5"), (replace(run, speedups=speedups), "4 of 4")):
        facts = Facts(changed)
        answer = answer_of(facts, "noise")
        assert where in answer.headline
        assert reason in answer.headline
        assert answer.tone == "bad"
        assert where in banners.banners(facts)[0].text
    assert len(answer_of(Facts(run), "noise").lines) == 5


def test_too_few_clean_blocks_leave_no_verdict(make_run: MakeRun) -> None:
    """Other work disturbed all blocks but two of each worker; a verdict needs three."""
    run = make_run(disturbed=True)
    assert {row.verdict for row in run.speedups} == {"invalid"}
    facts = Facts(run)
    assert winners.winner(facts, BATCH_1) is None
    answer = answer_of(facts, "latency")
    assert answer.tone == "unknown"
    assert "22 of the 24 blocks" in answer.details[0]
    blocks = 24 * len({row.scenario for row in run.iterations})
    details = answer_of(facts, "noise").details
    assert f"of {blocks * 22 // 24:,} of {blocks:,} blocks" in details[0]


def test_some_disturbed_blocks_are_counted_and_left_out(three: Run) -> None:
    """A quarter of one scenario's blocks took twice as long beside other work: none counts."""

    def hit(row: IterationRow) -> IterationRow:
        if row.scenario != IPEX_1 or row.round is None or row.round % 4:
            return row
        return replace(row, wall_ns=2 * row.wall_ns, disturbed=True)

    facts = Facts(replace(three, iterations=tuple(map(hit, three.iterations)), speedups=()))
    found, before = facts.against_default(IPEX_1), Facts(three).against_default(IPEX_1)
    assert found is not None
    assert before is not None
    assert (found.verdict, found.rounds) == ("faster", 18)
    assert found.estimate == pytest.approx(before.estimate, rel=0.01)
    details = answer_of(facts, "noise").details
    assert "25 %" in details[0]
    assert "of 6 of 96 blocks" in details[0]


def test_rounds_that_were_not_quiet_change_no_verdict(three: Run) -> None:
    """Disturbed blocks are found one by one: beside pressure most of them may be clean."""
    noise = tuple(replace(row, cpu_pressure=0.9, quiet=False) for row in three.noise)
    facts = Facts(replace(three, noise=noise, speedups=()))
    assert list(facts.speedup_rows) == list(three.speedups)


def test_the_spread_between_processes_is_reported(good: Facts, make_run: MakeRun) -> None:
    """As measured; where no scenario had a second process, as assumed."""
    spreads = [one.between_processes for one in good.analysis.judge.fitted.spreads.values()]
    details = " ".join(answer_of(good, "noise").details)
    assert f"{100 * min(spreads):.2g} % to {100 * max(spreads):.2g} %" in details
    assert "one process" not in details
    once = make_run(only=THREE, launches=1, rounds=20)
    details = " ".join(answer_of(Facts(once), "noise").details)
    assert "second process" in details
    assert "1.5 %" in details
    number = len(once.speedups)
    assert f"{number} of {number} " in details


def test_comparisons_that_rest_on_one_process_are_counted(three: Run) -> None:
    """Their spread between processes is taken from the scenarios that were repeated."""
    calls = tuple(row for row in three.iterations if row.scenario != IPEX_1 or row.launch == 0)
    facts = Facts(replace(three, iterations=calls, speedups=()))
    few = [row for row in facts.speedup_rows if row.borrowed]
    assert {row.scenario for row in few} >= {IPEX_1}
    assert len(few) < len(facts.speedup_rows)
    start = f"{len(few)} of {len(facts.speedup_rows)} "
    (sentence,) = [one for one in answer_of(facts, "noise").details if one.startswith(start)]
    assert "other scenarios" in sentence


@pytest.mark.parametrize(
    ("pages", "is_reported"),
    [
        ((6240, 6240), False),
        ((6240, 6900), False),
        ((262_000, 267_000), False),
        ((6240, 15_648), True),
    ],
)
def test_different_page_faults_of_identical_workers_are_reported(
    three: Run, pages: tuple[int, int], is_reported: bool
) -> None:
    """Within one launch, and only if the difference is large and a large share."""
    by_worker = dict(zip((DEFAULT_1, f"{DEFAULT_1}#control"), pages, strict=True))
    calls = tuple(
        replace(row, page_faults=by_worker.get(row.scenario) if row.launch else 6240)
        for row in three.iterations
    )
    details = answer_of(Facts(replace(three, iterations=calls)), "noise").details
    found = [one for one in details if "pages a call" in one]
    assert bool(found) is is_reported
    assert all("15,648" in one and "6,240" in one and BATCH_1.label in one for one in found)


def of_first_version(run: Run, **row: object) -> Run:
    """The run as version 0.1 would have left it, with these fields in all rows of speedups.csv.

    Its policy knew no model, its calls say nothing of other work, its scenarios nothing of checks,
    and its speedups only what followed from the interval of a bootstrap.
    """
    policy = {key: value for key, value in run.environment["policy"].items() if key != "model"}
    new = ("standard_error", "degrees_of_freedom", "borrowed", "at_least", "p_value")
    columns = {**dict.fromkeys(new), "processes": 0, "seconds_to_decide": None, "margin": 0.03}
    return replace(
        run,
        environment={**run.environment, "policy": policy},
        iterations=tuple(replace(one, disturbed=None) for one in run.iterations),
        scenarios=tuple(replace(one, checked=None) for one in run.scenarios),
        speedups=tuple(replace(one, **{**columns, **row}) for one in run.speedups),  # type: ignore[arg-type]  # any column
    )


@pytest.mark.parametrize("verdict", ["inconclusive", None])
def test_a_run_of_the_first_version_is_judged_again(three: Run, verdict: str | None) -> None:
    """By today's rule; the banner counts the verdicts that differ from the written ones."""
    changed = {"verdict": verdict} if verdict else {}
    old = of_first_version(three, speedup_low=0.5, speedup_high=2.5, **changed)
    facts, total = Facts(old), len(old.speedups)
    assert facts.is_judged_again
    assert list(facts.speedup_rows) == list(three.speedups)
    (banner,) = [one for one in banners.banners(facts) if one.title == "Judged again"]
    assert f"{total if verdict else 0} of {total} " in banner.text
    assert "Judged again" not in [one.title for one in banners.banners(Facts(three))]
    page = html.unescape(build(old))
    assert "Judged again" in page
    assert bounds(0.5, 2.5) not in page
    assert all(bounds(row.speedup_low, row.speedup_high) in page for row in three.speedups)


def test_a_run_without_calls_cannot_be_judged_again(three: Run) -> None:
    """Its rows stay as they were written, and no banner says otherwise."""
    bare = replace(of_first_version(three, verdict="inconclusive"), iterations=())
    assert not Facts(bare).is_judged_again
    assert Facts(bare).speedup_rows == bare.speedups
    assert "Judged again" not in [one.title for one in banners.banners(Facts(bare))]


def test_other_work_beside_an_old_run_is_found_in_its_cpu_times(
    three: Run,
) -> None:
    """A block with less CPU time than usual does not count if its round saw other work."""
    starved = tuple(
        replace(row, wall_ns=2 * row.wall_ns) if (row.scenario, row.round) == (IPEX_1, 0) else row
        for row in three.iterations
    )
    quiet = of_first_version(replace(three, iterations=starved))
    pressure = {0: 0.9}
    busy = tuple(
        replace(one, cpu_pressure=pressure.get(one.round, one.cpu_pressure)) for one in quiet.noise
    )
    found = [Facts(run).against_default(IPEX_1) for run in (quiet, replace(quiet, noise=busy))]
    assert [one and one.rounds for one in found] == [24, 21]


def test_a_killed_run_is_answered_from_its_calls(three: Run) -> None:
    """Without its last summary it says the same; of unchecked scenarios it says nothing."""

    def titles(run: Run) -> list[str]:
        return [banner.title for banner in banners.banners(Facts(run))]

    killed = replace(three, speedups=())
    headlines = {answer_of(Facts(run), "latency").headline for run in (three, killed)}
    assert len(headlines) == 1
    assert LAST_1 in Facts(killed).scenarios
    assert "Speedups were computed for this page" in titles(killed)
    bare = replace(killed, scenarios=(), parity=(), noise=(), kernels=(), warnings=())
    answer = answer_of(Facts(bare), "latency")
    assert answer.tone == "level"
    assert any("checked" in one for one in answer.details)
    assert "The run's summaries are missing" in titles(bare)
    assert answer_of(Facts(bare), "decisions").tone == "unknown"
