"""Make the optimiser step and the box search, and count the operations of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from bench.plan.scenario import FUSED_ADAM, Scenario, Task
from bench.worker.workload.operations import operations
from pillqc.inspection.boxes import Box, find_boxes
from pillqc.model.network import FROZEN_LAYERS
from pillqc.training.step import make_optimizer, training_step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.worker.backends import Prepared
    from bench.worker.workload.images import Batch

LEARNING_RATE = 1e-5
"""A tenth of the tutorial's. Parity compares losses, and from random weights the first step at 1e-4
overshoots (0.7 to 2.6), which magnifies rounding. The time of a step does not depend on it."""


def optimizer_for(model: torch.nn.Module, scenario: Scenario) -> torch.optim.Optimizer | None:
    """Return Adam over the trainable parameters; None for inference."""
    if scenario.task is not Task.TRAINING:
        return None
    return make_optimizer(model, lr=LEARNING_RATE, fused=FUSED_ADAM in scenario.options)


def step(prepared: Prepared, batch: Batch) -> torch.Tensor:
    """Do forward, loss, backward and update; return the loss from before the update."""
    if prepared.optimizer is None:
        raise TypeError("a training step needs the scenario prepared with its optimizer")
    loss: torch.Tensor = training_step(
        prepared.model,
        prepared.optimizer,
        batch.tensor,
        batch.labels,
        batch.class_weights,
        autocast_dtype=prepared.autocast,
    )
    return loss


def flop_per_call(model: torch.nn.Module, images: torch.Tensor, *, training: bool) -> int:
    """Count the floating point operations of convolutions and products; a multiply-add is two.

    Tensors without storage make it cost neither time nor memory. A training step's backward pass
    counts too, less what frozen layers save.
    """
    weights: dict[str, Any] = {
        name: torch.empty_like(value, device="meta").requires_grad_(value.requires_grad)
        for name, value in (*model.named_parameters(), *model.named_buffers())
    }
    inputs = torch.empty_like(images, device="meta")
    was_training = model.training
    model.train(training)
    try:
        with operations() as counter, torch.set_grad_enabled(training):
            outputs = torch.func.functional_call(model, weights, (inputs,))
            if training:
                outputs.sum().backward()
    finally:
        model.train(was_training)
    return int(counter.get_total_flops())


def boxes(maps: NDArray[np.float32]) -> list[list[Box]]:
    """Find the boxes in each map."""
    return [find_boxes(heat) for heat in maps]


def layers(model: torch.nn.Module) -> list[tuple[str, str]]:
    """List name and kind of every layer that holds no others."""
    return [
        (name, type(module).__name__)
        for name, module in model.named_modules()
        if name and next(module.children(), None) is None
    ]


def reset_trainable_layers(model: torch.nn.Module, seed: int) -> None:
    """Give the trainable deep block and head new weights from the seed.

    The shallow blocks keep ImageNet's, as in the tutorial.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in model.features[FROZEN_LAYERS:]:  # type: ignore[index] # a Sequential
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                torch.nn.init.zeros_(cast("torch.Tensor", layer.bias))
        head = cast("torch.nn.Linear", model.head)
        torch.nn.init.normal_(head.weight, 0.0, 0.01)
        torch.nn.init.zeros_(head.bias)
