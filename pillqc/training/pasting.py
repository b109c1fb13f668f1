"""Paste the defects of bad pictures onto good ones, so that few bad pictures teach as many.

    move = draw_move(generator, side=224)
    image = pasted(good, bad, mask, move)
    mask = move.of(mask)                    # where the picture is defective now

Ten scratches on ten pills are learnt by heart; on sixty good pills, mirrored and moved a little,
they are scratches. What is pasted is the mask and a few pixels around it, with soft edges and as
light as its new surroundings, so that no seam tells of it. After Ghiasi et al., "Simple Copy-Paste
is a Strong Data Augmentation Method for Instance Segmentation", CVPR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor

FARTHEST: Final = 0.03
"""How far a defect moves at most, along each side, as a share of it."""
_SIDE: Final = 224
"""The side in pixels for which the next widths are meant; they grow with the picture."""
_MARGIN: Final = 1
"""Pixels around the mask that come along: edges of masks are seldom exact, and what comes along of
a thin scratch must be the scratch."""
_SOFT: Final = 1
"""Pixels over which the pasted part fades out, twice."""
_RING: Final = 8
"""Pixels around the mask in which both pictures' light is compared."""
_NEAR: Final = 12
"""Pixels around a place whose share of the ring tells how much lighter it is there."""
_LEAST: Final = 1e-3
"""Of the ring, so that inside of a large defect, far from any of it, nothing is divided by 0."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """Where a defect goes in a picture of the same size: mirrored, and then shifted."""

    mirrored: tuple[bool, bool] = (False, False)
    """Upside down, and left to right."""
    shift: tuple[int, int] = (0, 0)
    """Pixels down, and to the right."""

    def of(self, planes: Tensor) -> Tensor:
        """Return the moved planes (..., H, W); what enters at an edge is 0 or False."""
        axes = [axis for axis, turned in zip((-2, -1), self.mirrored, strict=True) if turned]
        moved = planes.flip(axes).roll(self.shift, (-2, -1))
        for axis, shift in zip((-2, -1), self.shift, strict=True):
            start = 0 if shift > 0 else moved.shape[axis] + shift
            moved.narrow(axis, start, abs(shift)).zero_()
        return moved

    def keeps(self, mask: Tensor) -> bool:
        """Return whether at least half of what the mask has set stays in the picture.

        Else the picture would be called bad for a defect that it hardly shows, or not at all.
        """
        return 2 * int(self.of(mask).sum()) >= int(mask.sum())


def draw_move(generator: torch.Generator, *, side: int) -> Move:
    """Return a random move in a square picture of this side.

    A defect is mirrored with its picture: most pills are as wide on one side as on the other, so
    that it stays on the pill.
    """
    up, across, down, right = torch.rand(4, generator=generator).tolist()
    most = FARTHEST * side
    return Move(
        mirrored=(up < 0.5, across < 0.5),
        shift=(round((2.0 * down - 1.0) * most), round((2.0 * right - 1.0) * most)),
    )


def pasted(onto: Tensor, defective: Tensor, mask: Tensor, move: Move) -> Tensor:
    """Return a picture with the moved defect of another.

    Args:
        onto: the picture (3, H, W).
        defective: the one with the defect (3, H, W).
        mask: where it is, bool (H, W).
        move: where it goes.
    """
    pixels = max(round(mask.shape[-1] / _SIDE), 1)
    moved = move.of(mask)[None, None].float()
    core = _grown(moved, _MARGIN * pixels)
    ring = _grown(moved, _RING * pixels) - core
    part = move.of(defective)
    # a pill is lit from one side, so how much lighter it is differs along a scratch
    lighter = faded((onto - part)[None] * ring, _NEAR * pixels)[0]
    lighter = lighter / faded(ring, _NEAR * pixels)[0].clamp_min(_LEAST)
    cover = faded(faded(core, _SOFT * pixels), _SOFT * pixels)[0]
    made: Tensor = onto * (1.0 - cover) + (part + lighter) * cover
    return made


def _grown(mask: Tensor, pixels: int) -> Tensor:
    """Return the mask (N, C, H, W) with a square border of this width around what is set."""
    length = 2 * pixels + 1
    down = F.max_pool2d(mask, (length, 1), 1, (pixels, 0))
    grown: Tensor = F.max_pool2d(down, (1, length), 1, (0, pixels))
    return grown


def faded(planes: Tensor, pixels: int) -> Tensor:
    """Return the means of square surroundings (..., C, H, W), which reach so far to each side."""
    length = 2 * pixels + 1
    padded = F.pad(planes, (pixels,) * 4, mode="replicate")
    faded: Tensor = F.avg_pool2d(F.avg_pool2d(padded, (length, 1), 1), (1, length), 1)
    return faded
