"""Changes that a photograph may undergo without its label changing.

    images, masks = augment(images, generator, masks)

A few degrees, a few percent, a little light, blur and noise. No flip: it mirrors the imprint, which
is a faulty imprint. No hue: it makes a colour defect. `LIMITS` is all there is.
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
    """Share of full scale; the same for the three channels."""
    contrast: float = 0.08
    blur_share: float = 0.25
    """Share of images that are blurred, by three pixels."""
    noise: float = 0.006
    """Deviation, share of full scale."""


LIMITS: Final = Limits()
_BLUR: Final = (0.25, 0.5, 0.25)


def augment(
    images: Tensor,
    generator: torch.Generator,
    masks: Tensor | None = None,
    limits: Limits = LIMITS,
) -> tuple[Tensor, Tensor | None]:
    """Change normalised images (N, 3, H, W), and masks (N, H, W) along with them."""
    count = len(images)
    pose = _pose(count, generator, limits).to(images.device)
    grid = F.affine_grid(pose, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if masks is not None:
        masks = _posed(masks, pose)
    std = torch.tensor(STD, device=images.device)[:, None, None]
    mean = torch.tensor(MEAN, device=images.device)[:, None, None]
    light = images * std + mean
    gain = 1.0 + _uniform(count, generator, limits.contrast).to(images.device)
    offset = _uniform(count, generator, limits.brightness).to(images.device)
    centre = light.mean((1, 2, 3), keepdim=True)
    light = (light - centre) * gain + centre + offset * centre
    light = _some_blurred(light, generator, limits.blur_share)
    noise = torch.randn(images.shape, generator=generator).to(images.device) * limits.noise
    return ((light + noise).clamp(0.0, 1.0) - mean) / std, masks


def moved(masks: Tensor, generator: torch.Generator, limits: Limits = LIMITS) -> Tensor:
    """Masks (N, H, W) as `augment` moves them along with images, by a generator in that state."""
    return _posed(masks, _pose(len(masks), generator, limits))


def _posed(masks: Tensor, pose: Tensor) -> Tensor:
    levels = masks[:, None].float()
    grid = F.affine_grid(pose, list(levels.shape), align_corners=False)
    return F.grid_sample(levels, grid, mode="nearest", align_corners=False)[:, 0] > 0.5


def _pose(count: int, generator: torch.Generator, limits: Limits) -> Tensor:
    angle = _uniform(count, generator, math.radians(limits.rotation_degrees)).flatten()
    shift = _uniform(2 * count, generator, 2.0 * limits.shift).reshape(count, 2)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    return torch.stack(rows, dim=1)


def _some_blurred(light: Tensor, generator: torch.Generator, share: float) -> Tensor:
    chosen = torch.rand(len(light), generator=generator) < share
    line = torch.tensor(_BLUR, device=light.device, dtype=light.dtype)
    kernel = (line[:, None] * line[None, :]).expand(3, 1, 3, 3)
    blurred = F.conv2d(F.pad(light, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    return torch.where(chosen.to(light.device)[:, None, None, None], blurred, light)


def _uniform(count: int, generator: torch.Generator, most: float) -> Tensor:
    return ((torch.rand(count, generator=generator) * 2.0 - 1.0) * most)[:, None, None, None]
