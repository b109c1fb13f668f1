"""Judge how a picture differs from pictures of good pills, as defects have taught.

    model = JudgingVGG(pictures=60, size=224)
    model.load_state_dict(tensors)
    probabilities, maps = model(images)      # (N, 2) and (N, 2, H, W), as `CustomVGG` gives them

`ComparingVGG` takes every difference for a defect, so that it fails where good pills have specks.
Here blocks 2 to 4 of VGG-16 describe every place, each feature's difference from the nearest like
at the same place goes into a small network, and that knows from masks of defects, real or invented
ones, which differences they are. Differences from good pictures say more than the features
themselves: they are near zero for whatever the product looks like (Ding, Pang and Shen, "Catching
Both Gray and Black Swans", CVPR 2022, learn from such residuals, too).

A model of `pillqc train` may judge beside it: evidence of both adds up. One knows what defects look
like, the other what this product looks like.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from pillqc.model.comparison import (
    ReferenceVGG,
    check_side,
    heat_of,
    neighbours,
    two_classes,
)
from pillqc.model.network import BAD

if TYPE_CHECKING:
    from pillqc.model.network import CustomVGG

FEATURES: Final = 896
"""Of blocks 2 to 4 together: 128, 256 and 512."""
HIDDEN: Final = 64
AROUND: Final = 5
"""Evidence of a place is the mean over so many cells to each side of a square: a defect shows in
several cells, and noise seldom does."""
SAME: Final = 0.99995
"""Mean cosine of a picture's cells and those of itself in a file, which has half precision; other
pictures of one product came to .976 (photographs' features) and .9996 (random ones) at most."""
HIGHEST: Final = 5
"""A pill's evidence is the mean of so many cells, those with most of it."""
_ENDS: Final = (8, 15, 22)
"""Layers of VGG-16 that end blocks 2 to 4, before their max-pool."""
_DEPTH: Final = 13
"""Layers of VGG-16's configuration up to the end of block 4."""


class JudgingVGG(ReferenceVGG):
    """Blocks 1 to 4 of VGG-16, pictures to compare with, and a judge of the differences.

    The outputs are those of a `CustomVGG` of two classes in evaluation mode. The probability is .5
    where one of a hundred good pills would have more evidence of a defect.
    """

    references: Tensor
    """(cells, pictures, 896), each of length 1."""
    settings: Tensor
    """The evidence at which a pill is bad, the steepness of the probability there, the usual
    evidence of a cell, and the score beside at which a pill is bad."""

    def __init__(self, *, pictures: int, size: int, beside: CustomVGG | None = None) -> None:
        super().__init__(pictures=pictures, size=size, depth=_DEPTH, described_by=FEATURES)
        self.judge = make_judge()
        self.beside = beside

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (N, 2) and maps (N, 2, H, W) of good and bad, from 0 to 1."""
        limit, steepness, usual, at_beside = self.settings.unbind()
        found = evidence(self.judge(self.differences(self.described(images))))
        logit = steepness * (pill_evidence(found) - limit)
        heat = heat_of(found, images.shape[-2:], usual, limit)
        if self.beside is not None:
            features = self.beside.features(images)
            logit = logit + score_of_bad(self.beside, features) - at_beside
            maps = self.beside.scaled(self.beside.evidence(features, images.shape[-2:]))
            heat = (heat + maps[:, BAD : BAD + 1]) / 2.0
        return two_classes(logit, heat)

    def described(self, images: Tensor) -> Tensor:
        """Return the features of each cell, of length 1: (N, 896, side, side).

        Raises:
            PillqcError: the images do not have the side of the pictures to compare with.
        """
        check_side(images, self.size)
        found: list[Tensor] = []
        for number, layer in enumerate(self.features):
            images = layer(images)
            if number in _ENDS:
                cells = F.adaptive_avg_pool2d(images, self.side)
                found.append(F.normalize(cells, dim=1))
        return torch.cat(found, dim=1) / math.sqrt(len(_ENDS))

    def themselves(self, described: Tensor) -> Tensor:
        """Return for each image the number of the picture that is itself (N); -1 is none."""
        cells = described.flatten(2).permute(2, 0, 1)
        cosines = torch.matmul(cells, self.references.transpose(1, 2)).mean(0)
        likest, picture = cosines.max(dim=1)
        return torch.where(likest > SAME, picture, -1)

    def differences(self, described: Tensor, own: Tensor | None = None) -> Tensor:
        """Return how much each feature differs from the nearest like: (N, 896, side, side).

        Args:
            described: features of length 1 (N, 896, side, side).
            own: for each image the number of the picture that it was made of, which is not
                compared with it (N); -1 is none. By default that is the image itself.
        """
        if own is None:
            own = self.themselves(described)
        side, pictures = self.side, self.references.shape[1]
        cells = torch.arange(side**2).reshape(side, side)
        best = described.new_full((len(described), side, side), -2.0)
        like = torch.zeros(best.shape, dtype=torch.int64)
        for step in neighbours(described, self.references):
            cosines = step.cosines
            cosines[own >= 0, own[own >= 0]] = -2.0
            nearest, picture = cosines.max(dim=1)
            there = cells[step.rows, step.columns] + step.down * side + step.right
            closer = nearest > best[:, step.rows, step.columns]
            for known, new in ((best, nearest), (like, there * pictures + picture)):
                here = known[:, step.rows, step.columns]
                known[:, step.rows, step.columns] = torch.where(closer, new, here)
        return (described - self.references.flatten(0, 1)[like].permute(0, 3, 1, 2)).abs()


def make_judge() -> nn.Sequential:
    """Return the network that turns the differences of a cell into its evidence, untrained."""
    return nn.Sequential(nn.Conv2d(FEATURES, HIDDEN, 1), nn.ReLU(), nn.Conv2d(HIDDEN, 1, 1))


def evidence(judged: Tensor) -> Tensor:
    """Return the evidence of a defect at each cell (N, side, side), from what a judge returns."""
    mean: Tensor = F.avg_pool2d(judged, AROUND, 1, AROUND // 2, count_include_pad=False)
    return mean[:, 0]


def pill_evidence(found: Tensor) -> Tensor:
    """Return the evidence that a pill is bad (N), from that of its cells."""
    cells = found.flatten(1)
    highest: Tensor = cells.topk(min(HIGHEST, cells.shape[1]), dim=1)[0]
    return highest.mean(1)


def score_of_bad(model: CustomVGG, features: Tensor) -> Tensor:
    """Return the logit of the probability of bad (N)."""
    scores = model.scores(features)
    return scores[:, BAD] - scores[:, 1 - BAD]
