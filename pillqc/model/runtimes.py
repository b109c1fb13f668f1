"""Run the model with OpenVINO or ONNX Runtime, where they are installed.

    call = PREPARE["onnxruntime"](model, "fp32", images)
    probabilities, maps = call(images)      # for images of that shape

They are configured as in the benchmark, so that its measurements apply.
"""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from pillqc.errors import PillqcError
from pillqc.model.ahead_of_time import exported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    _Call = Callable[[Tensor], tuple[Tensor, Tensor]]

_PRECISIONS: Final = {"fp32": "f32", "bf16": "bf16"}
_NEEDED: Final = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "zentorch": ("zentorch",),
}
"""PyTorch writes ONNX through the package onnx."""
_OPSET: Final = 17
"""The newest of PyTorch 2.8's tracing exporter; ONNX Runtime reads it since 2022."""


def check(backend: str) -> None:
    """Raise a `PillqcError` if the backend is one of these and is not installed."""
    for module in _NEEDED.get(backend, ()):
        if importlib.util.find_spec(module) is None:
            raise PillqcError(
                f"{module} is not installed: pip install 'pillqc-bench[{backend}]', or use "
                "--backend stock"
            )


def write_onnx(
    model: nn.Module,
    path: Path,
    images: Tensor,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write an ONNX file with the exporter that traces.

    The newer exporter of PyTorch 2.8 fails on this model: it cannot convert to an operator set that
    the resizing of maps needs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch will remove this exporter one day
        torch.onnx.export(
            model,
            (images,),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["images"],
            output_names=["probabilities", "maps"],
            dynamic_axes=dynamic_axes,
        )


def _openvino(model: nn.Module, dtype: str, images: Tensor) -> _Call:
    import openvino

    converted = openvino.convert_model(exported(model, images))
    compiled = openvino.Core().compile_model(
        converted,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[dtype],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
        },
    )

    def call(batch: Tensor) -> tuple[Tensor, Tensor]:
        found = compiled(batch.numpy())
        return torch.from_numpy(found[0].copy()), torch.from_numpy(found[1].copy())

    return call


def _onnxruntime(model: nn.Module, _dtype: str, images: Tensor) -> _Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(model, path, images)
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

    def call(batch: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, maps = session.run(None, {"images": batch.numpy()})
        return torch.from_numpy(probabilities), torch.from_numpy(maps)

    return call


PREPARE: Final[Mapping[str, Callable[[nn.Module, str, Tensor], _Call]]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}
