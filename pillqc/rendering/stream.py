"""Yield freshly rendered pills without end: every image is new, and all are repeatable.

    for images, masks, kinds in stream(StreamPlan(seed=0, size=112), start=0, count=6400): ...

Image n depends on the seed and n only, so a training that resumes at n sees the same images as one
that was never stopped. No image of a stream is in a data set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pillqc.data.images import GOOD, MEAN, STD
from pillqc.rendering.dataset import image_seed
from pillqc.rendering.design import DEFAULT_DESIGN, PillDesign
from pillqc.rendering.scene import DEFECTS, render

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD_SHARE: Final = 0.5
KINDS: Final = (GOOD, *DEFECTS)
"""What the numbers of a batch stand for."""
_HARD: Final = {"faulty_imprint": 2.0, "crack": 1.5, "scratch": 1.5}
"""Weights of defects that are learnt late; the others have 1."""
_MEAN: Final = np.asarray(MEAN, np.float32)
_STD: Final = np.asarray(STD, np.float32)


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """The settings of a stream."""

    seed: int = 0
    size: int = 112
    batch_size: int = 32
    jobs: int = 2
    """Processes that render; 0: this process renders."""
    design: PillDesign = field(default_factory=lambda: DEFAULT_DESIGN)


class _Rendered(Dataset[tuple[Tensor, Tensor, int]]):
    def __init__(self, plan: StreamPlan, start: int, count: int) -> None:
        self._plan, self._start, self._count = plan, start, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        plan, number = self._plan, self._start + index
        defect = kind_of(plan.seed, number)
        seed = image_seed(plan.seed, "stream", defect, number)
        pill = render(seed=seed, size=plan.size, defect=defect, design=plan.design)
        pixels = (pill.image.astype(np.float32) / np.float32(255.0) - _MEAN) / _STD
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return image, torch.from_numpy(pill.mask), KINDS.index(defect)


def kind_of(seed: int, number: int) -> str:
    """Return the defect of image `number`, or `good`."""
    rng = np.random.default_rng(image_seed(seed, "kind", "", number))
    if rng.uniform() < GOOD_SHARE:
        return GOOD
    weights = np.array([_HARD.get(defect, 1.0) for defect in DEFECTS])
    return str(rng.choice(DEFECTS, p=weights / weights.sum()))


def stream(plan: StreamPlan, *, start: int, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield whole batches (images, masks, kinds) of the images `start` to `start + count`."""
    loader = DataLoader(
        _Rendered(plan, start, count),
        batch_size=plan.batch_size,
        num_workers=plan.jobs,
        multiprocessing_context="spawn" if plan.jobs else None,
        prefetch_factor=4 if plan.jobs else None,
        drop_last=True,
    )
    yield from loader
