"""OpenVINO and ONNX Runtime: each does what its label says, or why it cannot."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import WorkerError
from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Status, Task, stock_default
from bench.worker import backends

if TYPE_CHECKING:
    from tests.bench.worker.backends.conftest import Worker

pytestmark = pytest.mark.torch

DEFAULT = stock_default(Task.INFERENCE, 2)


def case(backend: str, **more: Any) -> Scenario:
    """How the matrix has it."""
    return replace(replace(DEFAULT, backend=backend, mode=Mode.COMPILE), **more)


@pytest.fixture(params=sorted(FURTHER_BACKENDS))
def further(request: pytest.FixtureRequest, workers: dict[str, Worker]) -> Worker:
    """A worker of each that is installed."""
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return workers[request.param]


def test_outputs_agree_and_the_backend_tells_what_it_ran(further: Worker, stock: Worker) -> None:
    """Its evidence has 13 convolutions, instead of the graphs of PyTorch's compiler."""
    name = further.log.stem
    found = further.compare(case(name), stock, DEFAULT)
    assert found.within_tolerance
    evidence = further.ask("kernels")
    assert evidence["contradiction"] is None
    nodes = evidence["graph"]["nodes"]
    convolutions = ("Conv", "Convolution")  # `Convert` is none
    assert sum(n for node, n in nodes.items() if node.split()[0] in convolutions) == 13


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"task": Task.TRAINING, "options": ("frozen",)}, "train|inference"),
        ({"mode": Mode.EAGER}, "no other way"),
        ({"layout": Layout.CHANNELS_LAST}, "no other way"),
        ({"dtype": Dtype.INT8}, "no int8"),
    ],
)
def test_what_it_cannot_do_is_unsupported(
    further: Worker, more: dict[str, Any], words: str
) -> None:
    """A sentence and no crash."""
    with pytest.raises(WorkerError, match=words) as caught:
        further.prepare(case(further.log.stem, **more))
    assert caught.value.status is Status.UNSUPPORTED


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
