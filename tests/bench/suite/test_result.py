"""A suite's runs as one table, and what it says over models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench import machine
from bench.errors import BenchError, UsageError
from bench.plan.scenario import Status
from bench.run import measure as runs
from bench.run.outcomes import NO_TURN
from bench.store import records, run_folder
from bench.suite import measure, page, result
from bench.suite.models import chosen
from tests.bench.began_here import CODE, ELSEWHERE, MACHINE, stay_here
from tests.bench.command import bench
from tests.bench.made_up_rows import Plan
from tests.bench.made_up_runs import build_run, save_run
from tests.known import known

if TYPE_CHECKING:
    from pathlib import Path

    from bench.run.request import RunRequest
    from bench.suite.measure import Suite

NAMES = ("vgg16", "resnet18", "vit_b_16")
DEFAULT = "stock/eager/fp32/contiguous"
FUSED = "stock/torchscript+fusion/bf16/channels_last"
IPEX = "ipex/torchscript+fusion/fp32/channels_last"
ONLY = tuple(
    f"inference/{way}/b{batch}"
    for batch in (1, 8)
    for way in (
        DEFAULT,
        "stock/eager/fp32/channels_last",
        "stock/torchscript+fusion/fp32/channels_last",
        FUSED,
        IPEX,
        "ipex/torchscript+fusion/bf16/channels_last",
    )
)

TWO = tuple(f"inference/{way}/b1" for way in (DEFAULT, IPEX))
"""Stock default, and one other way."""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """A suite of three models."""
    return measure.Suite(
        folder=tmp_path, models=chosen(NAMES), budget_s=60, seed=0, threads=None, machine={}
    )


def measured(
    suite: Suite,
    name: str,
    slow_ipex: float = 1.0,
    *,
    complete: bool = True,
    only: tuple[str, ...] = ONLY,
) -> None:
    """Put a made-up run where the model's would be."""
    plan = Plan(native_bf16=True, only=only, slow_ipex=slow_ipex, complete=complete)
    save_run(build_run(plan), suite.folder / name / "20260101T000000Z-run")


def test_a_row_for_every_model_and_batch_size(suite: Suite) -> None:
    """With the answers of the model's own run; a model without a run keeps its reason."""
    measured(suite, "vgg16", slow_ipex=1.3)
    measured(suite, "resnet18")
    rows = result.rows(suite, {"vit_b_16": "it broke"})
    assert [(row.model, row.batch_size, row.status) for row in rows] == [
        ("vgg16", 1, "ok"),
        ("vgg16", 8, "ok"),
        ("resnet18", 1, "ok"),
        ("resnet18", 8, "ok"),
        ("vit_b_16", 0, "failed"),
    ]
    vgg, _, resnet, _, failed = rows
    assert (vgg.best, vgg.best_verdict, vgg.reference_holds) == (FUSED, "faster", "yes")
    assert known(vgg.best_speedup) > 2
    assert known(vgg.ipex_fp32) < 0.9
    assert resnet.reference_way == FUSED
    assert failed.reason == "it broke"


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        (FUSED, {"best_speedup", "ipex_bf16", "bf16"}),
        ("ipex/torchscript+fusion/fp32/channels_last", {"ipex_fp32"}),
        ("stock/eager/fp32/channels_last", set()),
    ],
)
def test_a_best_of_what_happened_to_fit_is_no_answer(
    suite: Suite, missing: str, lost: set[str]
) -> None:
    """At the larger batch a way got no turn that was as fast as any at batch 1; or a slow one."""
    only = tuple(one for one in ONLY if one != f"inference/{missing}/b8")
    measured(suite, "vgg16", slow_ipex=1.3, only=only)
    small, large = result.rows(suite, {})[:2]
    assert all(getattr(small, part) is not None for part in result.PARTS)
    assert {part for part in result.PARTS if getattr(large, part) is None} == lost
    assert (missing in (large.reason or "")) == bool(lost)
    assert large.status == ("ok" if large.best else "not measured")


def test_a_library_that_got_no_turn_leaves_no_answer(suite: Suite) -> None:
    """Its TorchScript crashed and the budget left its eager way out: bf16 is unknown there."""
    eager = "inference/stock/eager/bf16/channels_last/b1"
    script, late = f"inference/{FUSED}/b1", f"{NO_TURN} of 60 s was used up"
    compiled = "inference/stock/compile/fp32/channels_last/b1"
    faults = (
        (script, Status.CRASHED, "it broke"),
        (eager, Status.UNAVAILABLE, late),
        (compiled, Status.UNAVAILABLE, late),  # may lack
    )
    plan = Plan(native_bf16=True, only=(*ONLY, eager, compiled), faults=faults)
    save_run(build_run(plan), suite.folder / "vgg16" / "20260101T000000Z-run")
    row = result.rows(suite, {})[0]
    assert {part for part in result.PARTS if getattr(row, part) is None} == {
        "best_speedup",
        "ipex_bf16",
        "bf16",
    }
    assert "stock/eager/bf16" in (row.reason or "")


def test_the_references_way_does_not_hold_where_another_is_faster(
    suite: Suite,
) -> None:
    """IPEX is made a third faster in one of the two models."""
    measured(suite, "vgg16", slow_ipex=1.3)
    measured(suite, "resnet18", slow_ipex=0.7)
    rows = result.smaller(result.rows(suite, {}))
    assert [(row.model, row.reference_holds) for row in rows] == [
        ("vgg16", "yes"),
        ("resnet18", "no"),
    ]
    assert result.holding(rows) == {"no": 1}
    assert dict(result.best_ways(rows))[FUSED] == 1


def without(way: str, batch: int) -> tuple[str, ...]:
    """Every scenario but that way at that batch size."""
    return tuple(one for one in ONLY if one != f"inference/{way}/b{batch}")


def test_a_reference_without_an_answer_judges_nobody(suite: Suite) -> None:
    """Its fastest way got no turn at the larger batch; at the smaller one it has an answer."""
    measured(suite, "vgg16", slow_ipex=1.3, only=without(FUSED, 8))
    measured(suite, "vit_b_16", slow_ipex=1.3)
    rows = result.rows(suite, {})
    found = {(row.model, row.batch_size): (row.reference_way, row.reference_holds) for row in rows}
    assert found["vit_b_16", 1] == (FUSED, "yes")
    assert found["vit_b_16", 8] == found["vgg16", 8] == (None, None)
    assert not result.holding(result.larger(rows))


def test_a_reference_whose_run_is_refuted_judges_nobody(suite: Suite) -> None:
    """Its best may be that of a machine that favoured one worker."""
    plan = Plan(native_bf16=True, only=ONLY, noisy=True)
    save_run(build_run(plan), suite.folder / "vgg16" / "20260101T000000Z-run")
    measured(suite, "resnet18")
    assert {(row.reference_way, row.reference_holds) for row in result.rows(suite, {})} == {
        (None, None)
    }


@pytest.mark.parametrize(
    ("reason", "holds"),
    [(f"{NO_TURN} of 60 s was used up", "open"), ("not installed", "no")],
)
def test_a_way_that_got_no_turn_is_not_called_slower(suite: Suite, reason: str, holds: str) -> None:
    """One that cannot run is no answer for the model."""
    measured(suite, "vgg16", slow_ipex=1.3)
    eager = "inference/stock/eager/bf16/channels_last/b1"
    faults = ((f"inference/{FUSED}/b1", Status.UNAVAILABLE, reason),)
    plan = Plan(native_bf16=True, slow_ipex=1.3, only=(*ONLY, eager), faults=faults)
    save_run(build_run(plan), suite.folder / "resnet18" / "20260101T000000Z-run")
    (row,) = [row for row in result.smaller(result.rows(suite, {})) if row.model == "resnet18"]
    assert (row.reference_way, row.reference_holds) == (FUSED, holds)


def test_stock_default_is_the_fastest_where_all_others_are_slower(suite: Suite) -> None:
    """It is what other models are compared with, too."""
    measured(suite, "vgg16", slow_ipex=1.8, only=TWO)
    measured(suite, "resnet18", slow_ipex=1.8, only=TWO)
    measured(suite, "vit_b_16", only=TWO)
    rows = result.smaller(result.rows(suite, {}))
    assert [(row.best_verdict, row.reference_way, row.reference_holds) for row in rows] == [
        ("slower", DEFAULT, "yes"),
        ("slower", DEFAULT, "yes"),
        ("faster", DEFAULT, "no"),
    ]
    assert result.best_ways(rows) == [("stock default", 2), (IPEX, 1)]


def test_a_way_that_loses_to_stock_default_is_not_as_good_as_any(suite: Suite) -> None:
    """Though it is the best of the others."""
    measured(suite, "vgg16", only=TWO)
    measured(suite, "resnet18", slow_ipex=1.8, only=TWO)
    rows = result.smaller(result.rows(suite, {}))
    assert [(row.best, row.reference_holds) for row in rows] == [(IPEX, "yes"), (IPEX, "no")]


def test_a_fastest_way_that_is_not_shown_is_undecided(suite: Suite) -> None:
    """The times of one way vary from process to process by more than it gains."""
    undecided = Plan(native_bf16=True, only=TWO, slow_ipex=1.36, process=0.1)
    save_run(build_run(undecided), suite.folder / "vgg16" / "20260101T000000Z-run")
    save_run(build_run(undecided), suite.folder / "resnet18" / "20260101T000000Z-run")
    measured(suite, "vit_b_16", only=TWO)
    rows = result.smaller(result.rows(suite, {}))
    assert [row.best_verdict for row in rows] == ["inconclusive", "inconclusive", "faster"]
    assert dict(result.best_ways(rows)) == {"undecided": 2, IPEX: 1}
    assert {row.reference_way for row in rows} == {None}
    measured(suite, "vgg16", only=TWO)
    rows = result.smaller(result.rows(suite, {}))
    assert [row.reference_holds for row in rows] == ["yes", "open", "yes"]


def test_means_are_over_models(suite: Suite) -> None:
    """The interval contains both models' values; a single model has none on the page."""
    for name, slow in (("vgg16", 1.2), ("resnet18", 0.8)):
        measured(suite, name, slow_ipex=slow)
    rows = result.smaller(result.rows(suite, {}))
    mean = known(result.geometric_mean(rows, "ipex_fp32"))
    low, high = sorted(known(row.ipex_fp32) for row in rows)
    assert mean.estimate == pytest.approx(math.sqrt(low * high))
    assert 0 < mean.low < low < 1 < high < mean.high < math.inf
    text = " ".join(page.page(rows[:1]).lead)
    assert "∞" not in text
    assert "over 1 model." in text


def test_what_a_run_refuted_is_no_figure(suite: Suite) -> None:
    """Two identical workers differed: the row says so, and counts in nothing over models."""
    plan = Plan(native_bf16=True, only=ONLY, noisy=True)
    save_run(build_run(plan), suite.folder / "vgg16" / "20260101T000000Z-run")
    measured(suite, "resnet18")
    refuted, _, sound, _ = result.rows(suite, {})[:4]
    assert (refuted.status, refuted.best_verdict) == ("invalid", "invalid")
    assert "two identical workers" in known(refuted.reason)
    assert refuted.reference_holds is None
    assert result.smaller(result.rows(suite, {})) == [sound]
    part = replace(sound, ipex_fp32_verdict="invalid")
    assert known(result.geometric_mean([sound, part], "ipex_fp32")).rounds == 1
    assert known(result.geometric_mean([sound, part], "ipex_bf16")).rounds == 2


def test_a_suite_is_read_back_and_an_other_folder_refused(suite: Suite) -> None:
    """What it measures, and what failed."""
    suite.save({"resnet18": "no memory"})
    again, failures = measure.read(suite.folder)
    assert (again.models, failures) == (suite.models, {"resnet18": "no memory"})
    records.write_environment(suite.folder, {"run_id": "x"})
    with pytest.raises(UsageError, match="not the folder of a suite"):
        measure.read(suite.folder)


def test_a_suite_goes_on_where_it_was_cut(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run is kept, a cut one finished, a model that fails does not stop the others."""
    measured(suite, "vgg16")
    measured(suite, "resnet18", complete=False)
    seen = []

    def fails(request: RunRequest) -> Path:
        assert request.own is not None
        seen.append(request.own.model)
        raise BenchError("it cannot be traced")

    monkeypatch.setattr(runs, "run", fails)
    monkeypatch.setattr(runs, "go_on", lambda folder, **_: seen.append(folder.parent.name))
    measure.measure(suite, lambda _: None)
    assert seen == ["resnet18", "torchvision.models:vit_b_16"]
    assert measure.read(suite.folder)[1] == {"vit_b_16": "it cannot be traced"}
    assert records.read_environment(suite.folder)["complete"] is True


@pytest.fixture
def ran(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are measured here, with this code, after the suite began here."""
    stay_here(monkeypatch)
    replace(suite, machine=MACHINE, code=CODE).save({})
    models: list[str] = []
    monkeypatch.setattr(runs, "run", lambda request: models.append(request.results.name))
    return models


@pytest.mark.parametrize("change", ELSEWHERE)
def test_a_suite_that_began_elsewhere_does_not_go_on(
    suite: Suite, ran: list[str], change: dict[str, Any]
) -> None:
    """One folder holds figures of one machine and one code, and says which."""
    before = {**records.read_environment(suite.folder), **change}
    records.write_environment(suite.folder, before)
    done = bench("suite", "--resume", suite.folder, "--reports", suite.folder / "pages")
    assert (done.exit_code, len(done.stderr.splitlines()), ran) == (1, 1, [])
    assert records.read_environment(suite.folder) == before


@pytest.mark.parametrize("lacking", [(), ("dirty", "policy")])
def test_a_suite_goes_on_where_it_began(
    suite: Suite, ran: list[str], lacking: tuple[str, ...]
) -> None:
    """One of an earlier version too, whose file has less."""
    kept = records.read_environment(suite.folder)
    records.write_environment(suite.folder, {k: v for k, v in kept.items() if k not in lacking})
    done = bench("suite", "--resume", suite.folder, "--reports", suite.folder / "pages")
    assert (done.exit_code, ran) == (0, list(NAMES))
    after = records.read_environment(suite.folder)
    assert (after["commit"], after["dirty"], after["machine"]) == ("c" * 40, False, MACHINE)


def test_a_cut_run_that_cannot_be_finished_keeps_its_reason(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures are partial: they count nowhere, and the suite stays one that was cut."""
    measured(suite, "vgg16")
    measured(suite, "resnet18", slow_ipex=0.7, complete=False)
    measured(suite, "vit_b_16")

    def refuses(_folder: Path, **_: object) -> Path:
        raise BenchError("measured on another machine")

    monkeypatch.setattr(runs, "go_on", refuses)
    measure.measure(suite, lambda _: None)
    again, failures = measure.read(suite.folder)
    rows = result.rows(again, failures)
    assert [
        (row.batch_size, row.status, row.reason) for row in rows if row.model == "resnet18"
    ] == [(0, "failed", "measured on another machine")]
    assert known(result.geometric_mean(result.smaller(rows), "ipex_fp32")).rounds == 2
    assert records.read_environment(suite.folder)["complete"] is False
    (cut,) = [row for row in result.rows(again, {}) if row.model == "resnet18"]
    assert (cut.status, cut.best_speedup) == ("not measured", None)


def test_a_model_with_figures_is_not_called_one_without(suite: Suite) -> None:
    """Of one the larger batch is missing, of another everything."""
    measured(suite, "vgg16")
    measured(suite, "resnet18")
    rows = result.rows(suite, {"vit_b_16": "it broke"})
    cut = [replace(one, status="not measured") if i == 3 else one for i, one in enumerate(rows)]
    assert (cut[3].model, cut[3].batch_size) == ("resnet18", 8)
    without, partly = page.page(cut).lead[-2:]
    assert "vit_b_16" in without
    assert "resnet18" not in without
    assert "resnet18" in partly
    assert "vgg16" not in without + partly


def test_a_suite_does_not_begin_while_another_run_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its models would fail for that, one after the other, and it would be complete."""
    monkeypatch.setattr(machine, "describe", dict)
    monkeypatch.setenv(run_folder.LOCK_VARIABLE, f"pillqc-{tmp_path}")
    where = ["--results", tmp_path / "results", "--reports", tmp_path / "pages"]
    with run_folder.only_run_here():
        done = bench("suite", "--only", "alexnet", *where)
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "another run is measuring" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_model_whose_run_ended_before_its_first_call_starts_anew(
    suite: Suite, ran: list[str]
) -> None:
    """Killed while it looked at the machine: there is nothing to go on with."""
    killed = suite.folder / "vgg16" / "20260101T000000Z-run"
    killed.mkdir(parents=True)
    records.write_environment(killed, {"complete": False})
    measure.measure(suite, lambda _: None)
    assert ran == list(NAMES)
    assert result.rows(suite, {})[0].reason == "not measured yet"


def test_an_interruption_costs_no_reason_and_ends_as_ctrl_c_does(
    suite: Suite, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of models that failed before; the page is made, and says how the suite was begun."""
    begun = ("bench", "suite", "--models", "mine.json")
    replace(suite, machine=MACHINE, code=CODE, command=begun).save({"vit_b_16": "it broke"})

    def interrupt(_request: RunRequest) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run", interrupt)
    done = bench("suite", "--resume", suite.folder, "--reports", suite.folder / "pages")
    assert (done.exit_code, ran) == (130, [])
    assert measure.read(suite.folder)[1] == {"vit_b_16": "it broke"}
    html = (suite.folder / "pages" / "suite" / f"{suite.folder.name}.html").read_text()
    assert "bench suite --models mine.json" in html
    assert "--resume" not in html


@pytest.mark.usefixtures("ran")
def test_a_model_that_fails_shows_in_the_exit_code(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For CI; the page is written all the same, and made again without an error."""

    def refuses(request: RunRequest) -> Path:
        if request.results.name == "vgg16":
            raise BenchError("it broke")
        return request.results

    monkeypatch.setattr(runs, "run", refuses)
    pages = suite.folder / "pages"
    done = bench("suite", "--resume", suite.folder, "--reports", pages)
    assert (done.exit_code, len([*pages.rglob("*.html")])) == (1, 1)
    assert "vgg16" in done.stderr.splitlines()[-1]
    assert bench("suite", "--again", suite.folder, "--reports", pages).exit_code == 0


def test_a_model_that_is_measured_at_last_has_no_reason_any_more(
    suite: Suite, ran: list[str]
) -> None:
    """Its failure was of another day."""
    measured(suite, "vgg16")
    replace(suite, machine=MACHINE, code=CODE).save(dict.fromkeys(NAMES, "it broke"))
    measure.measure(suite, lambda _: None)
    assert (ran, measure.read(suite.folder)[1]) == (list(NAMES[1:]), {})
    assert records.read_environment(suite.folder)["complete"] is True
