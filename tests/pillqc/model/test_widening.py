"""A widened network computes the same, and its copies can diverge."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from hypothesis import given, settings
from hypothesis import strategies as st

from pillqc.errors import PillqcError
from pillqc.model.widening import Layer, side_by_side, widened, without_unread

pytestmark = pytest.mark.torch


def _chain(channels: list[int], generator: torch.Generator) -> list[Layer]:
    """Convolutions of 3 by 3 between these channels, and a linear layer with two outputs."""

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    pairs = itertools.pairwise(channels)
    layers = [Layer(weight=draw(o, i, 3, 3), bias=draw(o)) for i, o in pairs]
    return [*layers, Layer(weight=draw(2, channels[-1]), bias=draw(2))]


def _run(layers: list[Layer], images: torch.Tensor) -> torch.Tensor:
    x = images
    for layer in layers[:-1]:
        x = F.max_pool2d(F.relu(F.conv2d(x, layer.weight, layer.bias, padding=1)), 2)
    return F.linear(x.mean((2, 3)), layers[-1].weight, layers[-1].bias)


@given(
    channels=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    factor=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_wide_and_narrow_compute_the_same(channels: list[int], factor: int, seed: int) -> None:
    """For any depth, any channels and any factor, up to rounding."""
    generator = torch.Generator().manual_seed(seed)
    narrow = _chain([3, *channels], generator)
    wide = widened(narrow, factor=factor, generator=generator)
    images = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    assert torch.allclose(_run(wide, images), _run(narrow, images), rtol=1e-9, atol=1e-9)
    assert [layer.weight.shape[0] for layer in wide[:-1]] == [factor * c for c in channels]
    assert wide[-1].weight.shape == (2, factor * channels[-1])


def test_copies_of_a_channel_are_used_differently() -> None:
    """Equal shares would give equal gradients, and the copies would stay equal."""
    generator = torch.Generator().manual_seed(0)
    narrow = _chain([3, 4, 4], generator)
    wide = widened(narrow, factor=2, generator=generator)
    first, second = wide[1].weight[:, 0::2], wide[1].weight[:, 1::2]
    assert not torch.allclose(first, second)
    assert torch.allclose((first + second)[0::2], narrow[1].weight)
    assert (first / (first + second) > 0.1).all(), "no copy is left with next to nothing"


def test_a_network_cannot_lose_all_its_channels() -> None:
    """A factor below 1 is refused in a sentence."""
    with pytest.raises(PillqcError, match="0 times as wide"):
        widened(_chain([3, 2], torch.Generator()), factor=0, generator=torch.Generator())


@pytest.mark.parametrize("widths", [(2, 3), (3, 2)])
def test_side_by_side_each_network_computes_what_it_did(widths: tuple[int, int]) -> None:
    """The outputs of the first come first, and no channel of one reaches the other."""
    generator = torch.Generator().manual_seed(0)
    one, other = (_chain([3, width, 2 * width], generator) for width in widths)
    both = side_by_side(one, other)
    images = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    expected = torch.cat([_run(one, images), _run(other, images)], dim=1)
    assert torch.allclose(_run(both, images), expected, rtol=1e-12, atol=1e-12)
    assert [len(layer.weight) for layer in both] == [5, 10, 4]


def test_channels_that_no_output_depends_on_are_left_out() -> None:
    """Of two networks side by side, without the outputs of the second, the first is left."""
    generator = torch.Generator().manual_seed(1)
    one, other = _chain([3, 4, 2], generator), _chain([3, 2, 4], generator)
    joined = side_by_side(one, other)
    last = Layer(weight=joined[-1].weight[:2], bias=joined[-1].bias[:2])
    for mine, its in zip(without_unread([*joined[:-1], last]), one, strict=True):
        assert torch.equal(mine.weight, its.weight)
        assert torch.equal(mine.bias, its.bias)
    assert without_unread(joined)[0].weight.shape == joined[0].weight.shape
