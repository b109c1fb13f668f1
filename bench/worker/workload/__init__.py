"""Give a worker the pill inspector, or a user's model, to run.

There is a new model for every scenario; the images are the same for all. The images for the parity
check, one optimiser step and the number of operations of a call come from here too.
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
