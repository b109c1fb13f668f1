from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch

from bench.errors import WorkerError
from bench.plan.scenario import (
    FROZEN,
    FULL,
    FUSED_ADAM,
    NO_FREEZING,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Status,
    Task,
)
from bench.worker import protocol
from bench.worker.backends import stock as backend
from tests.bench.worker.backends.conftest import SIDE, Worker
from tests.hardware import ONEDNN_HAS_BF16, needs_onednn_bf16

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.torch

LAST = Layout.CHANNELS_LAST


def scenario(**more: Any) -> Scenario:
    """Stock default at batch size 2 by default."""
    values = {"task": Task.INFERENCE, "backend": "stock", "mode": Mode.EAGER, "batch_size": 2}
    return Scenario(**{**values, **more})


WIDE = """
import torch

def wide():
    return torch.nn.Sequential(
        torch.nn.Conv2d(64, 512, 3), torch.nn.ReLU(), torch.nn.Conv2d(512, 4096, 3)
    )
"""
"""A model that compiles at once and whose weights are 76 MB."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker of that model."""
    folder = tmp_path_factory.mktemp("wide")
    (folder / "wide.py").write_text(WIDE)
    options = ("--model", f"{folder}/wide.py:wide", "--input-shape", "64,6,6")
    worker = Worker("stock", folder, *options)
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def learner(
    workers: dict[str, Worker], pills: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A stock worker, with smaller images where PyTorch's own slow kernels compute in bf16."""
    if ONEDNN_HAS_BF16:
        yield workers["stock"]
        return
    options = ("--data", pills, "--weights", "random", "--image-size", SIDE // 2)
    worker = Worker("stock", tmp_path_factory.mktemp("learner"), *options)
    yield worker
    worker.stop()


def training(**more: Any) -> Scenario:
    """A training step, frozen by default."""
    return scenario(**{"task": Task.TRAINING, "options": (FROZEN,), **more})


INFERENCE = [
    scenario(layout=LAST),
    *(scenario(mode=Mode.TORCHSCRIPT, fusion=fusion, layout=LAST) for fusion in (True, False)),
]
IN_BF16 = [
    scenario(dtype=Dtype.BF16),
    *(replace(case, dtype=Dtype.BF16) for case in INFERENCE),
]


def test_a_stock_worker_never_imports_ipex(stock: Worker) -> None:
    """Importing it changes PyTorch for good; the worker's `sys.modules` is the proof."""
    assert stock.hello["packages"]["ipex"] is None
    assert stock.hello["conditions"]["threads"] == 1


@pytest.mark.parametrize(
    "case",
    [*INFERENCE, *(pytest.param(case, marks=needs_onednn_bf16) for case in IN_BF16)],
    ids=lambda case: case.id,
)
def test_every_way_runs_what_its_label_says_and_decides_the_same(
    stock: Worker, case: Scenario
) -> None:
    """OneDNN's log does not contradict the label, and outputs agree with stock default's."""
    found = stock.compare(case, stock, scenario())
    evidence = stock.ask("kernels")

    assert found.within_tolerance, found
    assert evidence["contradiction"] is None
    assert len(evidence["kernels"]) > 13
    assert (evidence["fused_ops"] >= 13) == bool(case.fusion)
    sources = {k["data_types"].split()[0] for k in evidence["kernels"] if "conv" in k["primitive"]}
    assert sources == {"src:bf16" if case.dtype is Dtype.BF16 else "src:f32"}


def test_fusion_is_off_again_after_it_was_on(stock: Worker) -> None:
    """The switch is process-wide, and a worker may serve both."""
    for fusion in (True, False):
        stock.prepare(scenario(mode=Mode.TORCHSCRIPT, fusion=fusion, layout=LAST))
        evidence = stock.ask("kernels")
        assert ("oneDNNFusionGroup" in evidence["graph"]["nodes"]) is fusion


def test_compile_freezes_fuses_and_leaves_no_process_behind(stock: Worker) -> None:
    """One graph without breaks, weights packed (no reorder at a call), no pool of compilers."""
    case = scenario(mode=Mode.COMPILE, layout=LAST)
    found = stock.compare(case, stock, scenario())
    evidence = stock.ask("kernels")

    assert found.within_tolerance, found
    assert evidence["contradiction"] is None
    assert evidence["graph"] == {"graphs": 1, "breaks": 0, "reorder_share": 0.0}
    assert evidence["fused_ops"] == 13
    assert stock.ask("call", n=2, phase="timed")["invalid"] is None
    assert psutil.Process(stock.pid).children() == []


def test_calls_before_torchscript_settled_do_not_count(stock: Worker) -> None:
    """It records types first and optimises later: timing that would time the interpreter."""
    case = scenario(mode=Mode.TORCHSCRIPT, fusion=True, layout=LAST)
    stock.ask("prepare", scenario=protocol.encode(case))
    stock.ask("call", n=1, phase="first_call")
    early = stock.ask("call", n=1, phase="timed")
    stock.ask("call", n=1, phase="warmup")
    later = stock.ask("call", n=2, phase="timed")

    assert "compiled again" in str(early["invalid"])
    assert later["invalid"] is None


@pytest.mark.parametrize("options", [(), (NO_FREEZING,)])
def test_compile_without_freezing_packs_weights_at_every_call(
    wide: Worker, options: tuple[str, ...]
) -> None:
    """The option is what its name says."""
    wide.prepare(scenario(mode=Mode.COMPILE, layout=LAST, options=options))
    primitives = [kernel["primitive"] for kernel in wide.ask("kernels")["kernels"]]
    assert primitives.count("convolution") == 2
    assert ("reorder" in primitives) == bool(options)


@pytest.mark.parametrize(
    "case",
    [
        training(layout=LAST, options=(FROZEN, FUSED_ADAM)),
        training(dtype=Dtype.BF16),
        training(options=(FULL,), layout=LAST, dtype=Dtype.BF16),
    ],
    ids=lambda case: case.id,
)
def test_training_follows_the_same_losses(learner: Worker, case: Scenario) -> None:
    """Five steps from the same start on the same batch."""
    trained = FULL if FULL in case.options else FROZEN
    found = learner.compare(case, learner, training(options=(trained,)))

    assert found.images == 3
    assert found.within_tolerance, found
    assert learner.ask("kernels")["contradiction"] is None


@pytest.mark.parametrize(
    "case",
    [scenario(dtype=Dtype.INT8), training(mode=Mode.TORCHSCRIPT, fusion=False)],
    ids=lambda case: case.id,
)
def test_what_cannot_run_is_unsupported_and_costs_nothing_else(
    stock: Worker, case: Scenario
) -> None:
    """The scenario's row carries the reason, and the worker serves the next."""
    with pytest.raises(WorkerError) as caught:
        stock.prepare(case)
    assert caught.value.status is Status.UNSUPPORTED
    assert stock.prepare(scenario())["layers_replaced"] is None


@pytest.mark.parametrize("mode", [Mode.EAGER, Mode.TORCHSCRIPT, Mode.COMPILE])
def test_release_gives_the_memory_back(wide: Worker, mode: Mode) -> None:
    """PyTorch and Inductor would keep the frozen weights of every model."""
    case = scenario(mode=mode, fusion=mode is Mode.TORCHSCRIPT or None, layout=LAST)
    resident = []
    for _ in range(3):
        wide.prepare(case)
        wide.ask("release")
        resident.append(wide.ask("memory")["rss_mb"])
    assert resident[2] < resident[1] + 30


def test_one_batch_size_after_the_other(stock: Worker) -> None:
    """A worker runs all of them, and each has its own peak."""
    peaks = []
    for size in (8, 1):
        stock.prepare(scenario(batch_size=size))
        peaks.append(stock.ask("memory")["peak_rss_mb"])
        stock.ask("release")
    assert peaks[1] < peaks[0]


@pytest.fixture(autouse=True)
def _fast_path() -> Iterator[None]:
    """bf16 switches the fast path of attention off, which a worker undoes."""
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def output_of(model: torch.nn.Module, example: torch.Tensor, **changes: Any) -> torch.Tensor:
    """Return a user's model's output under the stock backend, in this process."""
    with torch.inference_mode():
        prepared = backend.prepare(model, scenario(layout=LAST, **changes), example)
        return prepared(example)  # type: ignore[no-any-return] # a tensor


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("mode", [Mode.EAGER, Mode.TORCHSCRIPT])
def test_an_encoder_layer_runs_in_bf16(mode: Mode) -> None:
    """Its fast path would fail on weights of two dtypes."""
    torch.manual_seed(1)
    model = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu").eval()
    example = torch.randn(2, 4, 16)
    with torch.inference_mode():
        expected = model(example)
    fusion = True if mode is Mode.TORCHSCRIPT else None
    found = output_of(model, example, mode=mode, fusion=fusion, dtype=Dtype.BF16)
    assert torch.allclose(found.float(), expected, atol=0.05)
    assert not torch.allclose(found.float(), expected, atol=1e-4)


def test_linear_layers_and_convolutions_hold_bf16_weights() -> None:
    """Of signals, images and volumes: none is cast at every call."""
    layers = [torch.nn.Conv1d(2, 4, 3), torch.nn.Conv2d(2, 4, 3), torch.nn.Conv3d(2, 4, 3)]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(2, 4), torch.nn.LayerNorm(4))
    backend.hold_weights_in(model, torch.bfloat16)
    dtypes = [layer.weight.dtype for layer in model]
    assert dtypes == [*[torch.bfloat16] * 4, torch.float32]


class Tied(torch.nn.Module):
    """A language model whose last layer has its embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(50, 16)
        self.around = torch.nn.GRU(16, 16, batch_first=True)
        self.layers = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 16))
        self.layers[1].weight = self.layers[0].weight
        self.head = torch.nn.Linear(16, 50)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.layers(self.around(self.words(tokens))[0]))
        return found


def test_a_weight_that_another_kind_of_layer_shares_keeps_fp32() -> None:
    """An embedding in bf16 would not be what the label says; two linear layers may share."""
    model = Tied()
    backend.hold_weights_in(model, torch.bfloat16)
    assert {model.words.weight.dtype, model.head.weight.dtype} == {torch.float32}
    assert {weight.dtype for weight in model.layers.parameters()} == {torch.bfloat16}
    assert model.head.weight is model.words.weight


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("mode", [Mode.EAGER, Mode.TORCHSCRIPT])
def test_a_model_of_tied_weights_runs_in_bf16(mode: Mode) -> None:
    """What autocast does not cast, such as a traced GRU's sums, stays in one dtype."""
    torch.manual_seed(1)
    model, tokens = Tied().eval(), torch.randint(50, (2, 7))
    with torch.inference_mode():
        expected = model(tokens)
    fusion = False if mode is Mode.TORCHSCRIPT else None
    found = output_of(model, tokens, mode=mode, fusion=fusion, dtype=Dtype.BF16)
    assert torch.allclose(found.float(), expected, atol=0.05)
    assert not torch.allclose(found.float(), expected, atol=1e-4)


def test_volumes_and_tokens_have_layouts_of_their_own() -> None:
    """channels_last means five dimensions for volumes, and nothing for numbers of words."""
    volume = torch.nn.Conv3d(2, 4, 3)
    assert output_of(
        torch.nn.Sequential(volume, torch.nn.ReLU()), torch.randn(2, 2, 5, 5, 5)
    ).shape == (2, 4, 3, 3, 3)
    assert volume.weight.is_contiguous(memory_format=torch.channels_last_3d)
    words = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 3))
    assert output_of(words, torch.randint(9, (2, 7))).shape == (2, 7, 3)
