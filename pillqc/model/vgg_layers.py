"""Make the layers of VGG-16 as torchvision does, whose import would take a second of every process.

features = make_layers(channels())          # Sequential: convolution, ReLU, ..., max-pool
quarter = make_layers(channels(4))          # a quarter of its width
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch import nn

from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAYERS: Final = (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M")
"""Convolutions by their channels, and max-pools (D in Simonyan and Zisserman, ICLR 2015)."""


def channels(narrowing: int = 1) -> list[str | int]:
    """Return VGG-16's layers in torchvision's notation, with their channels divided by a number."""
    if narrowing < 1 or any(isinstance(c, int) and c % narrowing for c in _LAYERS):
        raise PillqcError(f"VGG-16's layers cannot be divided by {narrowing}; take 1, 2, 4 or 8")
    return [c // narrowing if isinstance(c, int) else c for c in _LAYERS]


def make_layers(layers: Sequence[str | int], *, batch_norm: bool = False) -> nn.Sequential:
    """Return these layers, the same as torchvision's, whose import would take a second.

    Args:
        layers: as `channels` gives them.
        batch_norm: whether a norm follows each convolution.
    """
    made: list[nn.Module] = []
    given = 3
    for one in layers:
        if isinstance(one, str):
            made.append(nn.MaxPool2d(2, 2))
            continue
        norm = [nn.BatchNorm2d(one)] if batch_norm else []
        made += [nn.Conv2d(given, one, 3, padding=1), *norm, nn.ReLU(inplace=True)]
        given = one
    return nn.Sequential(*made)
