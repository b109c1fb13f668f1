"""The pill inspector as the harness uses it: the only place of `bench` that imports `pillqc`.

Gives a worker a fresh model for every scenario, the same real images for all of them, the images
for the parity check, one optimiser step, and the arithmetic that a call costs.
"""

from bench.worker.workload.calls import (
    boxes,
    flop_per_call,
    layers,
    optimizer_for,
    start_afresh,
    step,
)
from bench.worker.workload.images import (
    CALIBRATION_IMAGES,
    Batch,
    Loaded,
    Workload,
    given_model,
    mixed,
)
from bench.worker.workload.stages import STAGES, inspect_in_stages

__all__ = [
    "CALIBRATION_IMAGES",
    "STAGES",
    "Batch",
    "Loaded",
    "Workload",
    "boxes",
    "flop_per_call",
    "given_model",
    "inspect_in_stages",
    "layers",
    "mixed",
    "optimizer_for",
    "start_afresh",
    "step",
]
