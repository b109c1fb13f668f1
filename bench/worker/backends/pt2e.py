"""Quantise to int8 by stock PyTorch: an exported model, compiled by Inductor.

The PyTorch 2 export path with the x86 Inductor quantizer: export, observe calibration data,
convert, compile with frozen weights. It is in PyTorch 2.8 itself, and later in torchao.

The export is strict: otherwise PyTorch 2.8 silently finds no layer to quantise and the model runs
in fp32 (pytorch#160095). `bench.worker.kernels` compares the log of kernels with the label.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any, cast

import torch

from bench.errors import WorkerError
from bench.plan.scenario import Mode, Scenario, Status
from bench.worker.backends import Prepared
from bench.worker.backends.stock import compiled, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.worker.workload.inputs import Inputs


def quantize(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    calibration: Iterable[Inputs],
) -> Prepared:
    """Quantize the model; its activations' ranges come from the calibration data.

    Raises:
        NotImplementedError: a mode other than compile.
        WorkerError: this PyTorch keeps its quantizer in torchao, and that is not installed.
    """
    if scenario.mode is not Mode.COMPILE:
        raise NotImplementedError("stock int8 is compiled by Inductor: no other mode runs it")
    prepare_pt2e, convert_pt2e, quantizers = _tools()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide linear layers
    lay_out(model.eval(), scenario.layout)
    quantizer = quantizers.X86InductorQuantizer()
    # Without VNNI, the sum of two 8-bit products can overflow its 16 bits.
    quantizer.set_global(
        quantizers.get_default_x86_inductor_quantization_config(reduce_range=not has_vnni())
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that each step moves to torchao
        exported = torch.export.export(model, (example,), strict=True).module()
        observed = prepare_pt2e(exported, quantizer)
        for images in calibration:
            observed(images)
        converted = cast("torch.nn.Module", convert_pt2e(observed))
    return Prepared(model=compiled(converted, "inductor", freezing=True))


def has_vnni() -> bool:
    """Return whether the CPU sums 8-bit products in 32 bits in one instruction."""
    return bool(torch.cpu._is_vnni_supported())  # noqa: SLF001 - no public name


def _tools() -> tuple[Any, Any, Any]:
    """Import `prepare_pt2e`, `convert_pt2e` and the quantizer's module from PyTorch or torchao.

    Raises:
        WorkerError: neither has them.
    """
    try:
        return _tools_in("torch.ao.quantization", "torch.ao.quantization.quantizer")
    except ImportError:
        try:
            return _tools_in("torchao.quantization.pt2e", "torchao.quantization.pt2e.quantizer")
        except ModuleNotFoundError as error:
            raise WorkerError(
                Status.UNAVAILABLE,
                f"PyTorch {torch.__version__} has its int8 quantizer in torchao, which is not "
                "installed: `pip install torchao`",
            ) from error


def _tools_in(package: str, quantizers: str) -> tuple[Any, Any, Any]:
    steps = importlib.import_module(f"{package}.quantize_pt2e")
    quantizer = importlib.import_module(f"{quantizers}.x86_inductor_quantizer")
    return steps.prepare_pt2e, steps.convert_pt2e, quantizer
