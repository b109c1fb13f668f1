from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch

from bench.errors import WorkerError
from bench.plan.scenario import (
    FROZEN,
    FULL,
    FUSED_ADAM,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Status,
    Task,
)
from bench.worker.backends import ipex as backend
from tests.hardware import FLAGS, needs_onednn_bf16

if TYPE_CHECKING:
    from tests.bench.worker.backends.conftest import Worker

pytestmark = [pytest.mark.torch, pytest.mark.ipex]


def scenario(**more: Any) -> Scenario:
    """IPEX eager in fp32 at batch size 2 by default."""
    values = {
        "task": Task.INFERENCE,
        "backend": "ipex",
        "mode": Mode.EAGER,
        "layout": Layout.CHANNELS_LAST,
        "batch_size": 2,
    }
    return Scenario(**{**values, **more})


def training(**more: Any) -> Scenario:
    """A training step, frozen by default."""
    return scenario(**{"task": Task.TRAINING, "options": (FROZEN,), **more})


def default_of(case: Scenario) -> Scenario:
    """The stock default that a case is compared with."""
    return Scenario(
        task=case.task,
        backend="stock",
        mode=Mode.EAGER,
        batch_size=case.batch_size,
        options=tuple(tag for tag in case.options if tag in (FROZEN, FULL)),
    )


def test_an_ipex_worker_has_ipex_and_no_process_beside_it(ipex: Worker) -> None:
    """Importing it with triton installed would start a pool that burns seconds of CPU."""
    assert ipex.hello["packages"]["ipex"].startswith("2.8")
    assert psutil.Process(ipex.pid).children() == []


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(scenario(mode=mode, fusion=fusion, dtype=dtype), marks=marks)
        for dtype, marks in ((Dtype.FP32, ()), (Dtype.BF16, needs_onednn_bf16))
        for mode, fusion in (
            (Mode.EAGER, None),
            (Mode.TORCHSCRIPT, False),
            (Mode.TORCHSCRIPT, True),
        )
    ],
    ids=lambda case: case.id,
)
def test_every_way_runs_what_its_label_says_and_decides_the_same(
    ipex: Worker, stock: Worker, case: Scenario
) -> None:
    """13 convolutions and the head are IPEX's, and nothing is repacked at a call.

    Not so with AVX2: there IPEX packs weights that oneDNN then packs again at each call, unless
    TorchScript fuses.
    """
    found = ipex.compare(case, stock, default_of(case))
    evidence = ipex.ask("kernels")

    assert found.within_tolerance, found
    assert evidence["contradiction"] is None
    assert evidence["layers_replaced"] == 14
    assert (evidence["fused_ops"] >= 13) == bool(case.fusion)
    if case.dtype is Dtype.FP32 and (case.fusion or "avx512f" in FLAGS):
        assert evidence["graph"]["reorder_share"] < 0.02


def test_a_python_on_which_ipex_crashes_is_unavailable_with_that_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It can be imported there, and its layers end the process."""
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    with pytest.raises(ImportError, match=r"IPEX 2\.8 crashes on Python 3\.13 and later"):
        backend.load()


def test_fusion_is_off_again_after_it_was_on(ipex: Worker) -> None:
    """The pre-pass is process-wide, and a worker may run both; weights stay packed."""
    for fusion in (True, False):
        ipex.prepare(scenario(mode=Mode.TORCHSCRIPT, fusion=fusion))
        evidence = ipex.ask("kernels")
        assert ("ipex_prepack::convolution_relu_run" in evidence["graph"]["nodes"]) is fusion
        assert evidence["layers_replaced"] == 14


def test_replaced_layers_are_listed_by_their_kind(ipex: Worker) -> None:
    """The report counts them by IPEX's names: 13 convolutions and the head."""
    ipex.prepare(scenario())
    kinds = [kind for _, kind in ipex.ask("layers")["layers"]]
    assert sum(kind.startswith("_IPEX") for kind in kinds) == 14


def test_ipex_compile_packs_in_the_graph(ipex: Worker, stock: Worker) -> None:
    """Nothing is replaced before, one graph is compiled, and no call repacks a weight."""
    case = scenario(mode=Mode.COMPILE)
    found = ipex.compare(case, stock, default_of(case))
    evidence = ipex.ask("kernels")

    assert found.within_tolerance, found
    assert evidence["contradiction"] is None
    assert evidence["layers_replaced"] == 0
    assert evidence["graph"] == {"graphs": 1, "breaks": 0, "reorder_share": 0.0}
    assert evidence["fused_ops"] == 13


@pytest.mark.parametrize(
    ("case", "layers"),
    [
        (training(), 13),
        pytest.param(training(dtype=Dtype.BF16), 14, marks=needs_onednn_bf16),
        (training(options=(FULL,)), 13),
    ],
    ids=lambda value: value.id if isinstance(value, Scenario) else str(value),
)
def test_training_follows_stocks_losses(
    ipex: Worker, stock: Worker, case: Scenario, layers: int
) -> None:
    """In fp32 the head stays PyTorch's own layer; in bf16 it does not."""
    found = ipex.compare(case, stock, default_of(case))
    evidence = ipex.ask("kernels")

    assert found.within_tolerance, found
    assert evidence["contradiction"] is None
    assert evidence["layers_replaced"] == layers


@pytest.mark.parametrize(
    "case",
    [
        scenario(dtype=Dtype.INT8),
        training(mode=Mode.COMPILE),
        training(options=(FROZEN, FUSED_ADAM)),
    ],
    ids=lambda case: case.id,
)
def test_what_ipex_cannot_do_is_unsupported(ipex: Worker, case: Scenario) -> None:
    """The scenario's row carries the reason, and the worker serves the next."""
    with pytest.raises(WorkerError) as caught:
        ipex.prepare(case)
    assert caught.value.status is Status.UNSUPPORTED
    assert ipex.prepare(scenario())["layers_replaced"] == 14


@pytest.mark.parametrize("case", [scenario(), scenario(mode=Mode.TORCHSCRIPT), training()])
def test_a_cpu_without_bf16_kernels_is_unsupported(
    monkeypatch: pytest.MonkeyPatch, case: Scenario
) -> None:
    """`ipex.optimize` would fail on an assertion there: the row would say `crashed`.

    A stand-in for IPEX, which must not be imported here.
    """
    native = SimpleNamespace(onednn_has_bf16_support=lambda: False)
    stand_in = SimpleNamespace(_C=native)
    monkeypatch.setitem(sys.modules, "intel_extension_for_pytorch", stand_in)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(NotImplementedError, match="packs no bf16 weights on this CPU"):
        backend.prepare(model, replace(case, dtype=Dtype.BF16), torch.rand(1, 2), optimizer)


FINDINGS = """
import json, torch
from bench.worker.backends import ipex
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task, FROZEN
from pillqc.model.network import load_model
from pillqc.model.optimizing import replaced_layers
from pillqc.training.step import make_optimizer
ipex.load()
import intel_extension_for_pytorch
found = {}

def scenario(task=Task.INFERENCE, **more):
    return Scenario(task=task, backend="ipex", mode=Mode.EAGER, batch_size=1, **more)

def refused(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def weights_are_contiguous(model):
    return all(p.is_contiguous() for p in model.parameters())

images = torch.rand(1, 3, 32, 32)
plain = load_model("random").model
prepared = ipex.prepare(plain, scenario(), images)
found["ours leaves the model alone"] = weights_are_contiguous(plain)
found["ours replaces nothing in it"] = replaced_layers(plain) == 0
naked = load_model("random").model
intel_extension_for_pytorch.optimize(naked, dtype=torch.float32, inplace=False)
found["ipex.optimize leaves the model alone"] = weights_are_contiguous(naked)

found["loading"] = refused(lambda: prepared.model.load_state_dict(plain.state_dict()))
optimized = intel_extension_for_pytorch.optimize(naked, dtype=torch.float32)
other = load_model("random", seed=1).model
optimized.load_state_dict(other.state_dict(), strict=False)
with torch.inference_mode():
    error = (optimized(images)[0] - other(images)[0]).abs().max()
found["loading anyway is right"] = bool(error < 1e-3)

traced = torch.jit.trace(plain, images)
same = intel_extension_for_pytorch.optimize(traced)
found["ipex.optimize returns a script unchanged"] = same is traced
found["script"] = refused(lambda: ipex.prepare(traced, scenario(), images))

training = scenario(Task.TRAINING, options=(FROZEN,))
found["no optimizer"] = refused(lambda: ipex.prepare(plain, training, images))
adamw = torch.optim.AdamW(plain.parameters())
found["AdamW"] = refused(lambda: ipex.prepare(plain, training, images, adamw))
adam = make_optimizer(plain)
found["Adam was fused before"] = ipex.steps_are_fused(adam)
stepper = ipex.prepare(plain, training, images, adam).optimizer
found["Adam is fused"] = ipex.steps_are_fused(stepper)
nothing = torch.nn.Sequential(torch.nn.ReLU())
found["nothing to replace"] = refused(lambda: ipex.prepare(nothing, scenario(), images))
for options in ((), ("auto_kernel_selection",)):
    linear = torch.nn.Sequential(torch.nn.Linear(4, 3))
    own = ipex.prepare(linear, scenario(options=options), torch.rand(2, 4)).model
    (layer,) = (module for module in own.modules() if hasattr(module, "use_dnnl"))
    found["a linear layer is oneDNN's " + "+".join(options)] = layer.use_dnnl
found["fused optimizers"] = sorted(
    {cls.__name__ for cls in intel_extension_for_pytorch.optim._optimizer_utils
     .IPEX_FUSED_OPTIMIZER_LIST_CPU})
print("FOUND " + json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What IPEX and our backend do in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", FINDINGS],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr
    findings: dict[str, Any] = json.loads(lines[0].removeprefix("FOUND "))
    return findings


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        # IPEX changes its argument's layout, even with `inplace=False`
        ("ipex.optimize leaves the model alone", False),
        ("ours leaves the model alone", True),
        ("ours replaces nothing in it", True),
        # packed weights accept others, and the model then computes wrong results
        ("loading anyway is right", False),
        ("loading", "RuntimeError: load weights before"),
        ("ipex.optimize returns a script unchanged", True),
        ("script", "TypeError: ipex.optimize ignores a ScriptModule"),
        ("no optimizer", "TypeError"),
        ("AdamW", "NotImplementedError: IPEX has no fused AdamW"),
        ("Adam was fused before", False),
        ("Adam is fused", True),
        ("nothing to replace", "NotImplementedError: ipex.optimize replaced no layer"),
        # MKL runs it by default, which fuses nothing
        ("a linear layer is oneDNN's ", False),
        ("a linear layer is oneDNN's auto_kernel_selection", True),
        ("fused optimizers", sorted(backend.FUSED_OPTIMIZERS)),
    ],
)
def test_what_ipex_does_silently_is_refused(
    found: dict[str, Any], finding: str, expected: object
) -> None:
    """Each line is a trap in IPEX, or how the backend avoids it."""
    if isinstance(expected, str):
        assert found[finding].startswith(expected)
    else:
        assert found[finding] == expected


def test_the_placebo_has_ipex_imported_and_optimises_nothing(
    placebo: Worker, stock: Worker
) -> None:
    """The stock model, its reorders and its outputs, in a process that has IPEX."""
    case = scenario(backend="placebo", layout=Layout.CONTIGUOUS)
    found = placebo.compare(case, stock, default_of(case))
    evidence = placebo.ask("kernels")

    assert placebo.hello["packages"]["ipex"].startswith("2.8")
    assert evidence["contradiction"] is None
    assert evidence["layers_replaced"] is None
    assert evidence["graph"]["reorder_share"] > 0
    assert found.within_tolerance, found
