"""Stock PyTorch's int8: static quantisation of an exported model, compiled by Inductor.

The PyTorch 2 export path with the x86 Inductor quantizer: export, observe calibration images,
convert, compile with frozen weights. It is in PyTorch 2.8 itself and later in torchao.

Exported with `strict=True`: without, PyTorch 2.8 finds no layer to quantise and says nothing, and
the model runs in fp32 (pytorch#160095). What shows the truth is the log of kernels, which
`bench.worker.kernels` holds against the label.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

import torch

from bench.errors import WorkerError
from bench.plan.scenario import Mode, Scenario, Status
from bench.worker.backends import Prepared
from bench.worker.backends.stock import compiled, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterable


def quantize(
    model: torch.nn.Module,
    scenario: Scenario,
    example: torch.Tensor,
    calibration: Iterable[torch.Tensor],
) -> Prepared:
    """The model in int8, its activations' ranges taken from the calibration images.

    Raises:
        NotImplementedError: a mode other than compile.
        WorkerError: this PyTorch keeps its quantizer in torchao, and that is not installed.
    """
    if scenario.mode is not Mode.COMPILE:
        raise NotImplementedError("stock int8 is compiled by Inductor: no other mode runs it")
    prepare_pt2e, convert_pt2e, quantizers = _tools()
    lay_out(model.eval(), scenario.layout)
    quantizer = quantizers.X86InductorQuantizer()
    # Without VNNI two products of 8 bits can overflow the 16 bits that they are added up in.
    quantizer.set_global(
        quantizers.get_default_x86_inductor_quantization_config(reduce_range=not has_vnni())
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each step announces its move to torchao
        exported = torch.export.export(model, (example,), strict=True).module()
        observed = prepare_pt2e(exported, quantizer)
        for images in calibration:
            observed(images)
        converted = cast("torch.nn.Module", convert_pt2e(observed))
    return Prepared(model=compiled(converted, "inductor", freezing=True))


def has_vnni() -> bool:
    """Whether the CPU adds up products of 8 bits in 32 bits in one instruction."""
    return bool(torch.cpu._is_vnni_supported())  # noqa: SLF001 - PyTorch gives it no public name


def _tools() -> tuple[Any, Any, Any]:
    """`prepare_pt2e`, `convert_pt2e` and the quantizer's module, from where this PyTorch has them.

    Raises:
        WorkerError: neither PyTorch nor torchao has them.
    """
    try:
        from torch.ao.quantization import quantize_pt2e
        from torch.ao.quantization.quantizer import x86_inductor_quantizer
    except ImportError:
        try:
            return _from_torchao()
        except ModuleNotFoundError as error:
            raise WorkerError(
                Status.UNAVAILABLE,
                f"PyTorch {torch.__version__} keeps its int8 quantizer in torchao, which is not "
                "installed here: `pip install torchao`",
            ) from error
    return quantize_pt2e.prepare_pt2e, quantize_pt2e.convert_pt2e, x86_inductor_quantizer


def _from_torchao() -> tuple[Any, Any, Any]:
    import importlib

    root = "torchao.quantization.pt2e"
    steps = importlib.import_module(f"{root}.quantize_pt2e")
    quantizers = importlib.import_module(f"{root}.quantizer.x86_inductor_quantizer")
    return steps.prepare_pt2e, steps.convert_pt2e, quantizers
