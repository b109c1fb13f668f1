"""Counting operations: what is computed, and not what a kernel reaches beyond its input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.worker.workload.operations import operations

pytestmark = pytest.mark.torch


def counted(layer: nn.Module, *shape: int, backward: bool = False) -> int:
    """The operations of one call, with its gradients if asked."""
    images = torch.ones(shape, requires_grad=backward)
    with operations() as counter:
        outputs = layer(images)
        if backward:
            outputs.sum().backward()
    return int(counter.get_total_flops())


def taps(layer: nn.Module, *shape: int) -> int:
    """Twice the products with an input that exists: with ones everywhere, the sum of outputs."""
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    return 2 * int(layer(torch.ones(shape)).sum())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 4, 3, padding=1, bias=False), (2, 3, 8, 6)),
        (nn.Conv2d(4, 4, 3, padding=24, dilation=24, bias=False), (1, 4, 16, 16)),
        (nn.Conv2d(4, 8, 5, stride=2, padding="valid", groups=2, bias=False), (1, 4, 9, 9)),
        (nn.Conv2d(4, 4, 3, padding="same", groups=4, bias=False), (1, 4, 7, 7)),
        (nn.Conv3d(2, 3, 3, padding=1, bias=False), (1, 2, 1, 5, 5)),
        (nn.Conv1d(2, 3, 4, stride=3, padding=2, bias=False), (1, 2, 11)),
        (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, bias=False), (1, 2, 5, 5)),
        (nn.Linear(5, 7, bias=False), (3, 5)),
    ],
)
def test_padding_is_no_work(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """Counted as the outputs themselves count it, where every weight and input is 1."""
    assert counted(layer, *shape) == taps(layer, *shape)


def test_a_gradient_multiplies_what_the_forward_pass_did() -> None:
    """That of the weight and that of the input, if both are wanted."""
    layer = nn.Conv2d(3, 4, 3, padding=1)
    forward = counted(layer, 2, 3, 8, 8)
    assert counted(layer, 2, 3, 8, 8, backward=True) == 3 * forward
    layer.weight.requires_grad = False
    assert counted(layer, 2, 3, 8, 8, backward=True) == 2 * forward
