"""Run the model with stock PyTorch, set up for each scenario as an expert would.

bf16 (and fp16): convolutions and linear layers hold bf16 weights and autocast surrounds the call,
as IPEX's documentation says too, so the two are comparable. On a CPU with native bf16 that was the
fastest standard way (eager, channels_last, batch 1: 75 ms, against 82 ms for autocast over fp32
weights, which casts them at every call, and 78 ms for a pure bf16 model).

TorchScript: trace and freeze. "Fusion on" is PyTorch's oneDNN Graph fuser, off by default. The
JIT's autocast pass is off, because it would add the casts that the trace already holds.

Compile: Inductor, the whole model as one graph, with frozen (constant-folded, prepacked) weights.
In bf16 with the same weights and autocast, so that a difference from the other modes is the
compiler's; freezing folds the casts that are left. A training step compiles forward and backward
without freezing; loss and optimiser stay as they are in eager mode. Ahead of time: `aot.py`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.backends import mkldnn

from bench.plan.scenario import (
    CPP_WRAPPER,
    MAX_AUTOTUNE,
    NO_FREEZING,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Task,
)
from bench.worker.backends import Prepared, autocast

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.worker.workload.inputs import Inputs

IMPORTS: tuple[str, ...] = ()
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By a tensor's number of dimensions."""
QUANTIZER = "bench.worker.backends.pt2e"
_IN_LOW_PRECISION = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)
_AUTOCAST = {Dtype.FP32: None, Dtype.BF16: torch.bfloat16, Dtype.FP16: torch.float16}


def load() -> None:
    """Import nothing: PyTorch is all it needs."""


def verbose() -> AbstractContextManager[object]:
    """Log what PyTorch's copy of oneDNN executes."""
    context: AbstractContextManager[object] = mkldnn.verbose(  # type: ignore[no-untyped-call] # PyTorch's
        mkldnn.VERBOSE_ON
    )
    return context


def prepare(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    optimizer: torch.optim.Optimizer | None = None,
) -> Prepared:
    """Set the model up as the scenario says; the module's docstring explains the choices."""
    dtype = compute_dtype(scenario)
    lay_out(model, scenario.layout)
    if scenario.task is Task.TRAINING:
        return _training(model, scenario, dtype, optimizer)
    model.eval()
    if dtype is not None:
        hold_weights_in(model, dtype)
    if scenario.mode is Mode.TORCHSCRIPT:
        torch.jit.enable_onednn_fusion(bool(scenario.fusion))
        return Prepared(model=script(model, example, dtype))
    if scenario.mode is Mode.AOT:
        from bench.worker.backends import aot  # imports Inductor

        return aot.prepare(model, example, dtype)
    if scenario.mode is Mode.COMPILE:
        freezing = NO_FREEZING not in scenario.options
        call = compiled(model, "inductor", freezing=freezing, **_settings(scenario))
        return Prepared(model=call, autocast=dtype)
    return Prepared(model=model, autocast=dtype)


def compute_dtype(scenario: Scenario) -> torch.dtype | None:
    """Return the dtype for autocast; None for fp32.

    Raises:
        NotImplementedError: int8, which `quantize` makes.
    """
    if scenario.dtype is Dtype.INT8:
        raise NotImplementedError("int8 needs calibration images: `quantize` makes it")
    return _AUTOCAST[scenario.dtype]


def lay_out(model: torch.nn.Module, layout: Layout) -> None:
    """Bring the weights into the scenario's memory layout, in place.

    Only weights of images and volumes have one. PyTorch's `to` handles four dimensions alone and
    refuses a model that has five anywhere.
    """
    if layout is not Layout.CHANNELS_LAST:
        return
    for weight in model.parameters():
        if weight.dim() in CHANNELS_LAST:
            weight.data = weight.data.contiguous(memory_format=CHANNELS_LAST[weight.dim()])


def hold_weights_in(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights of convolutions and linear layers; buffers, such as scales, keep fp32.

    A layer that shares its weight with one of another kind, as a language model's last one with its
    embedding, keeps fp32 too: the other one would pass bf16 on to what autocast does not cast.

    The fast path of PyTorch's attention layers fails on weights of two dtypes, and not all of
    theirs are a linear layer's. So it is switched off in the process until `Session.release`.
    """
    torch.backends.mha.set_fastpath_enabled(False)
    layers = [module for module in model.modules() if type(module) in _IN_LOW_PRECISION]
    others = [module for module in model.modules() if type(module) not in _IN_LOW_PRECISION]
    kept = {id(weight) for other in others for weight in other.parameters(recurse=False)}
    for layer in layers:
        if kept.isdisjoint(map(id, layer.parameters())):
            layer.to(dtype)


def script(
    model: torch.nn.Module, example: Inputs, dtype: torch.dtype | None
) -> torch.jit.ScriptModule:
    """Trace and freeze; the casts of autocast become part of the trace.

    `check_trace` would compare two runs to fp32 accuracy, which bf16 never reaches; the parity
    check compares outputs instead.

    The trace is saved and loaded before it is frozen. Otherwise PyTorch keeps its weights (60 MB,
    130 with IPEX) until the process ends, and a worker serves several batch sizes. It is saved to a
    file, because a buffer in memory would count in the scenario's peak.
    """
    # PyTorch gives the switch no public name, and the functions no types
    torch._C._jit_set_autocast_mode(False)  # type: ignore[attr-defined] # noqa: SLF001
    with torch.no_grad(), autocast(dtype):
        traced = torch.jit.trace(model, (example,), check_trace=False)  # type: ignore[no-untyped-call]
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.pt")
            torch.jit.save(traced.eval(), path)  # type: ignore[no-untyped-call]
            loaded = torch.jit.load(path)  # type: ignore[no-untyped-call]
        frozen: torch.jit.ScriptModule = torch.jit.freeze(loaded)
    return frozen


def compiled(
    model: torch.nn.Module,
    backend: str,
    *,
    freezing: bool,
    **settings: Any,  # noqa: ANN401 - PyTorch's: `mode` or `options`
) -> torch.nn.Module:
    """Return the model as one compiled graph of fixed shapes; its first call compiles.

    There is one compile thread, because a pool of compile workers would outlive the compilation and
    disturb the next measurement. Freezing is a setting of the process: as an option of
    `torch.compile`, Dynamo would not see it, pass the weights as arguments, and nothing would be
    frozen, silently.
    """
    import torch._inductor.config as inductor

    torch.compiler.reset()
    inductor.freezing = freezing
    inductor.compile_threads = 1
    call = torch.compile(model, backend=backend, fullgraph=True, dynamic=False, **settings)
    return cast("torch.nn.Module", call)


def _settings(scenario: Scenario) -> dict[str, Any]:
    """Return what the scenario's options are to `torch.compile`."""
    if MAX_AUTOTUNE in scenario.options:
        return {"mode": "max-autotune-no-cudagraphs"}
    return {"options": {"cpp_wrapper": True}} if CPP_WRAPPER in scenario.options else {}


def _training(
    model: torch.nn.Module,
    scenario: Scenario,
    dtype: torch.dtype | None,
    optimizer: torch.optim.Optimizer | None,
) -> Prepared:
    """Keep fp32 weights, with autocast around the forward pass, as PyTorch documents for bf16."""
    if scenario.mode in (Mode.TORCHSCRIPT, Mode.AOT):
        raise NotImplementedError(f"{scenario.mode} is for inference only")
    model.train()
    if scenario.mode is Mode.COMPILE:
        model = compiled(model, "inductor", freezing=False)
    return Prepared(model=model, optimizer=optimizer, autocast=dtype)
