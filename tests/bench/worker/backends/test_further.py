"""Further backends: each does what its label says, or says why it cannot."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench.errors import WorkerError
from bench.machine.cpu import Cpu
from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Status, Task, stock_default
from bench.worker import backends
from bench.worker.backends import optional, zentorch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.worker.backends.conftest import Worker

pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]

DEFAULT = stock_default(Task.INFERENCE, 2)


def case(backend: str, **more: Any) -> Scenario:
    """How the matrix has it."""
    layout = FURTHER_BACKENDS[backend].layout
    return replace(
        replace(DEFAULT, backend=backend, mode=Mode.COMPILE, layout=layout),
        **more,
    )


def installed(workers: dict[str, Worker], backend: str) -> Worker:
    """A worker of that backend; the test is skipped where it is not installed."""
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    return workers[backend]


@pytest.fixture(params=sorted(FURTHER_BACKENDS))
def further(request: pytest.FixtureRequest, workers: dict[str, Worker]) -> Worker:
    """A worker of each that is installed."""
    return installed(workers, request.param)


def test_outputs_agree_and_the_backend_tells_what_it_ran(further: Worker, stock: Worker) -> None:
    """Its evidence has 13 convolutions, instead of the graphs of PyTorch's compiler."""
    name = further.log.stem
    found = further.compare(case(name), stock, DEFAULT)
    assert found.within_tolerance
    evidence = further.ask("kernels")
    assert evidence["contradiction"] is None
    nodes = evidence["graph"]["nodes"]
    convolutions = ("Conv", "Convolution", "mkldnn::_convolution_pointwise")  # `Convert` is none
    assert sum(n for node, n in nodes.items() if node.split()[0] in convolutions) == 13


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"task": Task.TRAINING, "options": ("frozen",)}, "train|inference"),
        ({"mode": Mode.EAGER}, "no other way"),
        ({"layout": None}, "no other way"),
        ({"dtype": Dtype.INT8}, "no int8"),
    ],
)
def test_what_it_cannot_do_is_unsupported(
    further: Worker, more: dict[str, Any], words: str
) -> None:
    """A sentence and no crash."""
    name = further.log.stem
    if more.get("dtype") in FURTHER_BACKENDS[name].dtypes:
        pytest.skip(f"{name} can do it")
    if "layout" in more:
        (other,) = {Layout.CONTIGUOUS, Layout.CHANNELS_LAST} - {FURTHER_BACKENDS[name].layout}
        more = {"layout": other}
    with pytest.raises(WorkerError, match=words) as caught:
        further.prepare(case(name, **more))
    assert caught.value.status is Status.UNSUPPORTED


def test_onnxruntimes_int8_is_int8(workers: dict[str, Worker], stock: Worker) -> None:
    """Most convolutions take 8-bit numbers (1.23 all 13), and the outputs are unlike fp32's."""
    worker = installed(workers, "onnxruntime")
    found = worker.compare(case("onnxruntime", dtype=Dtype.INT8), stock, DEFAULT)
    evidence = worker.ask("kernels")
    assert evidence["contradiction"] is None
    nodes, (small, total) = evidence["graph"]["nodes"], evidence["graph"]["arithmetic"]
    assert nodes["QLinearConv"] + nodes.get("Conv", 0) == 13
    assert total >= 13
    assert 2 * small > total
    assert found.within_tolerance
    assert found.max_abs_error is not None
    assert found.max_abs_error > 1e-4, "as exact as fp32: nothing was quantised"


@pytest.mark.parametrize("dtype", [Dtype.FP32, Dtype.BF16])
def test_zentorch_leaves_convolutions_to_pytorch(
    workers: dict[str, Worker], stock: Worker, dtype: Dtype
) -> None:
    """It replaces the head alone, which a call uses twice, so oneDNN logs all convolutions."""
    worker = installed(workers, "zentorch")
    assert worker.compare(case("zentorch", dtype=dtype), stock, DEFAULT).within_tolerance
    evidence = worker.ask("kernels")
    assert evidence["contradiction"] is None
    own = {name: n for name, n in evidence["graph"]["nodes"].items() if name.startswith("zentorch")}
    assert own == {"zentorch::zentorch_linear_unary": 2}
    logged = [kernel for kernel in evidence["kernels"] if kernel["primitive"] == "convolution"]
    assert len(logged) == 13


@pytest.mark.parametrize("name", sorted(FURTHER_BACKENDS))
def test_one_that_is_not_installed_says_how_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence becomes the reason of the status `unavailable`, whatever is missing of it."""
    needed = backends.get(name).IMPORTS
    for missing in needed:
        for module in needed:
            monkeypatch.setitem(sys.modules, module, ModuleType(module))
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ImportError, match=rf"not installed: `pip install .*\[{name}\]"):
            backends.get(name).load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ImportError('only compatible with 2.14.x')", "ImportError: only compatible with"),
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("raise OSError('libzen.so: cannot open')", "OSError: libzen.so: cannot open"),
    ],
    ids=["another PyTorch", "a package of its own", "broken"],
)
def test_one_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    """It is installed, so installing it again would not help."""
    (tmp_path / "broken_backend.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=rf"Broken could not be imported: {words}"):
        optional.load("broken_backend", "Broken")


def test_zentorch_is_for_amds_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """On others it is unavailable, with the reason."""
    monkeypatch.setitem(sys.modules, "zentorch", ModuleType("zentorch"))
    monkeypatch.setattr(zentorch, "read_cpu", lambda _: Cpu(vendor="GenuineIntel"))
    with pytest.raises(ImportError, match="made for AMD's CPUs, and this one is of GenuineIntel"):
        zentorch.load()
    monkeypatch.setattr(zentorch, "read_cpu", lambda _: Cpu(vendor="AuthenticAMD"))
    zentorch.load()


def test_openvinos_throughput_mode_shares_a_call_among_streams(
    workers: dict[str, Worker], stock: Worker
) -> None:
    """The worker has one thread, so OpenVINO makes one stream, and that is no throughput mode."""
    worker = installed(workers, "openvino")
    with pytest.raises(WorkerError, match="made one stream") as caught:
        worker.prepare(case("openvino", options=("requests=2",)))
    assert caught.value.status is Status.UNSUPPORTED


def test_openvinos_throughput_mode_returns_each_image_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests end in any order."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
    images = torch.rand(8, 3, 16, 16)
    scenario = case("openvino", batch_size=8, options=("requests=4",))
    with torch.inference_mode():
        expected = model(images)
        prepared = backends.get("openvino").prepare(model, scenario, images)
        for _ in range(3):
            assert torch.allclose(prepared(images), expected, atol=1e-5)
