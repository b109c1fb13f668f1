"""The pill inspector as the harness uses it; no other part of `bench` imports `pillqc`.

It gives a worker a new model for every scenario, the same images for all, the images for the parity
check, one optimiser step, and the number of operations of a call.
"""

from bench.worker.workload.calls import (
    boxes,
    flop_per_call,
    layers,
    optimizer_for,
    reset_trainable_layers,
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
    "reset_trainable_layers",
    "step",
]
