"""Compilers on a small model: what they run, what they leave behind, and what they refuse."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from bench.plan.scenario import (
    CPP_WRAPPER,
    FROZEN,
    MAX_AUTOTUNE,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Status,
    Task,
)
from bench.worker import graphs, kernels, logged_calls
from bench.worker.backends import stock
from bench.worker.main import reason_of, status_of
from pillqc.errors import ExportError
from pillqc.model.ahead_of_time import unpacked_folders
from tests.hardware import needs_onednn_bf16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.worker.backends import Prepared

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

AHEAD = Scenario(
    task=Task.INFERENCE,
    backend="stock",
    mode=Mode.AOT,
    layout=Layout.CHANNELS_LAST,
    batch_size=2,
)
COMPILED = replace(AHEAD, mode=Mode.COMPILE)
needs_bf16 = pytest.param(Dtype.BF16, marks=needs_onednn_bf16)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inductor's cache of this module's tests.

    Inductor keeps compiled headers, which take seconds, in the folder for temporary files that it
    finds when it is imported: not that of one test.
    """
    importlib.import_module("torch._inductor.codecache")
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def standard_input() -> Iterator[None]:
    """Give the process its standard input back: Inductor closes number 0 when it tunes."""
    kept = os.dup(0)
    yield
    os.dup2(kept, 0)
    os.close(kept)


@pytest.fixture(autouse=True)
def own_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What these tests compile is their own, as in a run; nothing of it stays in the process."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    graphs.forget()


def small() -> torch.nn.Module:
    """Convolutions and a linear layer, with the same weights every time."""
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 64, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(64 * 14 * 14, 16),
        torch.nn.Softmax(1),
    ).eval()


def images() -> torch.Tensor:
    """Two small images."""
    torch.manual_seed(4)
    return torch.rand(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)


def ran(prepared: Prepared, mode: Mode) -> kernels.Evidence:
    """What a call executed, after a first one."""
    with torch.inference_mode():
        prepared(images())
        log = logged_calls.capture(lambda: prepared(images()), stock.verbose())
    graph = graphs.evidence(mode) if prepared.evidence is None else prepared.evidence()
    return kernels.Evidence(kernels=kernels.parse(log), graph=graph)


def agrees(prepared: Prepared, tolerance: float) -> bool:
    """Whether the outputs are the plain model's."""
    with torch.inference_mode():
        error = (prepared(images()).float() - small()(images())).abs().max()
    return bool(error <= tolerance)


@pytest.mark.parametrize("dtype", [Dtype.FP32, needs_bf16])
def test_a_package_runs_what_its_label_says(dtype: Dtype, tmp_path: Path) -> None:
    """Fused kernels of the dtype with packed weights; its file, and what it held, are gone."""
    case = replace(AHEAD, dtype=dtype)
    prepared = stock.prepare(small(), case, images())
    found = ran(prepared, Mode.AOT)

    assert agrees(prepared, 0.02)
    assert kernels.contradiction(case, found) is None
    assert len(found.convolutions) == found.fused_ops == 2
    assert not any(kernel.primitive == "reorder" for kernel in found.kernels)
    assert {k.data_type("src") for k in found.convolutions} == {
        "f32" if dtype is Dtype.FP32 else "bf16"
    }
    assert found.graph == {"packages": 1}
    assert prepared.package is not None
    assert 0 < prepared.package.load_ms < 1000 * prepared.package.build_s
    assert prepared.package.size_bytes > 64 * 14 * 14 * 16 * (4 if dtype is Dtype.FP32 else 2)
    assert list(tmp_path.rglob("*.pt2")) == []
    assert not any(Path(folder).exists() for folder in unpacked_folders())
    del prepared
    assert unpacked_folders() == set()


class DependsOnData(torch.nn.Module):
    """A model that no graph holds."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Branch on a value."""
        return images * 2 if images.sum() > 0 else images


def test_a_model_that_cannot_be_exported_is_unsupported() -> None:
    """The reason is one line and names who refuses."""
    with pytest.raises(ExportError) as caught:
        stock.prepare(DependsOnData(), AHEAD, images())
    assert status_of(caught.value) is Status.UNSUPPORTED
    reason = reason_of(caught.value)
    assert reason.startswith("torch.export cannot take this model: ")
    assert len(reason) > 60
    assert "\n" not in reason


def test_without_a_compiler_it_is_unavailable() -> None:
    """As for torch.compile: the machine lacks something, and the model is not to blame."""
    import torch._inductor.config as settings

    no_compiler = settings.patch({"cpp.cxx": ("no-such-compiler",)})
    with no_compiler, pytest.raises(Exception, match="compiler") as caught:
        stock.prepare(small(), AHEAD, images())
    assert status_of(caught.value) is Status.UNAVAILABLE


@pytest.mark.parametrize("dtype", [needs_bf16])
def test_compile_freezes_in_bf16_too(dtype: Dtype) -> None:
    """One graph, fused kernels of the dtype, and no weight packed at a call."""
    case = replace(COMPILED, dtype=dtype)
    prepared = stock.prepare(small(), case, images())
    found = ran(prepared, Mode.COMPILE)
    assert agrees(prepared, 1e-5 if dtype is Dtype.FP32 else 0.02)
    assert kernels.contradiction(case, found) is None
    assert found.fused_ops == 2
    assert not any(kernel.primitive == "reorder" for kernel in found.kernels)


def test_an_option_of_compile_shows_in_what_it_reports() -> None:
    """And not without the option, so that a label cannot be wrong unseen."""
    shown = {CPP_WRAPPER: "cpp_wrappers", MAX_AUTOTUNE: "tuned"}
    for options in ((CPP_WRAPPER,), (MAX_AUTOTUNE,), ()):
        case = replace(COMPILED, options=options)
        prepared = stock.prepare(small(), case, images())
        found = ran(prepared, Mode.COMPILE)
        assert agrees(prepared, 1e-5)
        assert kernels.contradiction(case, found) is None
        for option, key in shown.items():
            labelled = replace(COMPILED, options=(option,))
            assert (key in found.graph) == (option in options)
            assert (kernels.contradiction(labelled, found) is None) == (option in options)
        graphs.forget()


def trained(case: Scenario) -> tuple[list[float], kernels.Evidence]:
    """The losses of three steps of a small model whose first layer is frozen, and a fourth's log.

    The steps are as `bench.worker.workload` has them.
    """
    model = small()[:-1]  # type: ignore[index] # a Sequential
    model[0].requires_grad_(requires_grad=False)
    optimizer = torch.optim.Adam(
        (p for p in model.parameters() if p.requires_grad), lr=1e-3, fused=True
    )
    prepared = stock.prepare(model, case, images(), optimizer)

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", prepared.autocast, enabled=prepared.autocast is not None):
            scores: torch.Tensor = prepared.model(images())
        loss = torch.nn.functional.cross_entropy(scores.float(), torch.tensor([1, 2]))
        loss.backward()  # type: ignore[no-untyped-call] # PyTorch's
        optimizer.step()
        return float(loss)

    losses = [step() for _ in range(3)]
    log = logged_calls.capture(step, stock.verbose())
    return losses, kernels.Evidence(kernels=kernels.parse(log), graph=graphs.evidence(case.mode))


@pytest.mark.parametrize("dtype", [Dtype.FP32, needs_bf16])
def test_a_compiled_step_follows_the_eager_one(dtype: Dtype) -> None:
    """Forward and backward are one graph in the label's dtype, and the losses agree."""
    case = replace(COMPILED, task=Task.TRAINING, dtype=dtype, options=(FROZEN,))
    expected, _ = trained(replace(case, mode=Mode.EAGER, dtype=Dtype.FP32))
    losses, found = trained(case)
    assert losses[2] < 0.9 * losses[0]
    assert losses == pytest.approx(expected, rel=1e-4 if dtype is Dtype.FP32 else 0.03)
    assert found.graph["graphs"] == 1
    assert kernels.contradiction(case, found) is None
    types = {kernel.data_type("src") for kernel in found.convolutions}
    assert types == {"f32" if dtype is Dtype.FP32 else "bf16"}
    assert {"backward_data", "backward_weights"} & {kernel.kind for kernel in found.convolutions}


@pytest.mark.parametrize("mode", [Mode.TORCHSCRIPT, Mode.AOT])
def test_what_is_for_inference_does_not_train(mode: Mode) -> None:
    """Rather than train something else."""
    case = replace(AHEAD, task=Task.TRAINING, mode=mode, options=(FROZEN,))
    with pytest.raises(NotImplementedError, match=f"{mode} is for inference only"):
        stock.prepare(small(), case, images(), None)


def test_fp16_runs_under_autocast_of_its_own() -> None:
    """Its weights are halves; what ran is proved on a CPU that has it (`_wrong_dtype`)."""
    prepared = stock.prepare(
        small(), replace(COMPILED, mode=Mode.EAGER, dtype=Dtype.FP16), images()
    )
    assert prepared.autocast is torch.float16
    assert {p.dtype for p in prepared.model.parameters()} == {torch.float16}
