"""Compare a picture with pictures of good pills, in place of a trained head.

    model = ComparingVGG(pictures=60, size=224)
    model.load_state_dict(tensors)
    probabilities, maps = model(images)      # (N, 2) and (N, 2, H, W), as `CustomVGG` gives them

Blocks 1 to 3 of VGG-16 describe every place of a picture by its features. A place that has no like
at the same place of any good pill is unusual, and a pill is as bad as its most unusual place. That
needs no bad picture and no mask, and the features need not know the product: those of photographs
serve (PatchCore, Roth et al., CVPR 2022, compares with all places; PaDiM, Defard et al., ICPR 2020,
with a Gaussian at the same place).

Where some of the pictures may be bad (`mixed`), the likeness to the nearest third counts instead of
the nearest one: a defect that two pictures share is still unusual. The nearest picture is left out,
because it may be the judged one itself (MuSc, Li et al., ICLR 2024, compares unsorted pictures so).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from pillqc.errors import PillqcError
from pillqc.model.network import CLASSES
from pillqc.model.vgg_layers import channels, make_layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CELL: Final = 8
"""Side of a place in pixels: block 3 halves the picture twice, and its features are averaged over
windows of four, two apart."""
NEIGHBOURS: Final = 1
"""Cells up to so far away are compared too: pills do not lie equally to the pixel."""
MIXED_SHARE: Final = 0.3
"""Of mixed pictures, the share of the nearest ones whose mean counts."""
_DEPTH: Final = 9
"""Layers of VGG-16's configuration up to the end of block 3."""
_FEATURES: Final = 256
_LEAST: Final = 1e-6
"""Distances below it are those of a picture to itself."""


class ReferenceVGG(nn.Module):
    """The first blocks of VGG-16, and what they say of each place of the pictures to compare with.

    Its subclasses give the outputs of a `CustomVGG` of two classes in evaluation mode.
    """

    references: Tensor
    """(cells, pictures, features), each of length 1."""
    settings: Tensor
    """Four numbers, whose meaning is the subclass's."""

    def __init__(self, *, pictures: int, size: int, depth: int, described_by: int) -> None:
        super().__init__()
        self.n_classes = len(CLASSES)
        self.n_defects = 0
        self.size = size
        self.side = size // CELL
        self.features = make_layers(channels()[:depth])
        self.features.requires_grad_(requires_grad=False)
        self.register_buffer("references", torch.zeros(self.side**2, pictures, described_by))
        self.register_buffer("settings", torch.tensor([1.0, 1.0, 0.0, 0.0]))

    def take_features(self, features: nn.Sequential) -> None:
        """Take over the weights of the first blocks of a VGG-16."""
        self.features.load_state_dict(features[: len(self.features)].state_dict())

    def distances(self, described: Tensor) -> Tensor:
        """Return how far each cell is from its like in each picture: (N, pictures, side, side).

        It is 1 less the cosine of the angle between the features, the least one over the
        neighbouring cells.
        """
        nearest = described.new_full(
            (len(described), self.references.shape[1], self.side, self.side), -1.0
        )
        for step in neighbours(described, self.references):
            here = nearest[:, :, step.rows, step.columns]
            nearest[:, :, step.rows, step.columns] = torch.maximum(here, step.cosines)
        return -nearest + 1.0


class ComparingVGG(ReferenceVGG):
    """Blocks 1 to 3 of VGG-16, and what they say of each place of the pictures to compare with.

    The outputs are those of a `CustomVGG` of two classes in evaluation mode. The probability is no
    calibrated one, because no bad picture was seen: it is .5 where a pill is as unusual as one of a
    hundred good ones, if their scores are normally distributed.
    """

    references: Tensor
    """(cells, pictures, 256), each of length 1."""
    settings: Tensor
    """The score at which a pill is bad, the steepness of the probability there, the usual distance
    of a cell, and 1 where the pictures are mixed."""

    def __init__(self, *, pictures: int, size: int) -> None:
        super().__init__(pictures=pictures, size=size, depth=_DEPTH, described_by=_FEATURES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (N, 2) and maps (N, 2, H, W) of good and bad, from 0 to 1."""
        limit, steepness, usual, _ = self.settings.unbind()
        unusual = self.unusual(self.distances(self.described(images)))
        score = unusual.flatten(1).amax(1).clamp_min(_LEAST)
        heat = heat_of(unusual, images.shape[-2:], usual, limit)
        return two_classes(steepness * (score / limit).log(), heat)

    def described(self, images: Tensor) -> Tensor:
        """Return the features of each cell, of length 1: (N, 256, side, side).

        Raises:
            PillqcError: the images do not have the side of the pictures to compare with.
        """
        check_side(images, self.size)
        features = F.avg_pool2d(self.features(images), 4, 2, 1, count_include_pad=False)
        return F.normalize(features, dim=1)

    def unusual(self, distances: Tensor) -> Tensor:
        """Return how unusual each cell is (N, side, side), from `distances`."""
        return among_mixed(distances) if self.is_mixed() else distances.amin(1)

    def is_mixed(self) -> bool:
        """Return whether some of the pictures that it compares with may be bad."""
        return bool(self.settings[3])


def among_mixed(distances: Tensor) -> Tensor:
    """Return how unusual each cell is among pictures of which some may be bad (N, side, side).

    Args:
        distances: from each of them (N, pictures, side, side).
    """
    most = 1 + max(round(MIXED_SHARE * distances.shape[1]), 1)
    nearest = torch.topk(distances, most, dim=1, largest=False, sorted=True)[0]
    return nearest[:, 1:].mean(1)


def heat_of(cells: Tensor, size: Sequence[int], usual: Tensor, limit: Tensor) -> Tensor:
    """Return maps (N, 1, *size) of the values of cells (N, side, side): 0 is usual, .5 the limit.

    Above it they approach 1, so that even a strong defect has one hottest place.
    """
    wide = F.interpolate(cells[:, None], size=list(size), mode="bilinear", align_corners=False)
    share = ((wide - usual) / (2.0 * (limit - usual)).clamp_min(_LEAST)).clamp_min(0.0)
    heat: Tensor = share / (share + 0.5)
    return heat


def two_classes(logit: Tensor, heat: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities (N, 2) and maps (N, 2, H, W) of good and bad.

    Args:
        logit: of the probability of bad (N).
        heat: the map of bad (N, 1, H, W).
    """
    probabilities = torch.stack([torch.sigmoid(-logit), torch.sigmoid(logit)], dim=1)
    return probabilities, torch.cat([1.0 - heat, heat], dim=1)


def check_side(images: Tensor, size: int) -> None:
    """Raise a `PillqcError` if the images are not of this size: their cells would lie elsewhere."""
    if images.shape[-1] != size:
        raise PillqcError(
            f"this model compares pictures of {size} px, not of {images.shape[-1]}:"
            " leave out --size"
        )


@dataclass(frozen=True, kw_only=True)
class Step:
    """One neighbouring cell of every cell that has one in that direction."""

    rows: slice
    """Of the cells."""
    columns: slice
    cosines: Tensor
    """Of the angles between a cell and its neighbour in each picture (N, pictures, h, w)."""
    down: int
    """The neighbour is so many cells below."""
    right: int


def neighbours(described: Tensor, references: Tensor) -> Iterator[Step]:
    """Compare each cell with the cells around it in the pictures to compare with.

    Args:
        described: features of length 1 (N, C, side, side).
        references: those of the pictures (cells, pictures, C).
    """
    side = described.shape[-1]
    cells = described.permute(2, 3, 0, 1)
    pictures = references.reshape(side, side, *references.shape[1:]).transpose(2, 3)
    for down in range(-NEIGHBOURS, NEIGHBOURS + 1):
        for right in range(-NEIGHBOURS, NEIGHBOURS + 1):
            (rows, far_rows), (columns, far_columns) = _moved(side, down), _moved(side, right)
            cosines = torch.matmul(cells[rows, columns], pictures[far_rows, far_columns])
            yield Step(
                rows=rows,
                columns=columns,
                cosines=cosines.permute(2, 3, 0, 1),
                down=down,
                right=right,
            )


def _moved(side: int, step: int) -> tuple[slice, slice]:
    """Return the cells along a side that have another one so many steps away, and those others."""
    first, last = max(-step, 0), side - max(step, 0)
    return slice(first, last), slice(first + step, last + step)
