"""What the tutorial's page says of the files that its parts left."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from bench.plan.scenario import AUTO_KERNELS, CONTROL_SUFFIX
from bench.store import records
from bench.studies.accuracy import AccuracyRow
from bench.studies.operators import NOTHING_FUSED, OperatorRow
from bench.text.wording import times
from bench.tutorial import page
from bench.tutorial.finding import DOES_NOT, HOLDS, UNSEEN
from bench.tutorial.measure import DONE, FAILED, Outcome, Tutorial
from bench.tutorial.parts import PARTS, Place
from bench.tutorial.speed import TRAINED
from tests.bench.made_up_rows import Plan
from tests.bench.made_up_runs import build_run, save_run
from tests.fake_files import write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tutorial(tmp_path: Path) -> Tutorial:
    """A tutorial of which nothing has run."""
    place = Place(folder=tmp_path / "t", reports=tmp_path / "pages", data=tmp_path, has_bf16=True)
    return Tutorial(place=place, machine={})


def findings(tutorial: Tutorial, key: str) -> dict[str, tuple[str, str]]:
    """Return a part's verdicts and figures by statement."""
    (section,) = (one for one in page.sections(tutorial) if one.part.key == key)
    return {one.statement: (one.verdict, one.number) for one in section.found.findings}


def verdict_of(tutorial: Tutorial, key: str, words: str) -> str:
    """Return the verdict of the one statement that has these words."""
    (found,) = (v for statement, (v, _) in findings(tutorial, key).items() if words in statement)
    return found


def put(tutorial: Tutorial, key: str, name: str, content: str) -> None:
    """Write a file of a part."""
    write(tutorial.place.of(key), name, content)


def test_without_any_file_every_statement_is_open(tutorial: Tutorial) -> None:
    """But what the machine is known to be."""
    verdicts = {
        one.verdict
        for section in page.sections(tutorial)
        for one in section.found.findings
        if one.number != "native"
    }
    assert verdicts == {UNSEEN}
    for key, words in (("bf16", "keeps the accuracy"), ("training", "sooner at the target")):
        (number,) = [told for said, (_, told) in findings(tutorial, key).items() if words in said]
        assert number == "it was not measured"


@pytest.mark.parametrize(("slow_ipex", "expected"), [(1.0, HOLDS), (4.0, DOES_NOT)])
def test_prediction_times_are_judged_by_the_run(
    tutorial: Tutorial, slow_ipex: float, expected: str
) -> None:
    """IPEX against stock default, with its interval."""
    plan = Plan(native_bf16=True, slow_ipex=slow_ipex)
    save_run(build_run(plan), tutorial.place.of("speed") / "20260101T000000Z-run")
    assert verdict_of(tutorial, "speed", "as it is") == expected
    assert verdict_of(tutorial, "bf16", "Predictions in bf16") == HOLDS
    (section, *_) = page.sections(tutorial)
    assert "2.22" in section.found.findings[0].published


def evaluations(gains: list[float], faster: float = 2.0) -> list[AccuracyRow]:
    """Make a study of two ways and of stock; `gains` are bf16's accuracies over fp32's by seed."""
    rows = []
    for seed, gain in enumerate(gains):
        for name, end, speed in (
            ("stock-default", 0.9, 1.0),
            (TRAINED.format("fp32"), 0.9, faster * (1 + 0.01 * seed)),
            (TRAINED.format("bf16"), 0.9 + gain, faster * 1.5 * (1 + 0.01 * seed)),
        ):
            rows += [
                AccuracyRow(
                    run_id="r",
                    participant=name,
                    seed=seed,
                    step=step,
                    train_s=step / speed,
                    loss=0.1,
                    accuracy=accuracy,
                )
                for step, accuracy in ((0, 0.5), (8, end), (16, end))
            ]
    return rows


def put_study(
    tutorial: Tutorial, key: str, name: str, rows: list[Any], row: type, **facts: Any
) -> None:
    """Write a study's folder."""
    folder = tutorial.place.of(key) / name / "20260101T000000Z"
    folder.mkdir(parents=True)
    records.write_environment(folder, {"study": name, "target": 0.8, "failures": {}, **facts})
    records.replace_rows(folder / f"{name}.csv", rows, row)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([0.0, 0.01, -0.01], HOLDS),
        ([-0.1, -0.11, -0.12], DOES_NOT),
        ([-0.2, 0.2, 0.0], UNSEEN),
        ([0.0], UNSEEN),
    ],
)
def test_accuracy_in_bf16_is_compared_by_seed(
    tutorial: Tutorial, gains: list[float], expected: str
) -> None:
    """One seed has no interval."""
    put_study(tutorial, "bf16", "accuracy", evaluations(gains), AccuracyRow)
    assert verdict_of(tutorial, "bf16", "keeps the accuracy") == expected


def test_time_to_the_target_needs_several_seeds(tutorial: Tutorial) -> None:
    """It is that of the steps, over stock default's."""
    put_study(tutorial, "bf16", "accuracy", evaluations([0.0, 0.0, 0.0]), AccuracyRow)
    verdict, number = findings(tutorial, "training")[
        "Training with IPEX in fp32 is sooner at the target"
    ]
    assert verdict == HOLDS
    assert number.startswith("2.02")


def test_a_training_on_small_images_says_so(tutorial: Tutorial) -> None:
    """Beside the number of each statement that rests on it, and under the study's tables."""
    rows = evaluations([0.0, 0.0, 0.0])
    put_study(tutorial, "bf16", "accuracy", rows, AccuracyRow, image_size=112)
    for key, part in (("training", "IPEX in fp32"), ("bf16", "keeps the accuracy")):
        (number,) = [found for said, (_, found) in findings(tutorial, key).items() if part in said]
        assert "112 pixels" in number


def operator_row(backend: str, verdict: str, speedup: float | None) -> OperatorRow:
    """Make a row of operators.csv."""
    return OperatorRow(
        run_id="r",
        case=f"nms-{speedup}",
        operator="nms",
        context="no_grad",
        shapes="1000 boxes",
        layout="contiguous",
        backend=backend,
        status="ok",
        reason=None,
        served_by="torch_ipex::nms",
        rounds=5,
        launches=1,
        median_ms=1.0,
        speedup=speedup,
        speedup_low=speedup,
        speedup_high=speedup,
        margin=None,
        verdict=verdict,
        max_abs_error=0.0,
        same_output=True,
    )


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("faster", "faster"), HOLDS),
        (("faster", "same"), DOES_NOT),
        (("faster", "inconclusive"), UNSEEN),
        (("slower", "inconclusive", "faster"), DOES_NOT),
    ],
)
def test_an_operator_is_faster_only_if_every_case_is(
    tutorial: Tutorial, verdicts: tuple[str, ...], expected: str
) -> None:
    """The control is no scenario of IPEX."""
    rows = [operator_row("ipex", verdict, 1.5 + n) for n, verdict in enumerate(verdicts)]
    rows.append(operator_row(f"stock{CONTROL_SUFFIX}", "same", 1.0))
    put_study(tutorial, "operators", "operators", rows, OperatorRow)
    assert verdict_of(tutorial, "operators", "nms") == expected


@pytest.mark.parametrize(("verdict", "is_told"), [("faster", True), ("inconclusive", False)])
def test_identical_processes_that_differ_are_told_beside_what_ipex_gains(
    tutorial: Tutorial, verdict: str, is_told: bool
) -> None:
    """They are one scenario, so that 1.19 between them casts doubt on 1.22 of IPEX."""
    rows = [
        operator_row("ipex", "faster", 1.22),
        operator_row(f"stock{CONTROL_SUFFIX}", verdict, 1.19),
    ]
    put_study(tutorial, "operators", "operators", rows, OperatorRow)
    ((found, told),) = findings(tutorial, "operators").values()
    assert found == HOLDS
    assert (times(1.19) in told) is is_told


@pytest.mark.parametrize(
    ("verdicts", "expected", "number"),
    [
        (("faster", "invalid"), HOLDS, "1 of 1 scenario"),
        (("same", "invalid"), DOES_NOT, "0 of 1 scenario"),
        (("invalid", "invalid"), UNSEEN, "other outputs"),
    ],
)
def test_refuted_operators_do_not_count(
    tutorial: Tutorial, verdicts: tuple[str, ...], expected: str, number: str
) -> None:
    """Neither for the statement nor against it; the reason is told."""
    rows = [
        replace(
            operator_row("ipex", verdict, 1.5 + n),
            reason="other outputs" if verdict == "invalid" else None,
        )
        for n, verdict in enumerate(verdicts)
    ]
    put_study(tutorial, "operators", "operators", rows, OperatorRow)
    ((verdict, told),) = findings(tutorial, "operators").values()
    assert verdict == expected
    assert number in told
    assert "other outputs" in told
    assert "2.50" not in told


def test_what_mkl_does_not_fuse_is_told_apart_from_a_defect(tutorial: Tutorial) -> None:
    """IPEX's default linear layer has no fused figure; with oneDNN's it has one."""
    linear = replace(operator_row("ipex", "faster", 1.5), operator="linear-relu", fusion="on")
    default = replace(linear, verdict="invalid", reason=NOTHING_FUSED, fused="nothing", speedup=1.2)
    selected = replace(linear, options=AUTO_KERNELS, fused="inner_product+eltwise_relu")
    for rows, expected in (([default, selected], HOLDS), ([default], UNSEEN)):
        shutil.rmtree(tutorial.place.of("operators"), ignore_errors=True)
        put_study(tutorial, "operators", "operators", rows, OperatorRow)
        ((verdict, told),) = findings(tutorial, "operators").values()
        assert verdict == expected
        assert "MKL" in told
        assert ("1.50" in told, "1.20" in told) == (expected == HOLDS, False)


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [
        ("7,083,528 of 14,718,792", HOLDS),  # six outputs more, which name defects
        ("14,715,714 of 14,715,714", DOES_NOT),
        ("1,026 of 14,715,714", DOES_NOT),
    ],
)
def test_what_trains_is_judged_by_what_is_frozen(
    tutorial: Tutorial, printed: str, verdict: str
) -> None:
    """Names of defects are outputs beside good and bad."""
    put(tutorial, "model", "1.out", f"{printed} parameters train\n")
    assert verdict_of(tutorial, "model", "parameters") == verdict


def test_what_pillqc_printed_is_read(tutorial: Tutorial) -> None:
    """Parameters, layers, the end of the training, decisions and figures."""
    put(tutorial, "model", "1.out", "layers\n7,080,450 of 14,715,714 parameters train\n")
    put(tutorial, "training", "1.out", "epoch 1\ntrained for 3 s, stopped at target; epoch 1\n")
    put(tutorial, "layers", "1.out", "_IPEXConv2d\n14 layers are IPEX's\n")
    put(tutorial, "pills", "1.out", json.dumps({"share": 0.0, "sentence": "Nowhere."}))
    decisions = [{"decision": "bad"}, {"decision": "good"}]
    put(tutorial, "predictions", "1.out", "\n".join(map(json.dumps, decisions)))
    share = {"count": 9, "n": 10, "share": 0.9, "low": 0.55, "high": 0.99}
    figures = {"recall_bad": share, "false_rejects": share, "pointing_game": 0.2}
    put(tutorial, "predictions", "2.out", json.dumps(figures))
    assert verdict_of(tutorial, "model", "parameters") == HOLDS
    assert verdict_of(tutorial, "training", "reaches the target") == HOLDS
    assert verdict_of(tutorial, "layers", "IPEX's layers") == HOLDS
    assert findings(tutorial, "pills").popitem()[1] == (DOES_NOT, "Nowhere.")
    assert verdict_of(tutorial, "predictions", "called bad") == HOLDS
    assert verdict_of(tutorial, "predictions", "Heat maps") == DOES_NOT
    escapes = next(v for k, v in findings(tutorial, "predictions").items() if "Bad pills" in k)
    assert escapes[0] == HOLDS
    assert escapes[1].startswith("1 escapes of 10")
    assert verdict_of(tutorial, "predictions", "Good pills") == DOES_NOT


def test_damaged_files_leave_the_statement_open(tutorial: Tutorial) -> None:
    """Nothing raises."""
    for key in ("speed", "bf16", "operators"):
        put(tutorial, key, "x/y/environment.json", "{")
        put(tutorial, key, "x/environment.json", "[]")
    put(tutorial, "predictions", "2.out", "not json")
    put(tutorial, "pills", "figures/gallery.png", "no picture")
    assert not any(section.found.pictures for section in page.sections(tutorial))


def test_the_page_is_whole_escapes_and_keeps_every_part(tutorial: Tutorial) -> None:
    """A failed part has its reason, one that has not run says so, IPEX's layers are marked."""
    tutorial.outcomes["model"] = Outcome(
        status=FAILED, seconds=1.0, commands=("pillqc summary",), reason="<script>alert(1)</script>"
    )
    tutorial.outcomes["layers"] = Outcome(status=DONE, seconds=1.0, commands=("pillqc <b>",))
    put(tutorial, "layers", "1.out", "<b>_IPEXConv2d\nplain\n")
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    folder = tutorial.place.of("pills") / "figures"
    folder.mkdir(parents=True)
    image.save(folder / "mean_good.png")
    where = tutorial.place.reports.with_suffix(".html")
    html = page.render(tutorial, {"machine": {}}, where)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<code><mark>&lt;b&gt;_IPEXConv2d</mark>\nplain\n" in html
    assert html.count("data:image/jpeg;base64,") == 1
    assert all(f'<section id="{part.key}">' in html for part in PARTS)
    assert "http://" not in html.replace("http://www.w3.org", "")
    text = page.text(tutorial)
    assert all(part.title in text for part in PARTS)


def test_synthetic_and_emulated_are_said_on_top(tutorial: Tutorial) -> None:
    """Before any figure."""
    emulated = Tutorial(
        place=Place(
            folder=tutorial.place.folder,
            reports=tutorial.place.reports,
            data=tutorial.place.data,
            has_bf16=False,
        ),
        machine={},
        synthetic=True,
    )
    found = " ".join(page.warnings(emulated, page.sections(emulated)))
    assert "Synthetic" in found
    assert "EMULATED" in found


@pytest.mark.parametrize(("source", "is_said"), [("synthetic", True), ("folder", False)])
def test_an_earlier_tutorial_has_synthetic_pills_where_its_run_says_so(
    tutorial: Tutorial, source: str, is_said: bool
) -> None:
    """What lies in the folder of pills now says nothing of what was measured."""
    (tutorial.place.data / "manifest.csv").touch()
    run = build_run(Plan(native_bf16=True, source=source))
    save_run(run, tutorial.place.of("speed") / "20260101T000000Z-run")
    found = page.warnings(tutorial, page.sections(tutorial))
    assert any("Synthetic" in line for line in found) == is_said


def test_emulated_bf16_has_its_number_though_no_claim_is_made_of_it(tutorial: Tutorial) -> None:
    """The best way in bf16 over itself in fp32; why there is no more is said as it is."""
    plan = Plan(native_bf16=False)
    save_run(build_run(plan), tutorial.place.of("speed") / "20260101T000000Z-run")
    verdict, number = findings(tutorial, "bf16")["Predictions in bf16 are faster than in fp32"]
    assert verdict == DOES_NOT
    assert re.search(r"^0\.\d+. .* with .* in bf16, slower$", number)
    ((verdict, number),) = (
        found for said, found in findings(tutorial, "speed").items() if "in bf16" in said
    )
    assert (verdict, number.partition(":")[0]) == (UNSEEN, "bf16 is emulated on this CPU")


def test_a_training_that_could_not_run_says_why(tutorial: Tutorial) -> None:
    """In the words of what refused it; its fp32 twin is judged all the same."""
    rows = [one for one in evaluations([0.0, 0.0]) if one.participant != TRAINED.format("bf16")]
    failure = {"status": "unsupported", "reason": "IPEX packs no bf16 weights on this CPU"}
    failures = {TRAINED.format("bf16"): failure}
    put_study(tutorial, "bf16", "accuracy", rows, AccuracyRow, failures=failures)
    for words in ("sooner at the target", "keeps the accuracy"):
        ((verdict, number),) = (
            found for said, found in findings(tutorial, "bf16").items() if words in said
        )
        assert (verdict, number) == (UNSEEN, failure["reason"])
    assert verdict_of(tutorial, "training", "IPEX in fp32") == HOLDS


def test_the_smallest_defect_found_stands_beside_the_speed(tutorial: Tutorial) -> None:
    """Of each way that was run; a size that could not be shown says so."""
    save_run(build_run(Plan(native_bf16=True)), tutorial.place.of("speed") / "20260101T000000Z-run")
    for name, backend, dtype in (("3.out", "stock", "fp32"), ("4.out", "ipex", "bf16")):
        curves = {"crack": {"a90": 4.8, "a90_95": 6.2}, "color": {"a90": None, "a90_95": None}}
        report = {
            "backend": backend,
            "dtype": dtype,
            "false_rejects": {"count": 1, "n": 30, "share": 1 / 30},
            "defects": {defect: {"curve": curve} for defect, curve in curves.items()},
        }
        put(tutorial, "predictions", name, json.dumps(report))
    (section,) = (one for one in page.sections(tutorial) if one.part.key == "predictions")
    (table,) = section.found.tables
    assert table.columns[2:4] == ("crack", "color")
    stock, ipex = table.rows
    assert [cell.sort for cell in stock.cells[1:]] == [1.0, 4.8, None, 1 / 30]
    assert stock.cells[2].note == "at most 6.2 %"
    assert stock.cells[3].note == "not shown"
    assert float(str(ipex.cells[1].sort)) > 1.5
