"""Run the model with ONNX Runtime on the CPU: `pip install 'pillqc-bench[onnxruntime]'`.

The model is exported to ONNX, optimised at the runtime's highest level, and run on as many threads
as every worker has. The runtime names no instruction set and logs no kernel, but its profile of one
call lists the operators that it executed, after its fusions and in its own layout.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import Dtype
from bench.worker.backends import Prepared, optional
from bench.worker.workload.inputs import only_tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from bench.plan.scenario import Scenario
    from bench.worker.workload.inputs import Inputs

IMPORTS: tuple[str, ...] = ("onnxruntime", "onnx")
QUANTIZER = "bench.worker.backends.onnxruntime_int8"
NAME = "ONNX Runtime"


def load() -> None:
    """Import ONNX Runtime, and onnx, which PyTorch needs for exporting.

    Raises:
        ImportError: one of them is not installed.
    """
    optional.load("onnxruntime", NAME)
    optional.load("onnx", "onnx", extra="onnxruntime")


def verbose() -> AbstractContextManager[object]:
    """Log nothing: it does not use oneDNN, and `Prepared.evidence` has what it ran."""
    return nullcontext()


def prepare(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    optimizer: torch.optim.Optimizer | None = None,  # noqa: ARG001 - `Backend` has it
) -> Prepared:
    """Export and optimise the model.

    Raises:
        NotImplementedError: ONNX Runtime does not run this task, mode, layout or dtype.
    """
    optional.check(scenario, NAME, (Dtype.FP32,))
    example = only_tensor(example, NAME)
    return prepared(export(model.eval(), example), example)


def prepared(
    exported: bytes,
    example: torch.Tensor,
    evidence: Callable[[dict[str, int]], dict[str, Any]] = lambda ran: {"nodes": ran},
) -> Prepared:
    """Return an exported model ready to be called; `evidence` reads the operators of one call."""
    session = _session(exported)
    return Prepared(
        model=optional.ArrayModel(lambda images: session.run(None, {"images": images})),
        evidence=lambda: evidence(_executed(exported, example)),
    )


def export(model: torch.nn.Module, example: torch.Tensor) -> bytes:
    """Export by tracing, which needs no further packages in PyTorch 2.8."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is old
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model, (example,), str(path), input_names=["images"], dynamo=False, opset_version=17
        )
        return path.read_bytes()


def _session(exported: bytes, profile: str | None = None) -> Any:  # noqa: ANN401 - it has no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])


def _executed(exported: bytes, example: torch.Tensor) -> dict[str, int]:
    """Count the operators of one call, in a second session that keeps a profile."""
    with tempfile.TemporaryDirectory() as folder:
        session = _session(exported, str(Path(folder) / "profile"))
        session.run(None, {"images": example.numpy()})
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = Counter(
        str(event["args"]["op_name"])
        for event in events
        if event.get("cat") == "Node" and str(event.get("name")).endswith("_kernel_time")
    )
    return dict(sorted(ran.items()))
