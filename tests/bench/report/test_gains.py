"""What the first screen says of IPEX, of leaving it, of bf16 and of int8."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis import winners
from bench.analysis.run_facts import Comparison, Facts
from bench.analysis.timing import ENDED_BEFORE
from bench.plan.scenario import Status, Verdict
from bench.report import build
from bench.report.answers import environments
from bench.report.answers.dtypes import int8
from bench.report.answers.environments import leaving
from bench.run.outcomes import NO_TURN
from bench.text.wording import bounds, times
from tests.bench.calls import longer
from tests.bench.made_up_runs import DEFAULT_1, IPEX_1, LAST_1, THREE, MakeRun, answer_of
from tests.known import known

if TYPE_CHECKING:
    from bench.store.records import Run

LATEST = {"environments": {"torch-latest": {"version": "3.11.7", "packages": {"torch": "2.14.1"}}}}
INT8 = (
    DEFAULT_1,
    "inference/stock/compile/int8/channels_last/b1",
    "inference/ipex/torchscript+fusion/int8/channels_last/b1",
)


def without(run: Run, reason: str, **of: str) -> Facts:
    """The run's facts if the scenarios that have these values had not been measured."""
    rows = (
        replace(row, status=Status.UNAVAILABLE, reason=reason)
        if all(getattr(row, name) == value for name, value in of.items())
        else row
        for row in run.scenarios
    )
    return Facts(replace(run, scenarios=tuple(rows)))


@pytest.mark.parametrize(
    ("plan", "verdict", "tone"),
    [
        ({}, "faster", "good"),
        ({"slow_ipex": 1.2}, "slower", "bad"),
        ({"slow_ipex": 1.085}, "same", "level"),
        (
            {"slow_ipex": 1.085, "spread": 0.1, "rounds": 4, "launches": 2},
            "inconclusive",
            "level",
        ),
    ],
)
def test_ipex_answer_follows_the_verdict_against_stock_tuned(
    make_run: MakeRun, plan: dict[str, Any], verdict: str, tone: str
) -> None:
    """A gain over stock default alone is no gain of IPEX."""
    answer = answer_of(Facts(make_run(only=THREE, **plan)), "ipex")
    (line,) = answer.lines
    assert known(line.cells[1]).verdict == verdict
    assert answer.tone == tone


def test_what_ipex_gains_in_bf16_is_not_denied_by_fp32(make_run: MakeRun) -> None:
    """The headline speaks of fp32 alone where bf16 has another answer, and says which."""
    facts = Facts(make_run(native_bf16=True, slow_ipex=0.8))
    shown = [
        group.batch_size
        for group in facts.groups
        if (claim := facts.claims.answer("ipex", group.noise_name, "bf16")) is not None
        and group.task == "inference"
        and claim.found
    ]
    fp32, _, bf16 = answer_of(facts, "ipex").headline.partition("In bf16 ")
    assert "in fp32" in fp32
    assert str(shown[0]) in bf16
    assert "In bf16" not in answer_of(Facts(make_run()), "ipex").headline


@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_what_ipex_gains_in_training_is_not_denied_by_inference(
    make_run: MakeRun, gain: float
) -> None:
    """Each decided claim of training is in the headline, which else speaks of inference alone."""
    facts = Facts(make_run(native_bf16=True, slow_ipex=gain))
    decided = [
        found
        for group in facts.groups
        if group.task == "training"
        for dtype in ("fp32", "bf16")
        if (found := facts.claims.answer("ipex", group.noise_name, dtype)) and found.found
    ]
    assert bool(decided) is (gain < 1)
    headline = answer_of(facts, "ipex").headline
    assert ("at inference" in headline) is bool(decided)
    for found in decided:
        assert f"{times(found.estimate)} {bounds(found.low, found.high)}" in headline
    lines = answer_of(facts, "training").lines
    assert {line.label for line in lines} == {
        label + dtype
        for label in ("Blocks frozen", "Everything trained")
        for dtype in ("", ", bf16")
    }


def test_ipex_over_an_unusable_baseline_has_no_valid_comparison(
    make_run: MakeRun,
) -> None:
    """Tuned stock PyTorch lost all blocks but two to other work, and stock default none."""
    run = make_run(only=THREE)
    calls = tuple(
        replace(row, disturbed=(row.launch, row.round) > (0, 1))
        if row.scenario == LAST_1 and row.round is not None
        else row
        for row in run.iterations
    )
    answer = answer_of(Facts(replace(run, iterations=calls, speedups=())), "ipex")
    assert answer.tone == "unknown"
    assert [cell and cell.verdict for cell in answer.lines[0].cells] == ["faster", "invalid"]
    assert answer.lines[0].cells[1].baseline == LAST_1  # type: ignore[union-attr]  # just compared


def test_ipex_lines_hold_both_baselines(make_run: MakeRun) -> None:
    """One line a batch size, over stock default and over stock tuned."""
    facts = Facts(make_run())
    answer = answer_of(facts, "ipex")
    assert answer.columns == ("over stock default", "over stock tuned")
    assert [line.label for line in answer.lines] == ["Batch 1", "Batch 8", "Batch 32"]
    default, tuned = answer.lines[0].cells
    assert default is not None
    assert tuned is not None
    rows = {(row.scenario, row.baseline_kind): row for row in facts.run.speedups}
    row = rows[tuned.scenario, "stock_tuned"]
    assert default.estimate == rows[default.scenario, "stock_default"].speedup
    assert tuned.estimate == pytest.approx(row.speedup, rel=1e-9)
    assert tuned.low < (row.speedup_low or 0)  # as one of several headlines


def test_ipex_scenarios_that_lose_are_on_the_first_screen(make_run: MakeRun) -> None:
    """The best IPEX scenario leads, and `ipex.optimize` alone may be slower than doing nothing."""
    run, eager = make_run(), ("inference/ipex/eager/fp32/channels_last/b1", "stock_default")
    ratio = next(row for row in run.speedups if (row.scenario, row.baseline_kind) == eager)
    speedups = tuple(
        replace(row, verdict="slower") if row is ratio else row for row in run.speedups
    )
    found = f"{times(ratio.speedup)} {bounds(ratio.speedup_low, ratio.speedup_high)}"
    assert found not in answer_of(Facts(run), "ipex").headline
    answer = answer_of(Facts(replace(run, speedups=speedups)), "ipex")
    assert found in answer.headline
    assert answer.tone == "bad"


def test_noise_and_not_an_unsupported_dtype_is_why_ipex_has_no_answer(make_run: MakeRun) -> None:
    """On a CPU without bf16 kernels IPEX's bf16 cannot run; its fp32 did, and was too noisy."""
    run = make_run(noisy=True)
    packs_none: dict[str, Any] = {"status": Status.UNSUPPORTED, "reason": "IPEX packs no bf16"}
    scenarios = tuple(
        replace(row, median_ms=None, **packs_none)
        if (row.backend, row.dtype) == ("ipex", "bf16")
        else row
        for row in run.scenarios
    )
    answer = answer_of(Facts(replace(run, scenarios=scenarios)), "ipex")
    assert answer.tone == "unknown"
    assert "control" in answer.details[0]
    assert "bf16" not in " ".join(answer.details)


def test_missing_ipex_says_why(make_run: MakeRun) -> None:
    """Unavailable is an answer with a reason."""
    answer = answer_of(Facts(make_run(ipex=False)), "ipex")
    assert answer.tone == "unknown"
    assert "not installed" in answer.details[0]


def test_bf16_is_judged_by_what_this_cpu_can_do(make_run: MakeRun) -> None:
    """Emulated it is slower, and the page says why; with instructions it helps."""
    emulated, native = (
        answer_of(Facts(make_run(native_bf16=has)), "bf16") for has in (False, True)
    )
    assert (emulated.tone, native.tone) == ("bad", "good")
    assert "emulated" in emulated.details[0]
    assert native.number.startswith("1.8")


@pytest.mark.parametrize(
    ("verdicts", "tone"),
    [
        (("faster", "inconclusive"), "good"),
        (("faster", "same"), "level"),
        (("slower", "same"), "bad"),
        (("same", "inconclusive"), "level"),
    ],
)
def test_the_bf16_answer_counts_all_pairs(
    make_run: MakeRun, verdicts: tuple[str, ...], tone: str
) -> None:
    """A pair without a verdict is no pair that bf16 does not help."""
    facts = Facts(make_run(native_bf16=True))
    usual, turns = facts.compare, cycle(verdicts)
    given = {row.scenario: Verdict(next(turns)) for row, _ in winners.bf16_pairs(facts)}

    def compare(scenario: str, baseline: str, **more: Any) -> Comparison | None:
        found = usual(scenario, baseline, **more)
        is_pair = scenario in given and "/fp32/" in baseline
        return replace(found, verdict=given[scenario]) if found and is_pair else found

    object.__setattr__(facts, "compare", compare)  # frozen, and of this test alone
    assert answer_of(facts, "bf16").tone == tone


@pytest.mark.parametrize(("training_takes", "tone"), [(1.0, "good"), (3.0, "level")])
def test_a_training_step_that_loses_by_bf16_is_not_hidden_by_inference(
    make_run: MakeRun, training_takes: float, tone: str
) -> None:
    """Its sentence stands beside the headline; where it gains too, among the details."""
    run = make_run(native_bf16=True, batch_sizes=(1,))
    calls = tuple(
        replace(row, wall_ns=round(row.wall_ns * training_takes))
        if row.scenario.startswith("training/") and "/bf16/" in row.scenario
        else row
        for row in run.iterations
    )
    answer = answer_of(Facts(replace(run, iterations=calls, speedups=())), "bf16")
    assert answer.tone == tone
    assert ("SLOWER" in answer.headline) == (tone == "level")
    assert "training step" in (answer.headline if tone == "level" else answer.details[-1])


def test_a_run_of_training_alone_says_what_bf16_does_there(make_run: MakeRun) -> None:
    """Its pairs are valid comparisons, too."""
    run = make_run(native_bf16=True)
    steps = tuple(row.scenario for row in run.scenarios if row.task == "training")
    answer = answer_of(Facts(make_run(native_bf16=True, only=steps)), "bf16")
    assert answer.tone == "good"
    assert answer.number.startswith("1.8")


def test_a_best_that_loses_by_bf16_is_no_gain_whatever_the_pairs_say(make_run: MakeRun) -> None:
    """Compiled in fp32 is the fastest; the only pair is of eager mode, where bf16 gains."""
    compiled = "inference/stock/compile/fp32/channels_last/b1"
    low = LAST_1.replace("fp32", "bf16")
    run = make_run(native_bf16=True, only=(DEFAULT_1, LAST_1, compiled, low))
    facts = Facts(longer(longer(run, low, 1.6), compiled, 0.9))
    claim = known(facts.claims.answer("bf16", "inference/b1"))
    answer = answer_of(facts, "bf16")
    assert (claim.verdict, answer.tone) == ("slower", "bad")
    assert "SLOWER" in answer.headline


def test_int8_is_no_winner_though_it_is_much_faster(make_run: MakeRun) -> None:
    """It is another model, so its changed decisions are reported beside its speed."""
    facts = Facts(make_run(only=INT8, rounds=4, int8=True))
    answer = known(int8(facts))
    assert len(answer.lines) == 2
    assert "32 images" in answer.details[0]
    best = winners.winner(facts, next(iter(facts.groups)))
    assert best is None or best.row.dtype == "fp32"


def test_too_few_rounds_are_no_gain_of_int8(make_run: MakeRun) -> None:
    """An interval of two rounds can be a point, which looks like certainty."""
    answer = known(int8(Facts(make_run(only=INT8, launches=1, rounds=2, int8=True))))
    assert answer.number == "not shown"
    assert answer.details[0].startswith("2 of 2 ")


def test_int8_that_the_budget_left_out_is_no_invalid_result(make_run: MakeRun) -> None:
    """It was never tried; what failed was."""
    run = make_run(only=INT8, int8=True)
    for begin, words in ((NO_TURN, "no turn"), ("it crashed", "no valid result")):
        assert words in known(int8(without(run, f"{begin} of 60 s", dtype="int8"))).headline


def test_ipex_that_the_budget_left_out_is_not_called_impossible(make_run: MakeRun) -> None:
    """It was never tried; what could not be imported was."""
    run = make_run(only=THREE)
    for begin, words in (
        (NO_TURN, "no turn"),
        (f"{ENDED_BEFORE} its first round", "no turn"),
        ("missing", "could not be measured here"),
    ):
        facts = without(run, f"{begin} of 60 s", backend="ipex")
        assert words in answer_of(facts, "ipex").headline


def test_without_int8_there_is_no_such_answer(make_run: MakeRun) -> None:
    """The run had no int8 scenario."""
    assert int8(Facts(make_run(only=(DEFAULT_1, IPEX_1)))) is None


def with_latest(make_run: MakeRun, elsewhere: float, **plan: Any) -> Run:
    """A run with another environment whose calls take that share of the time."""
    run = make_run(profile="smoke", environments=("torch-latest",), elsewhere=elsewhere, **plan)
    return replace(run, environment={**run.environment, **LATEST})


def test_without_another_environment_the_page_does_not_ask(make_run: MakeRun) -> None:
    """It has no answer, no section and no entry in the contents."""
    run = make_run(only=THREE)
    page = build(run)
    assert leaving(Facts(run)) is None
    assert 'id="leaving"' not in page
    assert "#leaving" not in page


@pytest.mark.parametrize(
    ("elsewhere", "plan", "tone"),
    [
        (0.7, {}, "good"),
        (1.5, {}, "bad"),
        (0.7, {"noisy": True}, "unknown"),
        (0.7, {"disturbed": True}, "unknown"),
    ],
)
def test_leaving_ipex_is_answered_by_its_verdicts(
    make_run: MakeRun, elsewhere: float, plan: dict[str, Any], tone: str
) -> None:
    """It names the environment, its PyTorch, and that IPEX cannot be in it."""
    answer = known(leaving(Facts(with_latest(make_run, elsewhere, **plan))))
    assert answer.tone == tone
    assert "torch-latest" in answer.question
    assert any("2.14.1" in text for text in answer.details)


def test_the_table_has_an_interval_for_each_task_dtype_and_batch(make_run: MakeRun) -> None:
    """The environment of IPEX comes first: what stopping to use it costs without a new PyTorch."""
    facts = Facts(with_latest(make_run, 1.0))
    rows = environments.table(facts, {}).rows
    places = [(row.cells[0].text, row.cells[1].text) for row in rows]
    assert places[:2] == [
        ("inference/b1 in fp32", "ipex-2.8"),
        ("inference/b1 in fp32", "torch-latest"),
    ]
    groups = {place.split(" in ")[0] for place, _ in places}
    training = {"training/b1/frozen", "training/b1/full"}
    assert groups >= {"inference/b1", "inference/b4", *training}
    assert all("[" in row.cells[2].note for row in rows if row.cells[2].text.startswith("1."))
    page = build(facts.run)
    assert 'id="leaving"' in page
    assert 'href="#leaving"' in page


@pytest.mark.parametrize(("torch", "cannot"), [("2.8.0", False), ("2.6.0", True), ("2.14.1", True)])
def test_an_environment_with_ipex_own_pytorch_is_not_said_to_lack_it(
    make_run: MakeRun, torch: str, cannot: bool
) -> None:
    """IPEX 2.8 can be installed beside PyTorch 2.8."""
    run = make_run(only=THREE, environments=("other",))
    known_of = {"other": {"version": "3.11", "packages": {"torch": torch}}}
    rows = (*run.scenarios, replace(run.scenarios[0], scenario="x", environment="other"))
    environment = {**run.environment, "environments": known_of}
    (said,) = environments.versions(Facts(replace(run, scenarios=rows, environment=environment)))
    assert ("cannot be installed" in said) == cannot


def test_two_environments_are_told_apart_in_the_headline(make_run: MakeRun) -> None:
    """One may be faster where the other is slower: the group alone would say both of it."""
    answer = known(leaving(Facts(make_run(profile="smoke", environments=("old", "new")))))
    for line in answer.lines:
        assert answer.headline.count(line.label) == 1
