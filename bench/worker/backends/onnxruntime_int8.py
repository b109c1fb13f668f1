"""Quantise to int8 by ONNX Runtime, which fuses it into 8-bit operators when it loads.

The exported model is calibrated on the images and written with pairs of `QuantizeLinear` and
`DequantizeLinear` (QDQ) around each operator, as ONNX Runtime recommends for CPUs: activations of
8 bits without sign, weights of 8 bits with sign for each output channel. At its highest level the
runtime then fuses them: `QLinearConv` in the profile of one call is a convolution of 8-bit numbers,
`Conv` is one that stayed in fp32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.plan.scenario import Dtype
from bench.worker.backends import Prepared, onnxruntime, optional
from bench.worker.backends.pt2e import has_vnni
from bench.worker.workload.inputs import only_tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from numpy.typing import NDArray

    from bench.plan.scenario import Scenario

_ARITHMETIC = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
"""Operators of the profile that multiply in fp32."""
_ARITHMETIC_INT8 = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat")


def quantize(
    model: torch.nn.Module,
    scenario: Scenario,
    example: torch.Tensor,
    calibration: Iterable[torch.Tensor],
) -> Prepared:
    """Quantize the model; its activations' ranges come from the calibration images.

    Raises:
        NotImplementedError: ONNX Runtime does not run this task, mode or layout.
    """
    optional.check(scenario, onnxruntime.NAME, (Dtype.INT8,))
    example = only_tensor(example, onnxruntime.NAME)
    exported = onnxruntime.export(model.eval(), example)
    quantized = _quantized(exported, [batch.numpy() for batch in calibration])
    return onnxruntime.prepared(quantized, example, evidence=evidence)


def evidence(ran: dict[str, int]) -> dict[str, Any]:
    """Return the operators of one call, and how much of the arithmetic was of 8-bit numbers."""
    small, full = (sum(ran.get(n, 0) for n in names) for names in (_ARITHMETIC_INT8, _ARITHMETIC))
    return {"nodes": ran, "arithmetic": [small, small + full]}


class _Images:
    """The calibration images as ONNX Runtime reads them: one after the other, then None."""

    def __init__(self, batches: Iterable[NDArray[Any]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch by the name of the model's input."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def _quantized(exported: bytes, batches: Iterable[NDArray[Any]]) -> bytes:
    """Calibrate and quantise an exported model.

    Without VNNI the sum of two 8-bit products can overflow its 16 bits, so weights have 7 bits.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            onnx.load_model_from_string(exported),
            path,
            _Images(batches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=not has_vnni(),
        )
        return path.read_bytes()
