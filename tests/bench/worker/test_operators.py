"""Operators and patterns in a real session; what they compute: tests/bench/studies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.errors import WorkerError
from bench.plan.operators import CASE, Detection, Pattern, case_named
from bench.plan.scenario import Layout, Mode, Phase, Scenario, Task
from bench.worker.backends import stock
from bench.worker.kernels import fused_operators

if TYPE_CHECKING:
    from pathlib import Path

    from bench.plan.operators import Case

pytestmark = pytest.mark.torch


def scenario_of(case: Case, mode: Mode = Mode.EAGER, *, fusion: bool | None = None) -> Scenario:
    """The case as stock runs it."""
    return Scenario(
        task=Task.INFERENCE,
        backend="stock",
        mode=mode,
        fusion=fusion,
        layout=case.layout,
        batch_size=1,
        options=(f"{CASE}={case.name}",),
    )


def test_an_operator_is_prepared_called_and_compared(tmp_path: Path) -> None:
    """As a model is, though there is no model."""
    from bench.worker.operators import OperatorSession

    case = case_named("nms-1000-no_grad")
    assert isinstance(case, Detection)
    session = OperatorSession("stock", stock)
    reply = session.prepare(scenario_of(case))
    assert reply["served_by"] == []
    calls = session.call(2, Phase.TIMED)
    assert len(calls["wall_ns"]) == 2
    assert calls["invalid"] is None
    session.outputs(tmp_path / "o.npz")
    with np.load(tmp_path / "o.npz") as file:
        assert 0 < len(file["values"]) < case.proposals


def test_a_pattern_is_set_up_by_the_backend_and_shows_what_was_fused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fusion makes one kernel of convolution and ReLU; all scenarios have the same outputs."""
    from bench.worker import operators

    case = case_named("conv-relu-64x224x224")
    assert isinstance(case, Pattern)
    tiny = replace(case, inputs=16, outputs=16, side=14)
    monkeypatch.setattr(operators, "case_named", lambda _: tiny)
    session = operators.OperatorSession("stock", stock)
    found, values = {}, {}
    for name, scenario in {
        "eager": scenario_of(tiny),
        "off": scenario_of(tiny, Mode.TORCHSCRIPT, fusion=False),
        "on": scenario_of(tiny, Mode.TORCHSCRIPT, fusion=True),
    }.items():
        session.prepare(scenario)
        reply = session.kernels()
        assert reply["contradiction"] is None
        found[name] = fused_operators(reply)
        session.outputs(tmp_path / "o.npz")
        with np.load(tmp_path / "o.npz") as file:
            values[name] = file["values"]
    assert (found["eager"], found["off"]) == ([], [])
    assert found["on"] == ["convolution+eltwise_relu"]
    assert values["eager"].shape == (16 * 14 * 14,)
    assert np.allclose(values["on"], values["eager"], atol=1e-4)
    assert values["on"].min() == 0
    assert tiny.layout is Layout.CHANNELS_LAST


def test_a_scenario_without_a_case_is_refused() -> None:
    """One sentence that names it."""
    from bench.worker.operators import case_of

    plain = replace(scenario_of(case_named("nms-1000-no_grad")), options=())
    with pytest.raises(WorkerError, match="b1 names no case"):
        case_of(plain)
