"""Change a photograph at random in ways that keep its label.

    images = augment(images, torch.Generator().manual_seed(7))
    masks = augment_masks(masks, torch.Generator().manual_seed(7))    # moved as the images are

A few degrees and percent, a little light, blur and noise. No flip, because a mirrored imprint is a
faulty one; no change of hue, because that is a colour defect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor

from pillqc.data.images import MEAN, STD


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that each change may do."""

    rotation_degrees: float = 2.0
    shift: float = 0.015
    """Share of the image side."""
    brightness: float = 0.06
    """Share of full scale, the same for the three channels."""
    contrast: float = 0.08
    blur_share: float = 0.25
    """Share of images that are blurred, by three pixels."""
    noise: float = 0.006
    """Standard deviation, as a share of full scale."""


LIMITS: Final = Limits()
_BLUR: Final = (0.25, 0.5, 0.25)


def augment(images: Tensor, generator: torch.Generator, limits: Limits = LIMITS) -> Tensor:
    """Return changed copies of normalised images (N, 3, H, W)."""
    count = len(images)
    grid = F.affine_grid(_poses(count, generator, limits), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    light = images * std + mean
    gain = 1.0 + _uniform(count, generator, limits.contrast)
    offset = _uniform(count, generator, limits.brightness)
    centre = light.mean((1, 2, 3), keepdim=True)
    light = (light - centre) * gain + centre + offset * centre
    light = _blur_some(light, generator, limits.blur_share)
    noise = torch.randn(images.shape, generator=generator) * limits.noise
    return ((light + noise).clamp(0.0, 1.0) - mean) / std


def augment_masks(masks: Tensor, generator: torch.Generator, limits: Limits = LIMITS) -> Tensor:
    """Return masks (N, H, W) moved as `augment` moves images with a generator in that state."""
    levels = masks[:, None].float()
    grid = F.affine_grid(
        _poses(len(masks), generator, limits), list(levels.shape), align_corners=False
    )
    return F.grid_sample(levels, grid, mode="nearest", align_corners=False)[:, 0] > 0.5


def _poses(count: int, generator: torch.Generator, limits: Limits) -> Tensor:
    """Return random rotations and shifts as matrices (count, 2, 3)."""
    angle = _uniform(count, generator, math.radians(limits.rotation_degrees)).flatten()
    shift = _uniform(2 * count, generator, 2.0 * limits.shift).reshape(count, 2)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    return torch.stack(rows, dim=1)


def _blur_some(light: Tensor, generator: torch.Generator, share: float) -> Tensor:
    chosen = torch.rand(len(light), generator=generator) < share
    line = torch.tensor(_BLUR, dtype=light.dtype)
    kernel = (line[:, None] * line[None, :]).expand(3, 1, 3, 3)
    blurred = F.conv2d(F.pad(light, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    return torch.where(chosen[:, None, None, None], blurred, light)


def _uniform(count: int, generator: torch.Generator, most: float) -> Tensor:
    return ((torch.rand(count, generator=generator) * 2.0 - 1.0) * most)[:, None, None, None]
