"""Time to accuracy: turns, targets, pairing by seed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from bench.engine.launcher import Launcher
from bench.errors import UsageError, WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Status
from bench.plan.thresholds import DEFAULT
from bench.store.records import RunWriter
from bench.studies import accuracy, accuracy_page
from bench.studies.accuracy import AccuracyRow, TimeToAccuracy
from bench.studies.measured import Measured
from bench.studies.scenarios import STOCK_DEFAULT
from bench.studies.study_folder import Place, StudyRequest
from bench.text.wording import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ASKED = StudyRequest(profile=PROFILES["smoke"], results=None)  # type: ignore[arg-type] # unused
IPEX, IPEX_BF16 = (
    f"training/ipex/eager/{dtype}/channels_last/b8/frozen" for dtype in ("fp32", "bf16")
)
STEP_MS = {"stock-default": 100.0, IPEX: 50.0, IPEX_BF16: 400.0}


def scripted(bench: Any, *, reach_at: int = 8, diverges: str = "") -> dict[str, Any]:
    """Workers that reach 0.95 after so many steps."""
    done: dict[str, int] = {}

    def start(participant: str, _: Mapping[str, Any]) -> dict[str, Any]:
        done[participant] = 0
        return {"images": 16, "evaluated": 8}

    def train(participant: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if participant == diverges:
            raise WorkerError(Status.WRONG_OUTPUT, "training diverged")
        assert fields["first"] == done[participant]
        done[participant] += fields["n"]
        bench.clock.spend_ms(STEP_MS[participant] * fields["n"])
        return {"wall_ns": [round(STEP_MS[participant] * 1e6)] * fields["n"], "loss": 0.5}

    def evaluate(participant: str, _: Mapping[str, Any]) -> dict[str, Any]:
        bench.clock.spend_ms(5000)
        return {"accuracy": 0.95 if done[participant] >= reach_at else 0.6}

    return {"start_training": start, "train": train, "evaluate": evaluate}


def trained(
    bench: Any, seeds: list[int], **changes: Any
) -> tuple[list[AccuracyRow], TimeToAccuracy]:
    """A whole study."""
    rows: list[AccuracyRow] = []
    fields: dict[str, Any] = {
        "run_id": "run",
        "policy": DEFAULT,
        "target": 0.9,
        "max_steps": 40,
        "launch": bench.sit,
        "record": rows.append,
        "left_s": lambda: 1000.0,
    }
    study = TimeToAccuracy(**{**fields, **changes})
    study.measure(accuracy.participants(ASKED), seeds)
    return rows, study


def test_time_to_accuracy_is_the_time_of_steps_alone(bench: Any) -> None:
    """Eight steps of 100 ms; evaluating took far longer and does not count."""
    bench.answers = scripted(bench)
    rows, _ = trained(bench, [0])
    found = accuracy.reached(rows, 0.9)
    assert found["stock-default"][0].steps == 8
    assert found["stock-default"][0].seconds == pytest.approx(0.8)
    ratio = accuracy.over_default(found, IPEX, DEFAULT)
    assert ratio is not None
    assert ratio.estimate == pytest.approx(2.0)


def test_seeds_are_paired_and_give_the_interval(bench: Any) -> None:
    """With one seed there is none, and the page shows none."""
    bench.answers = scripted(bench)
    rows, _ = trained(bench, [0, 1, 2])
    ratio = accuracy.over_default(accuracy.reached(rows, 0.9), IPEX, DEFAULT)
    assert ratio is not None
    assert ratio.rounds == 3
    single = [row for row in rows if row.seed == 0]
    page = accuracy_page.page(single, 0.9, {}, DEFAULT)
    assert not any("[" in sentence for sentence in page.lead)


def test_one_lucky_evaluation_is_not_reaching_the_target() -> None:
    """Two in a row are, and the first of them counts."""
    points = [(0, 0.5), (4, 0.95), (8, 0.7), (12, 0.92), (16, 0.91)]
    rows = [
        AccuracyRow(
            run_id="run",
            participant="a",
            seed=0,
            step=step,
            train_s=step / 10,
            loss=None,
            accuracy=found,
        )
        for step, found in points
    ]
    assert accuracy.reached(rows, 0.9)["a"][0].steps == 12


def test_who_never_reaches_the_target_is_said_to_and_not_extrapolated(bench: Any) -> None:
    """It ends at the most steps; no time, no ratio."""
    bench.answers = scripted(bench, reach_at=1000)
    rows, _ = trained(bench, [0])
    found = accuracy.reached(rows, 0.9)
    assert found[IPEX][0].steps is None
    assert accuracy.over_default(found, IPEX, DEFAULT) is None
    assert max(row.step for row in rows) == 40
    page = accuracy_page.page(rows, 0.9, {}, DEFAULT)
    assert "reached from 0 of 1 seeds" in page.lead[0]


def test_a_way_that_diverges_costs_itself_only(bench: Any) -> None:
    """Its reason is kept; the others go on to the target."""
    bench.answers = scripted(bench, diverges=IPEX_BF16)
    rows, study = trained(bench, [0])
    assert study.measured.failures[IPEX_BF16].reason == "training diverged"
    assert accuracy.reached(rows, 0.9)[IPEX][0].steps == 8


def test_a_later_seed_that_the_budget_cuts_is_said_to_be_cut(bench: Any) -> None:
    """It began in time, and its ways did not reach the target before the time was over."""
    bench.answers = scripted(bench)
    left = iter([1000.0, 1000.0])
    rows, study = trained(bench, [0, 1], left_s=lambda: next(left, 0.0))
    assert {row.step for row in rows if row.seed == 1} == {0, 8}
    assert study.measured.notes == ["Seed 1 was cut by the budget (raise --budget)."]


def test_a_seed_that_was_cut_is_none_that_the_budget_allowed(bench: Any) -> None:
    """One of three ended."""
    bench.answers = scripted(bench)
    left = iter([1000.0, 1000.0])
    _, study = trained(bench, [0, 1, 2], left_s=lambda: next(left, 0.0))
    assert study.measured.notes == [
        "Seed 1 was cut by the budget (raise --budget).",
        "The budget allowed 1 of 3 seeds (raise --budget).",
    ]


def test_the_first_seed_runs_to_its_end_whatever_the_budget_is(bench: Any) -> None:
    """A study without one answer would be of no use; later seeds are for the interval."""
    bench.answers = scripted(bench)
    rows, study = trained(bench, [0, 1], left_s=lambda: 0.0)
    assert {row.seed for row in rows} == {0}
    assert accuracy.reached(rows, 0.9)[IPEX][0].steps == 8
    assert "1 of 2 seeds" in study.measured.notes[0]


def test_a_target_that_guessing_reaches_is_refused() -> None:
    """One clear line."""
    with pytest.raises(UsageError, match=r"above 0\.5"):
        accuracy.measure(0.5, 100, None, ASKED)


def test_compiling_is_in_the_time_and_has_its_own_column(bench: Any) -> None:
    """The first of eight steps of 50 ms takes three seconds."""
    bench.answers = scripted(bench)
    train = bench.answers["train"]

    def compiled(participant: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        reply: dict[str, Any] = train(participant, fields)
        if participant == IPEX and fields["first"] == 0:
            reply["wall_ns"][0] = 3_000_000_000
        return reply

    bench.answers["train"] = compiled
    rows, _ = trained(bench, [0])
    reached = accuracy.reached(rows, 0.9)[IPEX][0]
    assert reached.seconds == pytest.approx(3.0 + 7 * 0.05)
    page = accuracy_page.page(rows, 0.9, {}, DEFAULT)
    table = page.tables[0]
    first = {row.cells[0].text: row.cells[4].text for row in table.rows}
    assert table.columns[4] == "Of which the first step"
    assert (first[IPEX], first["stock-default"]) == ("3.00 s", "0.100 s")


def test_a_training_with_an_untrue_label_has_no_speedup(bench: Any) -> None:
    """Its evidence is read once it has trained."""
    untrue = "the label says bf16, but the convolutions ran in f32"
    bench.answers = scripted(bench) | {
        "kernels": lambda participant, _: {
            "contradiction": untrue if participant == IPEX_BF16 else None
        }
    }
    rows, study = trained(bench, [0, 1])
    assert study.measured.failures[IPEX_BF16].reason == untrue
    assert {row.seed for row in rows if row.participant == IPEX_BF16} == {0}
    lead = accuracy_page.page(rows, 0.9, study.measured.failures, DEFAULT).lead
    assert [("over stock default" in one) for one in lead] == [False, True, False]


def trained_to(name: str, seed: int, found: list[float]) -> list[AccuracyRow]:
    """Accuracies of one seed, eight steps apart."""
    return [evaluation(name, seed, 8 * place, right) for place, right in enumerate(found)]


@pytest.mark.parametrize(
    ("status", "found", "seeds"),
    [
        (Status.UNSUPPORTED, [[0.5, 0.95, 0.95]], NOTHING),
        (Status.CRASHED, [[0.5]], NOTHING),
        (Status.CRASHED, [[0.5, 0.95, 0.95], [0.5, 0.6]], "1 of 1"),
    ],
)
def test_who_failed_keeps_the_reason_and_counts_seeds_that_ended(
    status: Status, found: list[list[float]], seeds: str
) -> None:
    """Nothing of an untrue label counts, even if it reached the target."""
    rows = [row for seed, one in enumerate(found) for row in trained_to(IPEX_BF16, seed, one)]
    failures = {IPEX_BF16: WorkerError(status, "why it failed")}
    page = accuracy_page.page(rows, 0.9, failures, DEFAULT, max_steps=40)
    assert "why it failed" in page.lead[0]
    assert ("reached from" in page.lead[0]) == (seeds != NOTHING)
    cells = page.tables[0].rows[0].cells
    assert cells[1].text == seeds
    assert (cells[3].text == NOTHING) == (seeds == NOTHING)
    assert (cells[-1].text, cells[-1].note) == (status, "why it failed")


@pytest.mark.parametrize("max_steps", [16, None])
def test_a_seed_that_the_budget_cut_does_not_count(max_steps: int | None) -> None:
    """One that ended without the target does."""
    rows = [
        *trained_to(IPEX, 0, [0.5, 0.95, 0.95]),
        *trained_to(IPEX, 1, [0.5, 0.6]),
        *trained_to(STOCK_DEFAULT, 0, [0.5, 0.95, 0.95]),
        *trained_to(STOCK_DEFAULT, 1, [0.5, 0.6, 0.6]),
    ]
    page = accuracy_page.page(rows, 0.9, {}, DEFAULT, max_steps=max_steps)
    assert [row.cells[1].text for row in page.tables[0].rows] == ["1 of 1", "1 of 2"]


def test_emulated_training_is_said_to_be(bench: Any) -> None:
    """It is no note of the study, because nothing was left out."""
    bench.answers = scripted(bench)
    bench.emulated_bf16 = True
    _, study = trained(bench, [0])
    assert study.measured.notes == []
    emulated, _ = Measured(prepared=study.measured.prepared).caveats()
    assert emulated == f"This CPU emulates the dtype of {IPEX_BF16}."


def test_a_training_keeps_what_its_images_are(bench: Any) -> None:
    """So that the page can warn of synthetic ones."""
    bench.answers = scripted(bench)
    bench.data = {"source": "synthetic"}
    _, study = trained(bench, [0])
    assert study.measured.data == bench.data


def evaluation(participant: str, seed: int, step: int, right: float) -> AccuracyRow:
    """One evaluation; its times are of no interest."""
    return AccuracyRow(
        run_id="run",
        participant=participant,
        seed=seed,
        step=step,
        train_s=1.0,
        loss=None,
        accuracy=right,
    )


def accuracies(ends: Mapping[str, list[float]]) -> list[AccuracyRow]:
    """Each participant's accuracies after eight steps, a seed each, from .5 at the start."""
    return [
        evaluation(name, seed, step, right)
        for name, found in ends.items()
        for seed, end in enumerate(found)
        for step, right in ((0, 0.5), (8, end))
    ]


def test_bf16_is_compared_with_the_same_in_fp32_by_seed() -> None:
    """Differences of -.02, 0 and .02: their mean is 0, and t for two degrees of freedom 4.30."""
    rows = accuracies(
        {STOCK_DEFAULT: [0.7, 0.7, 0.7], IPEX: [0.9, 0.8, 0.9], IPEX_BF16: [0.88, 0.8, 0.92]}
    )
    found = accuracy.less_fp32(rows, IPEX_BF16, 1000, DEFAULT)
    assert found is not None
    assert (found.minus, found.seeds) == (IPEX, 3)
    assert found.mean == pytest.approx(0, abs=1e-12)
    assert found.high == pytest.approx(4.303 * 0.02 / 3**0.5, rel=1e-3)
    assert found.low == pytest.approx(-found.high)
    assert accuracy.less_fp32(rows, IPEX, 1000, DEFAULT) is None
    assert accuracy.less_fp32(rows, STOCK_DEFAULT, 1000, DEFAULT) is None


def test_equal_differences_do_not_make_accuracy_exact() -> None:
    """The interval has one of 64 images to either side."""
    rows = accuracies({IPEX: [0.9, 0.8], IPEX_BF16: [0.9, 0.8]})
    found = accuracy.less_fp32(rows, IPEX_BF16, 64, DEFAULT)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-1 / 64, 1 / 64))


def test_accuracies_are_compared_after_the_same_steps() -> None:
    """In fp32 the target was reached after eight, and training ended; bf16 went on."""
    rows = [
        *accuracies({IPEX: [0.9], IPEX_BF16: [0.8]}),
        evaluation(IPEX_BF16, 0, 16, 1.0),
        evaluation(IPEX_BF16, 1, 8, 1.0),
    ]
    found = accuracy.less_fp32(rows, IPEX_BF16, 64, DEFAULT)
    assert found is not None
    assert (found.mean, found.seeds) == pytest.approx((-0.1, 1))


def test_bf16_alone_is_compared_with_stock_default() -> None:
    """Stock default is in every study; names of earlier versions, which are no ids, have no row."""
    ends = {STOCK_DEFAULT: [0.9], IPEX_BF16: [0.8], "ipex-bf16": [0.7]}
    found = accuracy.less_fp32(accuracies(ends), IPEX_BF16, 64, DEFAULT)
    assert found is not None
    assert found.minus == STOCK_DEFAULT
    assert accuracy.less_fp32(accuracies(ends), "ipex-bf16", 64, DEFAULT) is None
    assert accuracy.less_fp32(accuracies({IPEX_BF16: [0.8]}), IPEX_BF16, 64, DEFAULT) is None


@pytest.mark.parametrize(("seeds", "shown"), [(1, "-2.0"), (2, "-2.0 [-3.6, -0.4]")])
def test_the_page_says_what_bf16_costs_in_accuracy(seeds: int, shown: str) -> None:
    """In percentage points; one seed has no interval, and a failed scenario no row."""
    rows = accuracies({IPEX: [0.9] * seeds, IPEX_BF16: [0.88] * seeds})
    page = accuracy_page.page(rows, 0.99, {}, DEFAULT, images=64)
    table = page.tables[1]
    cells = [cell.text for cell in table.rows[0].cells]
    assert cells == [IPEX_BF16, IPEX, str(seeds), "-2.0"]
    assert f"accuracy {shown} points" in page.lead[-1]
    failed = {IPEX_BF16: WorkerError(Status.WRONG_OUTPUT, "training diverged")}
    assert len(accuracy_page.page(rows, 0.99, failed, DEFAULT).tables) == 1


@pytest.mark.parametrize(
    ("seeds", "budget_s", "planned"),
    [
        (None, None, (range(2, 3), PROFILES["smoke"].budget_s / 3)),
        (3, None, (range(2, 5), math.inf)),
        (3, 60.0, (range(2, 5), 60.0)),
    ],
)
def test_a_number_of_seeds_is_cut_only_by_a_given_budget(
    seeds: int | None, budget_s: float | None, planned: tuple[range, float]
) -> None:
    """Without a number, profile and its budget decide; `--seed` is the first."""
    assert accuracy.seeds_and_budget(seeds, replace(ASKED, seed=2, budget_s=budget_s)) == planned


def test_image_size_reaches_the_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And none is given where the usual size is meant."""
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(Launcher, "start", lambda self, *_, **__: told.append(self.options))
    (participant, *_) = accuracy.participants(ASKED)
    for size in (112, None):
        request = StudyRequest(profile=PROFILES["smoke"], results=tmp_path, image_size=size)
        place = Place(folder=tmp_path, request=request, environment={}, writer=Mock(spec=RunWriter))
        place.launch(participant, 0)
    assert told[0][told[0].index("--image-size") + 1] == "112"
    assert "--image-size" not in told[1]
