"""Stock PyTorch, as an expert would set it up for each scenario.

bf16: convolution and linear weights are held in bf16 and autocast surrounds the call. On a CPU with
native bf16 that was the fastest standard way (eager, channels_last, batch 1: 75 ms against 82 ms
for autocast over fp32 weights, which casts them again at every call, and 78 ms for a pure bf16
model), and it is the recipe that IPEX documents for itself, so the two are compared alike.

TorchScript: trace and freeze. "Fusion on" is PyTorch's own oneDNN Graph fuser, off by default.
The JIT's autocast pass is off: the trace already holds the casts and the pass would add them twice.

Compile: Inductor, the whole model as one graph, with frozen (constant-folded, prepacked) weights.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch.backends import mkldnn

from bench.plan.scenario import NO_FREEZING, Dtype, Layout, Mode, Scenario, Task
from bench.worker.backends import Prepared, autocast

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.worker.workload.inputs import Inputs

IMPORTS: tuple[str, ...] = ()
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By how many dimensions a tensor has."""
QUANTIZER = "bench.worker.backends.pt2e"


def load() -> None:
    """PyTorch is all it needs."""


def verbose() -> AbstractContextManager[object]:
    """PyTorch's own copy of oneDNN logs what it executes."""
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
    """Set the model up as the scenario says; see the module's text for the choices made."""
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
    if scenario.mode is Mode.COMPILE:
        return Prepared(
            model=compiled(model, "inductor", freezing=NO_FREEZING not in scenario.options),
            autocast=dtype,
        )
    return Prepared(model=model, autocast=dtype)


def compute_dtype(scenario: Scenario) -> torch.dtype | None:
    """The dtype that autocast must bring about; None for plain fp32.

    Raises:
        NotImplementedError: int8, which is no dtype to compute in but a model made by `quantize`.
    """
    if scenario.dtype is Dtype.INT8:
        raise NotImplementedError("int8 needs calibration images: it is made by `quantize`")
    return torch.bfloat16 if scenario.dtype is Dtype.BF16 else None


def lay_out(model: torch.nn.Module, layout: Layout) -> None:
    """Bring the weights into the scenario's memory layout, in place.

    Weights of volumes have a layout of their own, and those of no image none: PyTorch's `to` knows
    four dimensions alone, and refuses a model that has five anywhere.
    """
    if layout is not Layout.CHANNELS_LAST:
        return
    for weight in model.parameters():
        if weight.dim() in CHANNELS_LAST:
            weight.data = weight.data.contiguous(memory_format=CHANNELS_LAST[weight.dim()])


def hold_weights_in(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Convert what convolutions and linear layers hold; buffers, such as scales, keep fp32.

    Attention and encoder layers of PyTorch read their linear layers' weights themselves, beside
    weights of their own: all or none of these must be of one type, and autocast casts them.
    """
    readers = (torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer)
    read = {part for one in model.modules() if isinstance(one, readers) for part in one.modules()}
    for module in model.modules():
        if type(module) in (torch.nn.Conv2d, torch.nn.Linear) and module not in read:
            module.to(dtype)


def script(
    model: torch.nn.Module, example: Inputs, dtype: torch.dtype | None
) -> torch.jit.ScriptModule:
    """Trace and freeze; the casts of autocast become part of the trace.

    `check_trace` would compare two runs of the model to fp32 accuracy, which bf16 never passes;
    our own parity check compares the outputs that count.

    The trace is saved and loaded before it is frozen, as one that is deployed would be. PyTorch
    keeps whatever was frozen in the process that traced it for as long as it lives (60 MB of
    weights each, 130 with IPEX), and a worker serves several batch sizes.
    """
    # PyTorch gives the switch no public name, and `trace` no types
    torch._C._jit_set_autocast_mode(False)  # type: ignore[attr-defined] # noqa: SLF001
    with torch.no_grad(), autocast(dtype):
        traced = torch.jit.trace(model, (example,), check_trace=False)  # type: ignore[no-untyped-call]
        frozen: torch.jit.ScriptModule = torch.jit.freeze(_saved_and_loaded(traced.eval()))
    return frozen


def _saved_and_loaded(traced: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """By way of a file: a buffer in memory would show in the scenario's peak."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.pt")
        torch.jit.save(traced, path)  # type: ignore[no-untyped-call] # PyTorch gives it no types
        loaded: torch.jit.ScriptModule = torch.jit.load(path)  # type: ignore[no-untyped-call] # the same
    return loaded


def compiled(model: torch.nn.Module, backend: str, *, freezing: bool) -> torch.nn.Module:
    """The model as one compiled graph of fixed shapes; compiling happens at the first call.

    One compile thread: a pool of compile workers would outlive the compilation and disturb whoever
    is measured next.
    """
    import torch._inductor.config as inductor

    torch.compiler.reset()
    inductor.freezing = freezing
    inductor.compile_threads = 1
    call = torch.compile(model, backend=backend, fullgraph=True, dynamic=False)
    return cast("torch.nn.Module", call)


def _training(
    model: torch.nn.Module,
    scenario: Scenario,
    dtype: torch.dtype | None,
    optimizer: torch.optim.Optimizer | None,
) -> Prepared:
    """Weights stay fp32 and autocast surrounds the forward pass, as PyTorch documents for bf16."""
    if scenario.mode is Mode.TORCHSCRIPT:
        raise NotImplementedError("TorchScript is measured for inference only")
    model.train()
    if scenario.mode is Mode.COMPILE:
        model = compiled(model, "inductor", freezing=False)
    return Prepared(model=model, optimizer=optimizer, autocast=dtype)
