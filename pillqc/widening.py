"""A trained narrow network as a wide one that computes the same.

    wide = widened(narrow_layers, factor=4, generator=torch.Generator().manual_seed(0))

Net2WiderNet (Chen, Goodfellow and Shlens, *Net2Net: Accelerating Learning via Knowledge Transfer*,
ICLR 2016): every channel appears `factor` times, and what a later layer took from it is shared out
among the copies. A quarter of VGG-16's width costs a sixteenth of its arithmetic, which brings
training from nothing from days to an hour on two cores. The shares are random, one draw for each
weight, so that copies have gradients of their own and drift apart when the wide network is trained
further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution (O, I, kh, kw) or a linear layer (O, I), with its bias (O)."""

    weight: Tensor
    bias: Tensor


def widened(layers: Sequence[Layer], *, factor: int, generator: torch.Generator) -> list[Layer]:
    """Widen a chain of layers, all but the inputs of the first and the outputs of the last.

    Between the layers may stand whatever treats channels alike and apart: ReLU, pooling. The last
    layer shares out alike for all of its outputs.

    Raises:
        PillqcError: `factor` is below 1.
    """
    if factor < 1:
        raise PillqcError(f"a network cannot become {factor} times as wide")
    last = len(layers) - 1
    wide = []
    for index, layer in enumerate(layers):
        weight, bias = layer.weight, layer.bias
        if index != last:
            weight, bias = (t.repeat_interleave(factor, dim=0) for t in (weight, bias))
        if index != 0:
            weight = _shared_out(weight, factor, generator, alike=index == last)
        wide.append(Layer(weight=weight, bias=bias))
    return wide


def _shared_out(weight: Tensor, factor: int, generator: torch.Generator, *, alike: bool) -> Tensor:
    """Give each of the `factor` copies of an input a random share of its weight; they add up.

    With `alike` all outputs share out alike, so that what is symmetric between classes stays so.
    """
    shape = (factor, 1 if alike else len(weight), *weight.shape[1:])
    parts = torch.rand(shape, generator=generator, dtype=weight.dtype) + 0.25
    copies = weight * parts / parts.sum(dim=0)
    return copies.movedim(0, 2).flatten(1, 2).contiguous()
