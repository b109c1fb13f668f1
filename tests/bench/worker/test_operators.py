"""Operators of Mask R-CNN in a real session; what they compute: tests/bench/studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.plan.operators import CASE, CASES, NMS
from bench.plan.scenario import Mode, Phase, Scenario, Task
from bench.worker.backends import stock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


def test_an_operator_is_prepared_called_and_compared(tmp_path: Path) -> None:
    """As a model is, though there is no model."""
    from bench.worker.operators import OperatorSession

    case = next(case for case in CASES if case.operator == NMS)
    session = OperatorSession("stock", stock)
    scenario = Scenario(
        task=Task.INFERENCE,
        backend="stock",
        mode=Mode.EAGER,
        batch_size=1,
        options=(f"{CASE}={case.name}",),
    )
    reply = session.prepare(scenario)
    assert (reply["case"], reply["served_by"]) == (case.name, [])
    calls = session.call(2, Phase.TIMED)
    assert len(calls["wall_ns"]) == 2
    assert calls["invalid"] is None
    session.outputs(tmp_path / "o.npz")
    with np.load(tmp_path / "o.npz") as file:
        assert 0 < len(file["values"]) < case.proposals
