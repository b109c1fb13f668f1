"""Counting operations: all that is computed, and not what a kernel reaches beyond its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from bench.worker.workload.operations import operations

if TYPE_CHECKING:
    from collections.abc import Callable

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


# ---- operators that PyTorch's counter does not know ----------------------------------------------

HEADS, WORDS, WIDTH = 2, 6, 8
PROJECTIONS = 4 * 2 * WORDS * WIDTH * WIDTH
"""Of the queries, keys, values and outputs."""
SCORED = 2 * 2 * WORDS * WORDS * WIDTH
"""Queries with keys, and what they give with values."""
CAUSAL = SCORED * (WORDS + 1) // (2 * WORDS)
"""A query meets its own key and earlier ones."""


class Attending(nn.Module):
    """One head of the keys and values that it is given, without layers."""

    def __init__(self, *, is_causal: bool = False, mask: torch.Tensor | None = None) -> None:
        super().__init__()
        self.how: dict[str, Any] = {"is_causal": is_causal, "attn_mask": mask}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x, **self.how)


class MultiHead(nn.Module):
    """PyTorch's own attention layer, of a sentence with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x, x, x, need_weights=False)[0]
        return found


class Calling(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.fixture
def _fast_path() -> None:
    """Attention may take it, as in a worker: other tests switch it off for bf16."""
    torch.backends.mha.set_fastpath_enabled(True)


def counted_in_inference(layer: nn.Module, *shape: int) -> int:
    """As a user's model is counted: without gradients, where PyTorch takes its fast paths."""
    with operations() as counter, torch.no_grad():
        layer.eval()(torch.ones(shape))
    return int(counter.get_total_flops())


@pytest.mark.usefixtures("_fast_path")
@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (MultiHead(), (1, WORDS, WIDTH), PROJECTIONS + SCORED),
        (
            nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True),
            (3, WORDS, WIDTH),
            3 * (PROJECTIONS + SCORED + 2 * 2 * WORDS * WIDTH * 16),
        ),
        (Attending(), (1, HEADS, WORDS, WIDTH // HEADS), SCORED),
        (Attending(is_causal=True), (1, HEADS, WORDS, WIDTH // HEADS), CAUSAL),
        (
            Attending(mask=torch.ones(WORDS, WORDS)),
            (1, HEADS, WORDS, WIDTH // HEADS),
            SCORED,
        ),
        (nn.LSTM(5, 4), (3, 2, 5), 2 * 3 * 2 * 4 * 4 * (5 + 4)),
        (
            nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True),
            (2, 3, 5),
            2 * 3 * 2 * 4 * 4 * 2 * ((5 + 4) + (8 + 4)),
        ),
        (nn.GRU(5, 4), (3, 2, 5), 2 * 3 * 2 * 3 * 4 * (5 + 4)),
        (Calling(lambda x: x @ torch.ones(5)), (3, 5), 2 * 3 * 5),
        (Calling(lambda x: torch.addmv(torch.ones(3), x, torch.ones(5))), (3, 5), 2 * 3 * 5),
        (Calling(lambda x: x[0] @ x[1]), (2, 5), 2 * 5),
        (Calling(lambda x: torch.addbmm(x[0], x, x)), (2, 5, 5), 2 * 2 * 5 * 5 * 5),
    ],
)
def test_operators_that_hold_products_are_counted(
    layer: nn.Module, shape: tuple[int, ...], expected: int
) -> None:
    """Attention and recurrent layers, fused as they are, and products with vectors."""
    assert counted_in_inference(layer, *shape) == expected
    assert torch.backends.mha.get_fastpath_enabled()


@torch.library.custom_op("users::product", mutates_args=())
def of_another_library(x: torch.Tensor) -> torch.Tensor:
    """An operator that nobody here knows."""
    return x @ x


@pytest.mark.usefixtures("_fast_path")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.to_sparse() @ x,
        lambda x: nn.functional.bilinear(x, x, torch.ones(3, 5, 5)),
        lambda x: torch.cdist(x, x),
        of_another_library,
    ],
)
def test_what_cannot_be_counted_is_no_number(
    function: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """A sum without it, or with values that are not there, would be wrong."""
    with pytest.raises(NotImplementedError):
        counted_in_inference(Calling(function), 5, 5)
    assert torch.backends.mha.get_fastpath_enabled()
