"""OpenVINO's CPU plugin, an optional backend: `pip install 'pillqc-bench[openvino]'`.

The model is traced into OpenVINO's form and compiled for latency, on as many threads as any worker
has. The precision is set, because OpenVINO chooses bf16 by itself where the CPU has it, under a
label that says fp32. Its runtime model lists what each layer really runs in, which is compared with
the label before anything is timed.
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

    from numpy.typing import NDArray

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
    """Log nothing: its oneDNN has no log, and `Prepared.evidence` has what it ran."""
    return nullcontext()


def prepare(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    optimizer: torch.optim.Optimizer | None = None,  # noqa: ARG001 - `Backend` has it
) -> Prepared:
    """Convert and compile the model.

    Raises:
        NotImplementedError: OpenVINO does not run this task, mode, layout or dtype, or it would run
            in another precision.
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
            "ENABLE_CPU_PINNING": False,  # the harness binds every worker
        },
    )
    ran = executed(compiled)
    _check_precision(ran, precision)

    def run(images: NDArray[Any]) -> list[NDArray[Any]]:
        found = compiled(images, share_inputs=True, share_outputs=True)
        return [found[index] for index in range(len(found))]

    return Prepared(
        model=optional.ArrayModel(run),
        layers_replaced=sum(ran.values()),
        evidence=lambda: {"nodes": {" ".join(key): n for key, n in sorted(ran.items())}},
    )


def executed(compiled: Any) -> Counter[tuple[str, str, str]]:  # noqa: ANN401 - OpenVINO has no types
    """Count each (layer, implementation, precision) of the runtime model."""
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
            f"OpenVINO runs the model in {', '.join(sorted(found))} although it was set to {wanted}"
        )
