"""Make what a judge learns from: how good pictures, bad ones and invented defects differ.

    lesson = make_lesson(model, read, described, samples, most=60, invented=240, seed=0)

It gives the model its pictures to compare with. A picture is not compared with itself, nor an
invented defect with the picture that it was made of.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor

from pillqc.data.images import MEAN, STD
from pillqc.data.masks import read_mask
from pillqc.inspection.prediction import BATCH_SIZE
from pillqc.training.described_pictures import evenly
from pillqc.training.invented_defects import invent
from pillqc.training.judge_fit import Lesson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pillqc.data.images import Sample
    from pillqc.inspection.prediction import Decoded
    from pillqc.model.judging import JudgingVGG


@torch.inference_mode()
def make_lesson(
    model: JudgingVGG,
    read: Sequence[Decoded],
    described: Tensor,
    samples: Sequence[Sample | None],
    *,
    good: Sequence[int] | None = None,
    most: int,
    invented: int,
    seed: int,
    on_invented: Callable[[int], None] = lambda _: None,
) -> Lesson:
    """Return the lesson of these pictures, and then of invented defects.

    Args:
        model: its features describe; it gets its pictures to compare with.
        read: the pictures.
        described: their features (N, 896, side, side).
        samples: those that are bad; None is a good one.
        good: the numbers of those to compare with and to invent defects on; None is all good ones.
        most: how many good ones to compare with; evenly spaced in their order.
        invented: how many defects to invent on the good ones.
        seed: of the invented ones.
        on_invented: is told how many are done.
    """
    if good is None:
        good = [number for number, sample in enumerate(samples) if sample is None]
    chosen = torch.tensor(evenly(good, most))
    model.references = described[chosen].flatten(2).permute(2, 0, 1).contiguous()
    own = torch.full((len(samples),), -1)
    own[chosen] = torch.arange(len(chosen))
    # gigabytes, which joining parts would hold twice
    differences = torch.empty(len(described) + invented, *described.shape[1:])
    for first in range(0, len(described), BATCH_SIZE):
        these = slice(first, min(first + BATCH_SIZE, len(described)))
        differences[these] = model.differences(described[these], own[these])
    cells = [_cells(sample, model.size, model.side) for sample in samples]
    group = list(range(len(samples)))
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    plain = torch.from_numpy(np.stack([read[number].pixels for number in good])) * std + mean
    made = invent(plain, invented, seed=seed)
    while batch := list(islice(made, BATCH_SIZE)):
        pictures = (torch.stack([one.picture for one in batch]) - mean) / std
        sources = [good[one.source] for one in batch]
        these = slice(len(group), len(group) + len(batch))
        differences[these] = model.differences(model.described(pictures), own[sources])
        cells += [_covered(one.mask, model.side) for one in batch]
        group += sources
        on_invented(len(group) - len(samples))
    bad = torch.tensor([sample is not None for sample in samples])
    return Lesson(
        differences=differences[: len(group)],
        cells=torch.stack(cells),
        bad=torch.cat([bad, torch.ones(len(group) - len(samples), dtype=torch.bool)]),
        group=torch.tensor(group),
    )


def _cells(sample: Sample | None, size: int, side: int) -> Tensor:
    """Return the targets of a picture's cells (side, side), as a `Lesson` has them."""
    if sample is None:
        return torch.zeros(side, side)
    if sample.mask is None:
        return torch.full((side, side), torch.nan)
    return _covered(torch.from_numpy(read_mask(sample, size)), side)


def _covered(mask: Tensor, side: int) -> Tensor:
    """Return 1 for cells that a mask covers in part, NaN beside them and 0 elsewhere."""
    covered = F.adaptive_max_pool2d(mask.float()[None, None], side)
    unclear = F.max_pool2d(covered, 3, 1, 1) > 0.0
    cells = torch.where(unclear, torch.nan, 0.0)
    targets: Tensor = torch.where(covered > 0.0, 1.0, cells)
    return targets[0, 0]
