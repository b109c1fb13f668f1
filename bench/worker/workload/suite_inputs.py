"""Make inputs of the suite's models that take something else than one batch of images."""

from __future__ import annotations

import torch

_SIDE = 320


def image_list(batch_size: int) -> tuple[list[torch.Tensor]]:
    """Return what detectors take: a list of images, float32 (3, 320, 320), 0 to 1."""
    return ([torch.rand(3, _SIDE, _SIDE) for _ in range(batch_size)],)
