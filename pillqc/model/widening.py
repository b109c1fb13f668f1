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
from typing import TYPE_CHECKING, Final

import torch

from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


_ALIKE: Final = 2e-3
"""Copies differ by less than this part of a layer's greatest weight: half precision rounds them
by a tenth of it, and weights that were never copies differ by hundreds of times more."""


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


def narrowed(layers: Sequence[Layer], *, factor: int) -> list[Layer] | None:
    """The chain of which `widened` made these layers; None if it did not, by this factor."""
    last = len(layers) - 1
    narrow = []
    for index, layer in enumerate(layers):
        weight, bias = layer.weight, layer.bias
        if index != 0:
            weight = weight.reshape(len(weight), -1, factor, *weight.shape[2:]).sum(dim=2)
        if index != last:
            weight, bias = (t.reshape(-1, factor, *t.shape[1:]) for t in (weight, bias))
            if not (_are_copies(weight) and _are_copies(bias)):
                return None
            weight, bias = weight.mean(dim=1), bias.mean(dim=1)
        narrow.append(Layer(weight=weight, bias=bias))
    return narrow


def _are_copies(groups: Tensor) -> bool:
    """Whether everything along the second dimension is the same up to rounding."""
    apart = (groups - groups.mean(dim=1, keepdim=True)).abs().max()
    return bool(apart <= _ALIKE * groups.abs().max())


def _shared_out(weight: Tensor, factor: int, generator: torch.Generator, *, alike: bool) -> Tensor:
    """Give each of the `factor` copies of an input a random share of its weight; they add up.

    With `alike` all outputs share out alike, so that what is symmetric between classes stays so.
    """
    shape = (factor, 1 if alike else len(weight), *weight.shape[1:])
    parts = torch.rand(shape, generator=generator, dtype=weight.dtype) + 0.25
    copies = weight * parts / parts.sum(dim=0)
    return copies.movedim(0, 2).flatten(1, 2).contiguous()
