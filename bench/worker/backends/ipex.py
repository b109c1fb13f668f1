"""Run the model with Intel Extension for PyTorch 2.8, set up as its documentation says.

Inference: load weights, `.eval()`, `ipex.optimize(model, dtype=...)`, then trace and freeze for
TorchScript, or (with `weights_prepack=False`) compile by IPEX's backend with freezing. Training:
`.train()`, `ipex.optimize(model, optimizer=..., dtype=...)`. bf16 runs under autocast.

`ipex.optimize` changes the model that it gets even with `inplace=False`, so it gets a copy.
"""

from __future__ import annotations

import copy
import io
import sys
import traceback
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, NoReturn

import torch

from bench.plan.scenario import AUTO_KERNELS, FUSED_ADAM, NO_FREEZING, Mode, Scenario, Task
from bench.worker.backends import Prepared
from bench.worker.backends.stock import compiled, compute_dtype, lay_out, script
from pillqc.model.optimizing import replaced_layers

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.worker.workload.inputs import Inputs

IMPORTS: tuple[str, ...] = ("intel_extension_for_pytorch",)
QUANTIZER = "bench.worker.backends.ipex_int8"

FUSED_OPTIMIZERS = ("SGD", "Adagrad", "Adam", "Lamb", "Lars")
"""Optimizers whose step IPEX fuses on the CPU; it leaves others unchanged, silently."""

_TOO_NEW = (3, 13)
"""IPEX 2.8 has wheels for this Python, but its eager layers crash."""
_MISMATCH = "needs to work with PyTorch"
_OF_TRANSFORMERS = "intel_extension_for_pytorch/transformers"


def load() -> None:
    """Import IPEX.

    Raises:
        ImportError: it is not installed, or not made for this Python or this PyTorch. In the last
            case IPEX prints the reason to stdout and then fails with an unrelated error.
    """
    if sys.version_info >= _TOO_NEW:
        raise ImportError("IPEX 2.8 crashes on Python 3.13 and later: it needs 3.10 to 3.12")
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            import intel_extension_for_pytorch  # noqa: F401
    except Exception as error:
        raise ImportError(_why_not(error, printed.getvalue())) from error
    finally:
        sys.stdout.write(printed.getvalue())


def _why_not(error: Exception, printed: str) -> str:
    mismatch = next((line for line in printed.splitlines() if _MISMATCH in line), None)
    if mismatch is not None:
        return f"IPEX does not fit this PyTorch: {mismatch.removeprefix('ERROR! ').strip()}"
    if isinstance(error, ModuleNotFoundError) and error.name in IMPORTS:
        return (
            "intel-extension-for-pytorch is not installed (it exists for x86-64 Linux only, and "
            "for PyTorch 2.8 at the latest)"
        )
    frames = traceback.extract_tb(error.__traceback__)
    if any(_OF_TRANSFORMERS in frame.filename for frame in frames):
        return (
            "IPEX 2.8 imports transformers where it is installed, and fails with this version of "
            f"it ({type(error).__name__}: {error}): install transformers 4, or uninstall it"
        )
    return f"IPEX could not be imported: {type(error).__name__}: {error}"


def verbose() -> AbstractContextManager[object]:
    """Log what both copies of oneDNN execute, PyTorch's and IPEX's."""
    import intel_extension_for_pytorch as ipex

    context: AbstractContextManager[object] = ipex.verbose(1)
    return context


def prepare(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    optimizer: torch.optim.Optimizer | None = None,
) -> Prepared:
    """Set the model up as the scenario says.

    Raises:
        NotImplementedError: IPEX cannot run it this way, or not on this CPU, or it replaced
            nothing.
        TypeError: the model is a ScriptModule, which `ipex.optimize` returns unchanged, silently.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("ipex.optimize ignores a ScriptModule: optimise first, trace afterwards")
    dtype = compute_dtype(scenario)
    lay_out(model, scenario.layout)
    if scenario.task is Task.TRAINING:
        return _training(model, scenario, dtype, optimizer)
    if scenario.mode is Mode.AOT:
        raise NotImplementedError("IPEX has no ahead-of-time mode")
    torch.backends.mha.set_fastpath_enabled(False)  # it would read weights that IPEX has packed
    _refuse_unpacked(dtype)
    if scenario.mode is Mode.COMPILE:
        return _compiled(model, scenario, dtype)
    optimized = _optimize(model, dtype, auto_kernels=AUTO_KERNELS in scenario.options)
    replaced = _at_least_one(replaced_layers(optimized))
    _refuse_loading(optimized)
    if scenario.mode is Mode.TORCHSCRIPT:
        set_fusion(on=bool(scenario.fusion))
        return Prepared(model=script(optimized, example, dtype), layers_replaced=replaced)
    return Prepared(model=optimized, autocast=dtype, layers_replaced=replaced)


def steps_are_fused(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the optimizer's step is IPEX's."""
    return getattr(optimizer.step, "__module__", "").startswith(IMPORTS[0])


def _refuse_loading(model: torch.nn.Module) -> None:
    """Make loading weights fail: a packed model accepts them and then computes wrong results."""

    def refuse(*_arguments: object, **_options: object) -> NoReturn:
        raise RuntimeError("load weights before ipex.optimize: packed ones cannot take them")

    model.load_state_dict = refuse  # type: ignore[method-assign] # on purpose


def _refuse_unpacked(dtype: torch.dtype | None) -> None:
    """Refuse bf16 below AVX-512, where IPEX cannot pack weights and fails on an assertion."""
    import intel_extension_for_pytorch as ipex

    if dtype is torch.bfloat16 and not ipex._C.onednn_has_bf16_support():  # noqa: SLF001 - no public way to ask
        raise NotImplementedError(
            "IPEX packs no bf16 weights on this CPU: its oneDNN needs AVX-512 (BW, VL and DQ) or "
            "AVX-NE-CONVERT for bf16, even emulated"
        )


def _optimize(
    model: torch.nn.Module,
    dtype: torch.dtype | None,
    *,
    prepack: bool = True,
    auto_kernels: bool = False,
) -> torch.nn.Module:
    import intel_extension_for_pytorch as ipex

    optimized: torch.nn.Module = ipex.optimize(
        copy.deepcopy(model).eval(),
        dtype=dtype or torch.float32,
        weights_prepack=None if prepack else False,
        auto_kernel_selection=auto_kernels or None,
        inplace=True,
    )
    return optimized


def _compiled(model: torch.nn.Module, scenario: Scenario, dtype: torch.dtype | None) -> Prepared:
    """Compile by IPEX's backend, which packs the weights in the graph, so `optimize` must not."""
    optimized = _optimize(model, dtype, prepack=False)
    call = compiled(optimized, "ipex", freezing=NO_FREEZING not in scenario.options)
    return Prepared(model=call, autocast=dtype, layers_replaced=replaced_layers(optimized))


def _training(
    model: torch.nn.Module,
    scenario: Scenario,
    dtype: torch.dtype | None,
    optimizer: torch.optim.Optimizer | None,
) -> Prepared:
    import intel_extension_for_pytorch as ipex

    if scenario.mode is not Mode.EAGER:
        raise NotImplementedError("IPEX trains in eager mode only")
    if optimizer is None:
        raise TypeError("training with IPEX needs the optimizer: ipex.optimize takes both")
    if type(optimizer).__name__ not in FUSED_OPTIMIZERS:
        raise NotImplementedError(f"IPEX has no fused {type(optimizer).__name__}")
    if FUSED_ADAM in scenario.options:
        raise NotImplementedError("IPEX has a fused Adam of its own and cannot use PyTorch's")
    _refuse_unpacked(dtype)
    trained, stepper = ipex.optimize(
        model.train(), optimizer=optimizer, dtype=dtype or torch.float32, inplace=True
    )
    if not steps_are_fused(stepper):
        raise NotImplementedError("IPEX left the optimizer's step unchanged")
    # in fp32 IPEX packs no linear layer for training, so that of a transformer's step its optimizer
    # may be all that is IPEX's
    return Prepared(
        model=trained,
        optimizer=stepper,
        autocast=dtype,
        layers_replaced=replaced_layers(trained),
    )


def _at_least_one(replaced: int) -> int:
    if replaced == 0:
        raise NotImplementedError("ipex.optimize replaced no layer: this would time stock PyTorch")
    return replaced


def set_fusion(*, on: bool) -> None:
    """Switch IPEX's TorchScript fusion for the process; PyTorch's own fuser stays off."""
    import intel_extension_for_pytorch as ipex

    torch.jit.enable_onednn_fusion(False)
    ipex.enable_onednn_fusion(on)
