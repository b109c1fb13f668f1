"""OpenVINO's CPU plugin, an optional backend: `pip install 'pillqc-bench[openvino]'`.

The model is traced into OpenVINO's own form and compiled for latency on as many threads as every
worker has. The precision is set: where a CPU has native bf16 OpenVINO would take it unasked, and a
scenario that says fp32 would not be. What it then really runs, layer by layer, is in its runtime
model and is held against the label before anything is timed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import Dtype
from bench.worker.backends import Prepared, optional
from bench.worker.workload.inputs import only_tensor

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.plan.scenario import Scenario
    from bench.worker.workload.inputs import Inputs

IMPORTS: tuple[str, ...] = ("openvino",)
_NAME = "OpenVINO"

_PRECISIONS = {Dtype.FP32: "f32", Dtype.BF16: "bf16"}


def load() -> None:
    """Import OpenVINO.

    Raises:
        ImportError: it is not installed.
    """
    optional.load("openvino", _NAME)


def verbose() -> AbstractContextManager[object]:
    """Its copy of oneDNN logs nothing; `Prepared.evidence` has what it ran."""
    return nullcontext()


def prepare(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    optimizer: torch.optim.Optimizer | None = None,  # noqa: ARG001 - the backends' common face
) -> Prepared:
    """Convert and compile.

    Raises:
        NotImplementedError: another task, mode, layout or dtype, or it would run in another one.
    """
    optional.check(scenario, _NAME, _PRECISIONS)
    import openvino

    precision = _PRECISIONS[scenario.dtype]
    example = only_tensor(example, "OpenVINO")
    converted = openvino.convert_model(model.eval(), example_input=example)
    converted.reshape({converted.inputs[0]: list(example.shape)})
    compiled = openvino.Core().compile_model(
        converted,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # the harness binds the process, as it does all others
        },
    )
    ran = executed(compiled)
    _check_precision(ran, precision)
    return Prepared(
        model=_Call(compiled),
        layers_replaced=sum(ran.values()),
        evidence=lambda: {"nodes": {" ".join(key): n for key, n in sorted(ran.items())}},
    )


def executed(compiled: Any) -> Counter[tuple[str, str, str]]:  # noqa: ANN401 - OpenVINO has no types
    """How often each (layer, implementation, precision) stands in what will be run."""
    wanted = ("layerType", "primitiveType", "runtimePrecision")
    counts: Counter[tuple[str, str, str]] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        layer, implementation, precision = (str(facts[k].astype(str)) for k in wanted)
        if layer not in ("Input", "Output", "Const", "Constant", "Parameter", "Result"):
            counts[layer, implementation, precision] += 1
    return counts


def _check_precision(ran: Counter[tuple[str, str, str]], wanted: str) -> None:
    found = {key[2].lower() for key in ran if key[0] in ("Convolution", "FullyConnected", "MatMul")}
    if found and wanted not in found:
        raise NotImplementedError(
            f"OpenVINO runs the model in {', '.join(sorted(found))} although {wanted} was asked for"
        )


class _Call(torch.nn.Module):
    """The compiled model as PyTorch calls one; memory is shared on both sides."""

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 - OpenVINO has no types
        super().__init__()
        self._compiled = compiled

    def forward(self, images: torch.Tensor) -> Any:  # noqa: ANN401 - as many as the model has
        """One output as it is, several as a tuple."""
        found = self._compiled(images.numpy(), share_inputs=True, share_outputs=True)
        return optional.as_model_gives([found[index] for index in range(len(found))])
