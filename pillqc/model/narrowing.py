"""Convert a widened model to its narrow form, which trains at a sixteenth of the arithmetic.

    narrow = narrow_form(model)         # computes the same
    ... train ...
    model = wide_form(narrow)           # of full width again, computes the same

A model that was widened after its training (`widening`) has every channel several times; merging
the copies gives the network that was trained. A model whose copies have diverged, or that was never
widened, has no narrower form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import torch
from torch import nn

from pillqc.model.network import (
    BLOCK_5,
    FEATURE_CHANNELS,
    CustomVGG,
    with_defects,
)
from pillqc.model.vgg_layers import channels, make_layers
from pillqc.model.widening import Layer, narrowed, side_by_side, widened, without_unread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_FACTORS: Final = (8, 4, 2)
_BUFFERS: Final = ("map_low", "map_high", "map_calibrated")


def narrow_form(model: CustomVGG, *, freeze: bool = False) -> CustomVGG:
    """Return the narrowest network that computes the same, perhaps the model itself."""
    wide = _layers(model)
    for factor in _FACTORS:
        layers = narrowed(wide, factor=factor)
        if layers is not None:
            narrow = from_layers(layers, n_defects=model.n_defects, freeze=freeze)
            return _with_settings(narrow, model)
    return model


def wide_form(model: CustomVGG, *, seed: int = 0) -> CustomVGG:
    """Return the network of VGG-16's full width that computes the same."""
    factor = FEATURE_CHANNELS // model.head.in_features
    if factor == 1:
        return model
    generator = torch.Generator().manual_seed(seed)
    layers = widened(_layers(model), factor=factor, generator=generator)
    return _with_settings(from_layers(layers, n_defects=model.n_defects), model)


def decision_form(model: CustomVGG) -> CustomVGG:
    """Return the network of full width with the good and bad of this one, and no names.

    It is the model itself if that names nothing. Features that names alone read are left out, so
    that it trains as it did before it learnt the names.
    """
    if not model.n_defects:
        return model
    plain = with_defects(model, 0)
    layers = without_unread(_layers(plain))
    factor = FEATURE_CHANNELS // max(layers[-1].weight.shape[1], 1)
    widths = [len(layer.weight) for layer in layers[:-1]]
    if factor not in _FACTORS or widths != [c for c in channels(factor) if isinstance(c, int)]:
        return plain  # names share its features
    made = wide_form(_with_settings(from_layers(layers), plain))
    return made if plain.is_frozen() else made.requires_grad_(requires_grad=True)


@torch.no_grad()
def with_defects_of(model: CustomVGG, trained: CustomVGG) -> CustomVGG:
    """Return the model with the defects that another has learnt, on the same features.

    Good and bad stay those of `model`. `trained` may be its narrow form. Their scale of maps comes
    with them.
    """
    made = with_defects(model, trained.n_defects)
    first, factor = model.n_classes, made.head.in_features // trained.head.in_features
    # the copies of a channel are equal, so that they can share its weight equally
    rows = trained.head.weight[first:].repeat_interleave(factor, dim=1) / factor
    made.head.weight[first:] = rows
    made.head.bias[first:] = trained.head.bias[first:]
    for name in ("map_low", "map_high"):
        made.get_buffer(name)[first:] = trained.get_buffer(name)[first:]
    return made


@torch.no_grad()
def with_features_of(model: CustomVGG, trained: CustomVGG) -> CustomVGG:
    """Return a network with the good and bad of the model, and the defects and features of another.

    Both are side by side in it: neither reads the other's features, so that good and bad are what
    they were, up to rounding. `trained` is as wide as the narrow form of the model, which is half
    of VGG-16's width at most.
    """
    first = model.n_classes
    decision = _with_outputs(_layers(narrow_form(decision_form(model))), slice(0, first))
    names = _with_outputs(_layers(trained), slice(first, None))
    made = from_layers(side_by_side(decision, names), n_defects=trained.n_defects)
    _with_settings(made, trained)
    for name in ("map_low", "map_high"):
        made.get_buffer(name)[:first] = model.get_buffer(name)[:first]
    made.map_calibrated.copy_(model.map_calibrated)
    return made.train(model.training)


@torch.no_grad()
def narrow_blocks(model: CustomVGG) -> tuple[nn.Sequential, int] | None:
    """Return blocks 1 to 4 in their narrowest form, and how many copies of its channels they have.

    Copies lie side by side in the model. None if the blocks have no narrower form.
    """
    count = len(_convolutions(model.features[:BLOCK_5]))
    wide = _layers(model, count + 1)  # conv5_1 reads the last block's copies
    for factor in _FACTORS:
        layers = narrowed(wide, factor=factor)
        if layers is not None:
            width = channels(factor * FEATURE_CHANNELS // model.head.in_features)
            blocks: Any = make_layers(width)[:BLOCK_5]
            _copy_weights(layers[:count], _convolutions(blocks))
            second = cast("Tensor", model.features[2].weight)
            if second.is_contiguous(memory_format=torch.channels_last):
                blocks = blocks.to(memory_format=torch.channels_last)
            return blocks.requires_grad_(requires_grad=False), factor
    return None


@torch.no_grad()
def from_layers(layers: Sequence[Layer], *, n_defects: int = 0, freeze: bool = True) -> CustomVGG:
    """Return a model with these weights, of their width; the last outputs are the defects'."""
    last = layers[-1].weight
    narrowing = FEATURE_CHANNELS // last.shape[1]
    model = CustomVGG(
        last.shape[0] - n_defects, n_defects=n_defects, freeze=freeze, narrowing=narrowing
    )
    _copy_weights(layers, _trained(model))
    return model


def _layers(model: CustomVGG, count: int | None = None) -> list[Layer]:
    """Return the weights of the first layers, or of all, in double precision."""
    return [
        Layer(
            weight=cast("Tensor", layer.weight).detach().double(),
            bias=cast("Tensor", layer.bias).detach().double(),
        )
        for layer in _trained(model)[:count]
    ]


def _with_outputs(layers: list[Layer], outputs: slice) -> list[Layer]:
    """Return the layers with some outputs of the last one only."""
    last = layers[-1]
    return [*layers[:-1], Layer(weight=last.weight[outputs], bias=last.bias[outputs])]


def _trained(model: CustomVGG) -> list[nn.Module]:
    return [*_convolutions(model.features), model.head]


def _convolutions(layers: nn.Module) -> list[nn.Module]:
    return [layer for layer in layers.children() if isinstance(layer, nn.Conv2d)]


def _copy_weights(layers: Sequence[Layer], targets: Sequence[nn.Module]) -> None:
    for layer, target in zip(layers, targets, strict=True):
        cast("Tensor", target.weight).copy_(layer.weight)
        cast("Tensor", target.bias).copy_(layer.bias)


def _with_settings(made: CustomVGG, model: CustomVGG) -> CustomVGG:
    """Copy the scale of maps and the mode from the other model."""
    for name in _BUFFERS:
        made.get_buffer(name).copy_(model.get_buffer(name))
    return made.train(model.training)
