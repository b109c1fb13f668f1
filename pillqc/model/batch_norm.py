"""Train VGG-16 with batch norm from random weights, and convert it to plain VGG-16.

    net = NormedVGG(narrowing=4)
    ... train ...
    model = fold_batch_norm(net)         # a CustomVGG of full width that computes the same

Plain VGG-16 hardly trains from random weights; with a norm after each convolution it does. The
norms of a trained network are constant scales and shifts, which are folded into the convolutions.
"""

from __future__ import annotations

import copy
import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pillqc.model.narrowing import from_layers
from pillqc.model.network import FEATURE_CHANNELS, CustomVGG, symmetric
from pillqc.model.vgg_layers import channels, make_layers
from pillqc.model.widening import Layer, widened


class NormedVGG(nn.Module):
    """The network with batch norm; it returns the scores of every pooling window.

    The image's scores are the mean of the windows at odd rows and columns, as in `CustomVGG`.
    """

    def __init__(self, n_classes: int = 2, *, n_defects: int = 0, narrowing: int = 1) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.n_defects = n_defects
        self.narrowing = narrowing
        """Divisor of every layer's channels."""
        self.features = make_layers(channels(narrowing)[:-1], batch_norm=True)
        self.pool = nn.MaxPool2d(2, stride=1, padding=1)
        self.head = nn.Linear(FEATURE_CHANNELS // narrowing, n_classes + n_defects)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast("Tensor", layer.bias))
        nn.init.normal_(self.head.weight, 0.0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of the windows (N, C, h+1, w+1), in fp32 also under autocast."""
        windows = self.pool(self.features(images))
        with torch.autocast(images.device.type, enabled=False):  # evidence is a sum of hundreds
            scores = cast("Tensor", self.head(windows.permute(0, 2, 3, 1).float()))
        return scores.permute(0, 3, 1, 2)


def image_scores(cells: Tensor) -> Tensor:
    """Average the scores of windows to those of images (N, C), as the plain network does.

    The last row and column of a feature map with an odd side are not pooled.
    """
    size = cells.shape[-1] - 1
    return cells[:, :, 1 : size + 1 - size % 2 : 2, 1 : size + 1 - size % 2 : 2].mean((2, 3))


@torch.no_grad()
def fold_batch_norm(net: NormedVGG, *, seed: int = 0) -> CustomVGG:
    """Return the plain network of full width that computes what `net` does in evaluation mode.

    The head becomes symmetric, which changes no probability: the map of `bad` then is the evidence
    for bad against good. `seed` controls how a narrow network's weights are divided.
    """
    head = Layer(
        weight=symmetric(net.head.weight.double(), net.n_classes),
        bias=symmetric(net.head.bias.double(), net.n_classes),
    )
    pairs = itertools.pairwise(net.features)
    folded = [_fold(c, n) for c, n in pairs if isinstance(n, nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(seed)
    layers = widened([*folded, head], factor=net.narrowing, generator=generator)
    return from_layers(layers, n_defects=net.n_defects).eval()


def _fold(conv: nn.Module, norm: nn.BatchNorm2d) -> Layer:
    """Merge a convolution and the norm after it, in double precision."""
    both = copy.deepcopy(nn.Sequential(conv, norm)).double().eval()
    merged = fuse_conv_bn_eval(cast("nn.Conv2d", both[0]), cast("nn.BatchNorm2d", both[1]))
    return Layer(weight=merged.weight.detach(), bias=cast("Tensor", merged.bias).detach())
