"""int8 of both libraries in real workers: 8-bit kernels ran, the outputs and the map are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.errors import WorkerError
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Status, Task, stock_default
from bench.worker.backends import placebo
from bench.worker.main import status_of
from bench.worker.session import Session
from bench.worker.workload import Workload
from tests.bench.worker.backends.conftest import SIDE
from tests.hardware import needs_vnni

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.worker.backends.conftest import Worker

pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]

STOCK = Scenario(
    task=Task.INFERENCE,
    backend="stock",
    mode=Mode.COMPILE,
    dtype=Dtype.INT8,
    layout=Layout.CHANNELS_LAST,
    batch_size=2,
)
IPEX = replace(STOCK, backend="ipex", mode=Mode.TORCHSCRIPT, fusion=True)


def is_genuine(worker: Worker, stock: Worker, case: Scenario) -> None:
    """It ran in 8 bits, within the tolerance, with a map, and unlike fp32."""
    found = worker.compare(case, stock, stock_default(Task.INFERENCE, 2))
    evidence = worker.ask("kernels")
    assert evidence["contradiction"] is None
    convolutions = [k for k in evidence["kernels"] if k["primitive"] == "convolution"]
    assert len(convolutions) == 13
    assert all("src:u8 wei:s8" in kernel["data_types"] for kernel in convolutions)
    assert found.within_tolerance
    assert found.max_abs_error is not None
    assert found.max_abs_error > 1e-4, "as exact as fp32: nothing was quantised"
    with np.load(worker.folder / "candidate.npz") as arrays:
        assert arrays["maps"].shape[1:] == (2, 64, 64)
        assert float(arrays["maps"].std()) > 0.01, "the map is flat"


def test_stock_int8_is_int8(stock: Worker) -> None:
    """By the PyTorch 2 export path; without strict=True it would quantise nothing, silently."""
    is_genuine(stock, stock, STOCK)


@pytest.mark.ipex
@needs_vnni
def test_ipex_int8_is_int8(ipex: Worker, stock: Worker) -> None:
    """By IPEX's own static recipe."""
    is_genuine(ipex, stock, IPEX)


@pytest.mark.parametrize("mode", [Mode.EAGER, Mode.TORCHSCRIPT])
def test_stock_has_int8_in_compile_alone(stock: Worker, mode: Mode) -> None:
    """Another mode is unsupported and no crash."""
    with pytest.raises(WorkerError, match="no other mode") as caught:
        stock.prepare(replace(STOCK, mode=mode))
    assert caught.value.status is Status.UNSUPPORTED


def test_a_backend_without_int8_says_so(pills: Path) -> None:
    """The placebo shows what importing IPEX does to stock default, nothing else."""
    work = Workload(pills, seed=0, weights="random", image_size=SIDE)
    with pytest.raises(NotImplementedError, match="no int8") as caught:
        Session("placebo", placebo, work).prepare(replace(STOCK, backend="placebo"))
    assert status_of(caught.value) is Status.UNSUPPORTED
