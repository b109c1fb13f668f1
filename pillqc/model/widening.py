"""Convert a trained narrow network to a wide one that computes the same, and back.

    wide = widened(narrow_layers, factor=4, generator=torch.Generator().manual_seed(0))

Net2WiderNet (Chen, Goodfellow and Shlens, *Net2Net: Accelerating Learning via Knowledge Transfer*,
ICLR 2016): every channel is copied `factor` times, and the weights of the next layer are divided
among the copies. A quarter of VGG-16's width costs a sixteenth of its arithmetic, which reduces
training from random weights from days to an hour on two cores. The shares are random, one draw for
each weight, so that the copies have different gradients and diverge in further training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


_COPY_TOLERANCE: Final = 2e-3
"""Copies differ by less than this part of a layer's largest weight: rounding to half precision
causes a tenth of it, and weights that were never copies differ hundreds of times more."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution (O, I, kh, kw) or a linear layer (O, I), with its bias (O)."""

    weight: Tensor
    bias: Tensor


def widened(layers: Sequence[Layer], *, factor: int, generator: torch.Generator) -> list[Layer]:
    """Widen a chain of layers, except the inputs of the first and the outputs of the last.

    Between the layers there may be functions of each channel alone: ReLU, pooling. The last layer
    divides its weights equally for all outputs.

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
            weight = _divide(weight, factor, generator, same_for_outputs=index == last)
        wide.append(Layer(weight=weight, bias=bias))
    return wide


def narrowed(layers: Sequence[Layer], *, factor: int) -> list[Layer] | None:
    """Return the chain that `widened` converted to these layers by this factor; None if none."""
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


def side_by_side(one: Sequence[Layer], other: Sequence[Layer]) -> list[Layer]:
    """Return a chain that computes both on the same input; the outputs of `one` come first.

    Neither reads the other's channels: the weights between them are 0.

    Args:
        one: convolutions and a linear layer at the end.
        other: as many layers of the same kinds, of any width.
    """
    joined = []
    for index, (mine, its) in enumerate(zip(one, other, strict=True)):
        both = [mine.weight, its.weight]
        weight = torch.cat(both) if index == 0 else _block_diagonal(*both)
        joined.append(Layer(weight=weight, bias=torch.cat([mine.bias, its.bias])))
    return joined


def without_unread(layers: Sequence[Layer]) -> list[Layer]:
    """Return the chain without the channels that no output depends on: who reads them has 0."""
    kept = list(layers)
    for index in range(len(kept) - 1, 0, -1):
        layer, before = kept[index], kept[index - 1]
        read = layer.weight.transpose(0, 1).flatten(1).any(dim=1)
        kept[index] = Layer(weight=layer.weight[:, read], bias=layer.bias)
        kept[index - 1] = Layer(weight=before.weight[read], bias=before.bias[read])
    return kept


def _block_diagonal(one: Tensor, other: Tensor) -> Tensor:
    """Return weights (O, I, ...) with which each part's outputs read its own inputs alone."""
    both = one.new_zeros(len(one) + len(other), one.shape[1] + other.shape[1], *one.shape[2:])
    both[: len(one), : one.shape[1]] = one
    both[len(one) :, one.shape[1] :] = other
    return both


def _are_copies(groups: Tensor) -> bool:
    """Return whether the slices along the second dimension are equal up to rounding."""
    apart = (groups - groups.mean(dim=1, keepdim=True)).abs().max()
    return bool(apart <= _COPY_TOLERANCE * groups.abs().max())


def _divide(
    weight: Tensor, factor: int, generator: torch.Generator, *, same_for_outputs: bool
) -> Tensor:
    """Divide each input's weight into random shares for its `factor` copies.

    With `same_for_outputs` all outputs have the same shares, so that symmetric classes stay so.
    """
    shape = (factor, 1 if same_for_outputs else len(weight), *weight.shape[1:])
    parts = torch.rand(shape, generator=generator, dtype=weight.dtype) + 0.25
    copies = weight * parts / parts.sum(dim=0)
    return copies.movedim(0, 2).flatten(1, 2).contiguous()
