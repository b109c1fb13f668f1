from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.analysis import parity
from bench.plan.scenario import Dtype, Mode, Scenario, Task
from bench.plan.thresholds import ParityTolerance

if TYPE_CHECKING:
    from tests.bench.worker.backends.conftest import Worker

pytestmark = [pytest.mark.torch, pytest.mark.ipex]


def test_the_placebo_has_ipex_imported_and_optimises_nothing(
    placebo: Worker, stock: Worker
) -> None:
    """The stock model, its reorders and its outputs, in a process that has IPEX."""
    case = Scenario(task=Task.INFERENCE, backend="placebo", mode=Mode.EAGER, batch_size=2)
    placebo.prepare(case)
    evidence = placebo.ask("kernels")
    stock.prepare(Scenario(task=Task.INFERENCE, backend="stock", mode=Mode.EAGER, batch_size=2))
    found = parity.compare(
        stock.outputs("reference"),
        placebo.outputs("placebo"),
        task=Task.INFERENCE,
        dtype=Dtype.FP32,
        tolerance=ParityTolerance(),
    )

    assert placebo.hello["ipex_imported"] is True
    assert evidence["contradiction"] is None
    assert evidence["layers_replaced"] is None
    assert evidence["graph"]["reorder_share"] > 0
    assert found.within_tolerance, found
