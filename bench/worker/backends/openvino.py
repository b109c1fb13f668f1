"""Run the model with OpenVINO's CPU plugin: `pip install 'pillqc-bench[openvino]'`.

The model is exported, converted and compiled on as many threads as any worker has: for latency, or,
where the scenario names a number of requests, for throughput (streams of its own). The precision is
set, because OpenVINO chooses bf16 by itself where the CPU has it, under a label that says fp32. Its
runtime model lists what each layer really runs in, which is compared with the label before anything
is timed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.plan.scenario import Dtype, requests_of
from bench.worker.backends import Prepared, optional
from bench.worker.workload.inputs import only_tensor
from pillqc.model.ahead_of_time import exported

if TYPE_CHECKING:
    from collections.abc import Callable
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
        ExportError: `torch.export` cannot take this model.
        NotImplementedError: OpenVINO does not run this task, mode, layout or dtype, or it would run
            in another precision.
    """
    optional.check(scenario, _NAME, _PRECISIONS)
    import openvino

    precision = _PRECISIONS[scenario.dtype]
    example = only_tensor(example, "OpenVINO")
    requests = requests_of(scenario)
    size = len(example) // (requests or 1)
    converted = openvino.convert_model(exported(model.eval(), example[:size]))
    hint = (
        {"PERFORMANCE_HINT": "THROUGHPUT"}
        if requests
        else {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    )
    compiled = openvino.Core().compile_model(
        converted,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # the harness binds every worker
            **hint,
        },
    )
    ran = executed(compiled)
    _check_precision(ran, precision)

    def run(images: NDArray[Any]) -> list[NDArray[Any]]:
        found = compiled(images, share_inputs=True, share_outputs=True)
        return [found[index] for index in range(len(found))]

    return Prepared(
        model=optional.ArrayModel(_concurrently(compiled, requests) if requests else run),
        layers_replaced=sum(ran.values()),
        evidence=lambda: {"nodes": {" ".join(key): n for key, n in sorted(ran.items())}},
    )


def _concurrently(
    compiled: Any,  # noqa: ANN401 - OpenVINO has no types
    requests: int,
) -> Callable[[NDArray[Any]], list[NDArray[Any]]]:
    """Return a call that shares its images among so many requests, and waits for all of them.

    Raises:
        NotImplementedError: OpenVINO made one stream only, as its latency mode has.
    """
    import openvino

    streams = int(compiled.get_property("NUM_STREAMS"))
    if streams < 2:
        raise NotImplementedError(
            "OpenVINO's throughput mode made one stream of these threads, which is its latency mode"
        )
    queue = openvino.AsyncInferQueue(compiled, streams)
    outputs = len(compiled.outputs)

    def run(images: NDArray[Any]) -> list[NDArray[Any]]:
        found: dict[int, list[NDArray[Any]]] = {}

        def keep(request: Any, place: int) -> None:  # noqa: ANN401
            found[place] = [request.get_output_tensor(n).data.copy() for n in range(outputs)]

        queue.set_callback(keep)
        for place, part in enumerate(np.split(images, requests)):
            queue.start_async({0: part}, place)
        queue.wait_all()
        return [
            np.concatenate([found[place][n] for place in sorted(found)]) for n in range(outputs)
        ]

    return run


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
