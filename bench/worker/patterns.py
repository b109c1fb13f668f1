"""Build the patterns of `bench operators`: a layer, perhaps an addition, and a ReLU.

Weights and inputs are random; the caller sets the seed, so that every worker has the same. The
backends set the module up as they do a whole model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import relu

from bench.plan.operators import CONV_ADD_RELU, LINEAR_RELU

if TYPE_CHECKING:
    from bench.plan.operators import Pattern


class LayerThenRelu(torch.nn.Module):
    """A layer and a ReLU, with the result of a second layer added in between if there is one.

    A residual block adds its input or, as here, a convolution of it. Libraries add into the memory
    of the second operand, which they cannot do with a caller's own input.
    """

    def __init__(self, layer: torch.nn.Module, shortcut: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.shortcut = shortcut

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the activations."""
        found = self.layer(inputs)
        if self.shortcut is not None:
            found = found + self.shortcut(inputs)
        return relu(found)


def model_of(case: Pattern) -> LayerThenRelu:
    """Return the module of a case with PyTorch's own initial weights."""
    if case.operator == LINEAR_RELU:
        return LayerThenRelu(torch.nn.Linear(case.inputs, case.outputs))
    return LayerThenRelu(
        _convolution(case), _convolution(case) if case.operator == CONV_ADD_RELU else None
    )


def _convolution(case: Pattern) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(case.inputs, case.outputs, case.kernel, padding=case.kernel // 2)


def inputs_of(case: Pattern) -> torch.Tensor:
    """Return one input of normal random numbers: (1, features), or (1, channels, side, side)."""
    shape = (case.inputs, case.side, case.side) if case.side else (case.inputs,)
    return torch.randn(1, *shape)
