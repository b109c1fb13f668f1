"""Count the floating point operations of a call; a multiplication with an addition is two.

    with operations() as counter:
        model(images)
    counter.get_total_flops()

PyTorch's counter takes a convolution's padding for input. Libraries skip it, and where a kernel
reaches far beyond a small input (dilation 24 on 16 pixels, three frames of which one exists) it is
most of the nominal work: such a call would seem to run above the machine's peak.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Sequence


def operations() -> FlopCounterMode:
    """Return a counter of the operations of what is called within it."""
    aten = torch.ops.aten
    mapping = {aten.convolution: _forward, aten.convolution_backward: _backward}
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _forward(
    x: Sequence[int],
    weight: Sequence[int],
    _bias: object,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    *_: object,
    out_shape: Sequence[int],
    **__: object,
) -> int:  # more than 8 parameters: as PyTorch passes them
    """Return twice the products of a weight with an input that exists.

    `weight` is (output channels, input channels of a group, *kernel), for a transposed convolution
    (input channels, output channels of a group, *kernel), which scatters each input.
    """
    moved, limits = (x[2:], out_shape[2:]) if transposed else (out_shape[2:], x[2:])
    kernel = weight[2:]
    steps = (_each(values, kernel) for values in (stride, padding, dilation))
    places = prod(_inside(*sizes) for sizes in zip(moved, limits, kernel, *steps, strict=True))
    return 2 * int(x[0]) * int(weight[0]) * int(weight[1]) * places


def _backward(grad_out: Sequence[int], *forward: Any, **_: object) -> int:  # noqa: ANN401 - PyTorch's
    """Count the gradients of input and weight: each multiplies what the forward pass did.

    `forward` are the forward pass's arguments and, last, which gradients are wanted.
    """
    *arguments, wanted = forward
    gradients = sum(map(bool, wanted[:2]))
    return gradients * _forward(*arguments, out_shape=grad_out)


def _inside(moved: int, limit: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Count the pairs of position and tap of one dimension that lie within the limit."""

    def before(end: int, tap: int) -> int:
        """Return how many positions at the start lie before `end`."""
        reached = -((tap * dilation - padding - end) // stride)  # rounded up
        return min(max(reached, 0), moved)

    return sum(before(limit, tap) - before(0, tap) for tap in range(kernel))


def _each(steps: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Return a step for each dimension: one value may stand for all."""
    return [*steps] * (len(kernel) if len(steps) == 1 else 1)
