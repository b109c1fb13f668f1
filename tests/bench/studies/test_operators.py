"""Operators and fused patterns: what is compared, what the rows say, and their page."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.errors import UsageError, WorkerError
from bench.plan.operators import CASES, Detection, Pattern, case_named, cases_matching
from bench.plan.scenario import AUTO_KERNELS, CONTROL_SUFFIX, Layout, Status
from bench.plan.thresholds import DEFAULT
from bench.store import records
from bench.studies import operators, operators_page
from bench.studies.operators import NOTHING_FUSED, CaseChecks, OperatorRow
from tests.bench.command import bench

if TYPE_CHECKING:
    from pathlib import Path

    from bench.engine.execution import Execution
    from bench.plan.operators import Case

ROI = case_named("roi_align-7x7-no_grad")
CONV = case_named("conv-relu-64x224x224")
FUSED_KERNEL = {
    "position": 0,
    "primitive": "convolution",
    "implementation": "brg_conv_fwd:avx512_core",
    "isa": "avx512_core",
    "data_types": "src:f32",
    "layouts": "src:acdb",
    "post_ops": "eltwise_relu",
    "problem": "mb1",
    "ms": 1.0,
}
PLAIN_KERNEL = {**FUSED_KERNEL, "post_ops": None}


@dataclass(kw_only=True)
class Scripted(CaseChecks):
    """Writes the outputs that the workers would write, by the participant's name."""

    values: dict[str, list[float]]

    def after_first_warm_up(self, execution: Execution) -> None:
        found = self.values.get(execution.name, [1.0, 2.0])
        path = operators.output_path(self.folder, execution.participant)
        np.savez(path, values=np.array(found))


def measured_rows(bench: Any, case: Case, folder: Path, **values: list[float]) -> list[OperatorRow]:
    """A whole study of one case, with scripted outputs."""
    study = bench.study(operators.groups([case]))
    by_name = {f"{case.name}/{worker}": found for worker, found in values.items()}
    checks = Scripted(folder=folder, measured=study.measured, values=by_name)
    study.checks = checks
    study.measure()
    return operators.rows("run", [case], checks, DEFAULT)


def detection(bench: Any) -> None:
    """IPEX is half as fast again, by a kernel of its own."""

    def prepare(participant: str, _: Any) -> dict[str, Any]:
        own = ["torch_ipex::ROIAlign_forward"] if participant.endswith("ipex") else []
        return {"served_by": own}

    bench.answers = {"prepare": prepare}
    bench.call_ms = {f"{ROI.name}/stock": 30.0, f"{ROI.name}/ipex": 20.0}


def pattern(bench: Any, *, fused: bool = True) -> None:
    """Fusion takes a quarter off in both libraries; compiling fuses without a label."""

    def kernels(participant: str, _: Any) -> dict[str, Any]:
        on = participant.endswith(("fusion", "compile")) and fused
        return {"kernels": [FUSED_KERNEL if on else PLAIN_KERNEL], "contradiction": None}

    bench.answers = {"kernels": kernels}
    times = {"stock": 30.0, "stock-torchscript": 30.0, "stock-torchscript-fusion": 22.5}
    times |= {"stock-compile": 25.0, "ipex-torchscript": 24.0, "ipex-torchscript-fusion": 18.0}
    bench.call_ms = {f"{CONV.name}/{worker}": ms for worker, ms in times.items()}


# ---- ROIAlign and NMS ----------------------------------------------------------------------------


def test_the_row_says_how_fast_and_whose_kernel_it_was(bench: Any, tmp_path: Path) -> None:
    """The label is what the profiler saw, never what was imported."""
    detection(bench)
    stock, control, ipex = measured_rows(bench, ROI, tmp_path)
    assert (stock.backend, control.backend, ipex.backend) == ("stock", "stock#control", "ipex")
    assert ipex.speedup == pytest.approx(1.5)
    assert (ipex.verdict, ipex.mode, ipex.fused, ipex.fusion_gain) == (
        "faster",
        "eager",
        None,
        None,
    )
    assert ipex.served_by == "torch_ipex::ROIAlign_forward"
    assert (stock.served_by, stock.verdict) == (None, "")
    page = operators_page.page([stock, control, ipex])
    assert any(CONTROL_SUFFIX in remark for remark in page.remarks)
    assert "its own kernel" in page.lead[0]
    other = operators_page.page([replace(ipex, served_by=None)])
    assert "torchvision's kernel" in other.lead[0]


def test_other_outputs_make_the_comparison_invalid(bench: Any, tmp_path: Path) -> None:
    """Whoever is faster computed something else."""
    detection(bench)
    *_, ipex = measured_rows(bench, ROI, tmp_path, ipex=[1.0, 2.5])
    assert ipex.verdict == "invalid"
    assert ipex.max_abs_error == pytest.approx(0.5)
    assert ipex.reason == operators.OTHER_OUTPUTS


def test_a_case_that_had_no_turn_is_not_called_measured(bench: Any, tmp_path: Path) -> None:
    """The study was cut before it; nobody knows which kernel would have served."""
    checks = Scripted(folder=tmp_path, measured=bench.study([]).measured, values={})
    found = operators.rows("run", [ROI], checks, DEFAULT)
    assert {(row.status, row.rounds) for row in found} == {("unavailable", 0)}
    page = operators_page.page(found)
    assert "before its turn" in page.lead[0]
    assert {row.cells[2].text for row in page.tables[0].rows} == {"\N{EN DASH}"}


def test_outputs_of_other_shapes_are_infinitely_far(tmp_path: Path) -> None:
    """NMS that keeps more boxes than stock's."""
    left, right = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(left, values=np.array([1.0]))
    np.savez(right, values=np.array([1.0, 2.0]))
    assert operators.largest_difference(left, right) == float("inf")
    assert operators.largest_difference(left, tmp_path / "none.npz") is None


def test_both_ways_of_switching_autograd_off_are_cases() -> None:
    """They reach different kernels, so one alone would say something untrue of the other."""
    found = {(case.operator, case.context) for case in CASES if isinstance(case, Detection)}
    assert len(found) == 4


# ---- patterns ------------------------------------------------------------------------------------


def test_each_library_has_a_pattern_with_and_without_fusion() -> None:
    """Stock eager is the base; weights and shapes are one case's for all."""
    (group,) = operators.groups([CONV])
    found = [
        (one.scenario.backend, str(one.scenario.mode), one.scenario.fusion)
        for one in group.participants
    ]
    assert found == [
        ("stock", "eager", None),
        ("stock", "eager", None),
        ("stock", "torchscript", False),
        ("stock", "torchscript", True),
        ("stock", "compile", None),
        ("ipex", "torchscript", False),
        ("ipex", "torchscript", True),
    ]
    assert {one.scenario.option("case") for one in group.participants} == {CONV.name}
    assert {one.scenario.layout for one in group.participants} == {Layout.CHANNELS_LAST}
    assert len({one.process for one in group.participants}) == len(group.participants)


def test_ipex_can_fuse_a_linear_layer_only_of_onednns() -> None:
    """MKL runs it by default, which fuses nothing, so both are compared."""
    (group,) = operators.groups([case_named("linear-relu-4096-4096")])
    selected = [one for one in group.participants if AUTO_KERNELS in one.scenario.options]
    assert [one.scenario.fusion for one in selected] == [False, True]
    assert {one.scenario.backend for one in selected} == {"ipex"}


def test_a_pattern_has_its_evidence_and_its_gain_over_no_fusion(bench: Any, tmp_path: Path) -> None:
    """24 ms without and 18 ms with fusion, as the same library and mode run it."""
    pattern(bench)
    rows = {
        f"{row.backend} {row.mode} {row.fusion}": row
        for row in measured_rows(bench, CONV, tmp_path)
    }
    ipex = rows["ipex torchscript on"]
    assert (ipex.fused, ipex.served_by) == ("convolution+eltwise_relu", "brg_conv_fwd:avx512_core")
    assert ipex.speedup == pytest.approx(30 / 18, rel=0.01)
    assert ipex.fusion_gain == pytest.approx(24 / 18, rel=0.01)
    assert (ipex.verdict, ipex.fusion_verdict) == ("faster", "faster")
    assert rows["ipex torchscript off"].fused == "nothing"
    assert rows["ipex torchscript off"].fusion_gain is None
    assert rows["stock compile None"].fused == "convolution+eltwise_relu"
    control = rows["stock#control eager None"]
    assert (control.served_by, control.fused) == (None, None)
    (sentence,) = operators_page.page(list(rows.values())).lead
    assert "stock TorchScript, fusion on 1.33" in sentence
    assert "Highest over stock eager: ipex TorchScript, fusion on, 1.67" in sentence


def test_fusion_that_fused_nothing_is_invalid(bench: Any, tmp_path: Path) -> None:
    """However fast it was; torch.compile has no such label and keeps its verdict."""
    pattern(bench, fused=False)
    rows = measured_rows(bench, CONV, tmp_path)
    on = [row for row in rows if row.fusion == "on"]
    assert [(row.verdict, row.fusion_verdict) for row in on] == [("invalid", "invalid")] * 2
    assert {row.reason for row in on} == {NOTHING_FUSED}
    (compiled,) = (row for row in rows if row.mode == "compile")
    assert (compiled.verdict, compiled.fused) == ("faster", "nothing")
    page = operators_page.page(rows)
    assert "fusion on not known" in page.lead[0]
    (table,) = page.tables
    shown = [row.cells[table.columns.index("Served by")].note for row in table.rows]
    assert shown == ["fused: nothing", "", *["fused: nothing"] * 5]


def test_a_contradiction_of_the_worker_stands_before_it(bench: Any, tmp_path: Path) -> None:
    """Such as an operator that was fused although fusion is off."""
    pattern(bench)
    bench.answers["kernels"] = lambda participant, _: {
        "kernels": [FUSED_KERNEL],
        "contradiction": "fusion is off" if participant.endswith("torchscript") else None,
    }
    rows = measured_rows(bench, CONV, tmp_path)
    off = [row for row in rows if row.fusion == "off"]
    assert {(row.verdict, row.reason) for row in off} == {("invalid", "fusion is off")}
    assert {row.fusion_verdict for row in rows if row.fusion == "on"} == {"invalid"}


def test_patterns_agree_up_to_the_order_of_additions(bench: Any, tmp_path: Path) -> None:
    """A missing ReLU or addition is another output."""
    pattern(bench)
    rows = measured_rows(
        bench, CONV, tmp_path, **{"stock-compile": [1.0, 2.00001], "ipex-torchscript": [1.0, 2.1]}
    )
    found = {f"{row.backend} {row.mode} {row.fusion}": row for row in rows}
    assert found["stock compile None"].same_output is True
    assert found["ipex torchscript off"].same_output is False
    assert found["ipex torchscript on"].verdict == "faster"
    assert found["ipex torchscript on"].fusion_verdict == "invalid"


@pytest.mark.parametrize("is_crashed", [True, False])
def test_a_gain_that_is_not_known_has_its_reason(
    bench: Any, tmp_path: Path, is_crashed: bool
) -> None:
    """The twin without fusion crashed or had other outputs; over stock there is a verdict."""
    pattern(bench)
    name, values = f"{CONV.name}/ipex-torchscript", {}
    if is_crashed:
        bench.refused = {name: WorkerError(Status.CRASHED, "the worker died")}
    else:
        values = {"ipex-torchscript": [9.0, 9.0]}
    rows = measured_rows(bench, CONV, tmp_path, **values)
    (ipex,) = (row for row in rows if (row.backend, row.fusion) == ("ipex", "on"))
    reason = "the worker died" if is_crashed else operators.OTHER_OUTPUTS
    assert (ipex.verdict, ipex.reason, ipex.fusion_verdict) == ("faster", None, "invalid")
    assert reason in (ipex.fusion_reason or "")
    page = operators_page.page(rows)
    assert reason in page.lead[0]
    assert reason in page.tables[0].rows[rows.index(ipex)].cells[-1].note


@pytest.mark.parametrize("case", [ROI, CONV])
def test_outputs_that_are_no_numbers_differ(bench: Any, tmp_path: Path, case: Case) -> None:
    """NaN is within no tolerance."""
    (detection if case is ROI else pattern)(bench)
    worker = "ipex" if case is ROI else "ipex-torchscript-fusion"
    rows = measured_rows(bench, case, tmp_path, **{worker: [1.0, float("nan")]})
    assert (rows[-1].verdict, rows[-1].reason) == ("invalid", operators.OTHER_OUTPUTS)


# ---- cases, files, command -----------------------------------------------------------------------


def test_cases_are_chosen_by_patterns() -> None:
    """Without one, those that every machine has the memory for."""
    assert [case.name for case in cases_matching(["conv-add-*", "nms-4*"])] == [
        "nms-4000-no_grad",
        "conv-add-relu-256x56x56",
    ]
    usual = cases_matching([])
    assert {"conv-relu", "linear-relu", "conv-add-relu", "nms", "roi_align"} == {
        case.operator for case in usual
    }
    assert {case.name for case in CASES} - {case.name for case in usual} == {
        "linear-relu-25088-4096"
    }


def test_an_unknown_case_is_one_line_with_what_there_is() -> None:
    """And wrong usage."""
    with pytest.raises(UsageError, match="choose from roi_align-7x7-no_grad"):
        case_named("roi")
    done = bench("operators", "--case", "roi")
    assert done.exit_code == 2


def test_a_file_of_an_earlier_version_is_read(bench: Any, tmp_path: Path) -> None:
    """It has no columns of patterns."""
    detection(bench)
    rows = measured_rows(bench, ROI, tmp_path)
    later = ["mode", "fusion", "fused", "fusion_gain", "fusion_gain_low", "fusion_gain_high"]
    later += ["fusion_verdict", "options", "fusion_reason"]
    assert [one.name for one in fields(OperatorRow)][-9:] == later
    path = tmp_path / "operators.csv"
    records.replace_rows(path, rows, OperatorRow)
    lines = [line.rsplit(",", len(later))[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    page = operators_page.read_page(tmp_path)
    assert "its own kernel" in page.lead[0]


@pytest.mark.torch
def test_cases_compute_what_torchvision_does() -> None:
    """ROIAlign of all levels gives every proposal once; NMS keeps no two neighbours."""
    import torch
    import torchvision

    from bench.worker import operators as inside

    torch.manual_seed(0)
    assert isinstance(ROI, Detection)
    case = replace(ROI, proposals=20, output_size=2)
    operator = inside.operator_of(case)
    pooled = operator(operator.inputs(operators.groups([case])[0].participants[0].scenario))
    assert sum(len(part) for part in pooled) == 20
    assert {tuple(part.shape[1:]) for part in pooled} == {(256, 2, 2)}
    boxes = inside.proposals(200)
    assert bool((boxes[:, 2] >= boxes[:, 0]).all())
    kept = inside.operator_of(case_named("nms-1000-no_grad"))
    found = kept(kept.inputs(operators.groups([case])[0].participants[0].scenario))[0]
    assert 0 < len(found) < 1000
    assert inside.served_by(lambda: torchvision.ops.nms(boxes, boxes[:, 0], 0.5)) == []


@pytest.mark.torch
@pytest.mark.parametrize("name", ["conv-relu-64x224x224", "conv-add-relu-256x56x56"])
def test_a_pattern_is_the_layer_the_addition_and_the_relu(name: str) -> None:
    """On shapes as the case names them."""
    import torch

    from bench.worker import patterns

    case = case_named(name)
    assert isinstance(case, Pattern)
    case = replace(case, inputs=3, outputs=4, side=5)
    model = patterns.model_of(case)
    images = patterns.inputs_of(case)
    assert images.shape == (1, 3, 5, 5)
    wanted = model.layer(images)
    if "add" in name:
        assert model.shortcut is not None
        wanted = wanted + model.shortcut(images)
    assert torch.equal(model(images), wanted.clamp_min(0))
    assert model(images).shape == (1, 4, 5, 5)


@pytest.mark.torch
def test_a_linear_pattern_takes_one_row_of_features() -> None:
    """As a classifier does for one image."""
    from bench.worker import patterns

    case = case_named("linear-relu-4096-4096")
    assert isinstance(case, Pattern)
    case = replace(case, inputs=3, outputs=4)
    assert patterns.model_of(case)(patterns.inputs_of(case)).shape == (1, 4)
