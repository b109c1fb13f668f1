"""Fit a judge of differences from good pictures: which of them are defects.

lesson = Lesson(differences=differences, cells=cells, bad=bad, group=group)
judge = fit_judge(lesson, seed=0)
scores = held_out_scores(lesson, seed=0)     # of each picture by a judge that has not seen it
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from pillqc.model.judging import evidence, make_judge, pill_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

FOLDS: Final = 4
SHOWN: Final = 4_800
"""How many pictures a fit sees, each many times: 40 epochs of 120."""
BATCH: Final = 20
_RATE: Final = 2e-3
_WEIGHT_DECAY: Final = 1e-3
_DROPPED: Final = 0.3
"""Of the features, in each picture others, so that no single one is relied upon."""
_DROPPED_HIDDEN: Final = 0.2
_OF_PICTURES: Final = 0.5
"""Weight of the loss of whole pictures; that of cells has 1."""
_LEAST: Final = 1e-4
"""Deviation below which a feature hardly ever differs (others: about .004): not more is made of it,
and its weights stay in the range of half precision."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a judge learns from."""

    differences: Tensor
    """Of each picture from good ones (N, 896, side, side)."""
    cells: Tensor
    """1 where a cell is of a defect, 0 where of none, NaN where that is not known (N, side,
    side)."""
    bad: Tensor
    """Which pictures have a defect, bool (N)."""
    group: Tensor
    """Those with the same number are learnt or left out together, integers (N): a picture and what
    was made of it."""

    def of(self, chosen: Tensor) -> Lesson:
        """Return the part of the chosen pictures, bool (N)."""
        return Lesson(
            differences=self.differences[chosen],
            cells=self.cells[chosen],
            bad=self.bad[chosen],
            group=self.group[chosen],
        )


def fit_judge(lesson: Lesson, *, seed: int = 0) -> nn.Sequential:
    """Return a judge that has learnt the lesson; the same seed gives the same one.

    Defects and what is free of them weigh alike, among cells and among pictures.
    """
    mean = lesson.differences.mean((0, 2, 3))
    deviation = lesson.differences.std((0, 2, 3)).clamp_min(_LEAST)
    known = ~lesson.cells.isnan()
    cells = lesson.cells.nan_to_num()
    of_cells = torch.where(cells > 0.0, *_balanced(cells[known] > 0.0)) * known
    bad = lesson.bad.float()
    of_pictures = torch.where(lesson.bad, *_balanced(lesson.bad))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = make_judge()
        dropping = nn.Sequential(
            nn.Dropout2d(_DROPPED), judge[0], judge[1], nn.Dropout2d(_DROPPED_HIDDEN), judge[2]
        )
        optimizer = torch.optim.AdamW(judge.parameters(), _RATE, weight_decay=_WEIGHT_DECAY)
        steps = SHOWN // BATCH
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
        for batch in islice(_batches(len(bad)), steps):
            inputs = (lesson.differences[batch] - _wide(mean)) / _wide(deviation)
            found = evidence(dropping(inputs))
            loss = _weighted(found, cells[batch], of_cells[batch])
            loss = loss + _OF_PICTURES * _weighted(
                pill_evidence(found), bad[batch], of_pictures[batch]
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch has no annotation there
            optimizer.step()
            rate.step()
    return _without_standardising(judge, mean, deviation)


def held_out_scores(
    lesson: Lesson,
    *,
    teaching: Tensor | None = None,
    seed: int = 0,
    on_fold: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float64]:
    """Return each picture's evidence by a judge that has not learnt from it (N).

    Args:
        lesson: all pictures.
        teaching: those that may be learnt from, bool (N); None is all of them.
        seed: of the folds and the fits.
        on_fold: is told how many folds are done.
    """
    scores = np.empty(len(lesson.bad))
    for number, chosen in enumerate(_folds(lesson, seed), start=1):
        learnt = ~chosen if teaching is None else ~chosen & teaching
        judge = fit_judge(lesson.of(learnt), seed=seed)
        with torch.inference_mode():
            found = pill_evidence(evidence(judge(lesson.differences[chosen])))
        scores[chosen.numpy()] = found.numpy()
        on_fold(number)
    return scores


def _folds(lesson: Lesson, seed: int) -> Iterator[Tensor]:
    """Yield which pictures each fold leaves out, bool (N): as many good and bad ones in each."""
    groups, numbers = np.unique(lesson.group.numpy(), return_inverse=True)
    group = torch.from_numpy(numbers)
    with_good = torch.zeros(len(groups), dtype=torch.bool)
    with_good[group[~lesson.bad]] = True
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(groups), generator=generator)
    fold_of = torch.empty(len(groups), dtype=torch.int64)
    for kind in (True, False):
        of_kind = order[with_good[order] == kind]
        fold_of[of_kind] = torch.arange(len(of_kind)) % FOLDS
    for fold in range(FOLDS):
        yield fold_of[group] == fold


def _batches(count: int) -> Iterator[Tensor]:
    """Yield the pictures of one batch after another, all of them equally often."""
    while True:
        order = torch.randperm(count)
        for first in range(0, count, BATCH):
            yield order[first : first + BATCH]


def _balanced(positive: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights of positive and other values with which both kinds count alike."""
    share = positive.float().mean().clamp(1.0 / len(positive), 1.0)
    return 0.5 / share, 0.5 / (1.0 - share).clamp_min(1.0 / len(positive))


def _weighted(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, weight=weights)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None]


@torch.no_grad()
def _without_standardising(judge: nn.Sequential, mean: Tensor, deviation: Tensor) -> nn.Sequential:
    """Return the judge of differences as they are, in place of standardised ones."""
    first = cast("nn.Conv2d", judge[0])
    first.weight /= _wide(deviation)
    cast("Tensor", first.bias).sub_((first.weight * _wide(mean)).sum((1, 2, 3)))
    return judge.eval().requires_grad_(requires_grad=False)
