"""ROIAlign and NMS: the cases, and what their rows say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli.main import cli
from bench.engine.checks import Checks
from bench.errors import UsageError
from bench.machine import frameworks
from bench.plan.operators import CASES, case_named
from bench.plan.thresholds import DEFAULT
from bench.studies import operators
from tests.hardware import needs_ipex

if TYPE_CHECKING:
    from pathlib import Path

    from bench.engine.execution import Execution

CASE = case_named("roi_align-7x7-no_grad")


def measured_rows(
    bench: Any, outputs: Path, values: dict[str, list[float]]
) -> list[operators.OperatorRow]:
    """A whole study of one case, with scripted outputs."""

    def prepare(participant: str, _: Any) -> dict[str, Any]:
        own = ["torch_ipex::ROIAlign_forward"] if participant.endswith("ipex") else []
        return {"prepare_s": 0.0, "served_by": own}

    bench.answers = {"prepare": prepare}
    bench.call_ms = {f"{CASE.name}/stock": 30.0, f"{CASE.name}/ipex": 20.0}

    class Scripted(Checks):
        def after_first_warm_up(self, participant: Execution) -> None:
            found = values.get(participant.scenario.backend, [1.0, 2.0])
            np.savez(
                operators.output_path(outputs, participant.participant), values=np.array(found)
            )

    study = bench.study(operators.groups([CASE]), checks=Scripted())
    study.measure()
    return operators.rows("run", [CASE], study.measured, outputs, DEFAULT)


def test_the_row_says_how_fast_and_whose_kernel_it_was(bench: Any, tmp_path: Path) -> None:
    """The label is what the profiler saw, never what was imported."""
    stock, control, ipex = measured_rows(bench, tmp_path, {})
    assert (stock.backend, control.backend, ipex.backend) == ("stock", "stock#control", "ipex")
    assert ipex.speedup == pytest.approx(1.5)
    assert ipex.verdict == "faster"
    assert ipex.served_by == "torch_ipex::ROIAlign_forward"
    assert stock.served_by is None
    assert stock.verdict == ""
    page = operators.page([stock, control, ipex])
    assert "its own kernel" in page.lead[0]
    assert "torchvision's kernel" in operators.page([replace(ipex, served_by=None)]).lead[0]


def test_other_outputs_make_the_comparison_invalid(bench: Any, tmp_path: Path) -> None:
    """Whoever is faster computed something else."""
    *_, ipex = measured_rows(bench, tmp_path, {"ipex": [1.0, 2.5]})
    assert ipex.verdict == "invalid"
    assert ipex.max_abs_error == pytest.approx(0.5)
    assert ipex.reason == "its outputs differ from stock torchvision's"


def test_outputs_of_other_shapes_are_infinitely_far(tmp_path: Path) -> None:
    """NMS that keeps more boxes than stock's."""
    left, right = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(left, values=np.array([1.0]))
    np.savez(right, values=np.array([1.0, 2.0]))
    assert operators.largest_difference(left, right) == float("inf")
    assert operators.largest_difference(left, tmp_path / "none.npz") is None


def test_an_unknown_case_is_one_line_with_what_there_is() -> None:
    """And wrong usage."""
    with pytest.raises(UsageError, match="choose from roi_align-7x7-no_grad"):
        case_named("roi")
    done = CliRunner().invoke(cli, ["operators", "--case", "roi"])
    assert done.exit_code == 2


def test_both_ways_of_switching_autograd_off_are_cases() -> None:
    """They reach different kernels, so one alone would say something untrue of the other."""
    contexts = {(case.operator, case.context) for case in CASES}
    assert len(contexts) == 4


@pytest.mark.torch
def test_cases_compute_what_torchvision_does() -> None:
    """ROIAlign of all levels gives every proposal once; NMS keeps no two neighbours."""
    import torch
    import torchvision

    from bench.worker import operators as inside

    torch.manual_seed(0)
    case = replace(CASE, proposals=20, output_size=2)
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


@needs_ipex
def test_what_ipex_replaces_is_read_from_the_dispatcher() -> None:
    """NMS on the CPU; ROIAlign for autograd and autocast, and not the plain CPU kernel."""
    done = CliRunner().invoke(cli, ["operators", "--replaced"])
    assert done.exit_code == 0, done.output
    lines = [line.strip("| ").split(" | ") for line in done.output.splitlines() if "::" in line]
    table = dict(lines)
    assert "CPU" in table["`torchvision::nms`"].split(", ")
    assert table["`torchvision::roi_align`"].split(", ") == ["AutocastCPU", "AutogradCPU"]
    assert "`aten::conv2d`" not in table


def test_without_ipex_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    answer = frameworks.Answer(result=None, reason="No module named 'x'", output="")
    monkeypatch.setattr(frameworks, "ask", lambda *_: answer)
    done = CliRunner().invoke(cli, ["operators", "--replaced"])
    assert done.exit_code == 1
    assert "cannot be listed: No module named 'x'" in done.output
