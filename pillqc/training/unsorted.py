"""Make a model from unsorted pictures, of which up to half may be bad.

    made = make_unsorted(paths, weights="hed", invented=120, most=60)
    save_artifact(out, made.model, made.card, dtype=torch.float16)

It teaches itself. Pictures that are like many others come first: the less suspicious half is taken
for good, defects are invented on it, and judges learn from both which pictures are suspicious
(`pillqc.training.judging`). Each picture is judged by one that has not learnt from it, the half is
chosen again by what they say, and so on. This serves where the judges find defects that they have
not seen; where they do not, the half is one of chance, and its choice goes anywhere.

Yoon, Sohn, Li, Arik, Lee and Pfister, "Self-supervise, Refine, Repeat", TMLR 2022, leave out
suspicious pictures in turns as well.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from pillqc.evaluation.calibration import FALSE_REJECTS, SHARES, UNDECIDED_REJECTS
from pillqc.inspection.prediction import BATCH_SIZE
from pillqc.model.comparison import among_mixed
from pillqc.model.judging import JudgingVGG
from pillqc.model.network import DEFAULT_SIZE, load_model
from pillqc.training.comparing import Comparison, check_enough, comparison_card, low_limits
from pillqc.training.described_pictures import by_content, describe, evenly
from pillqc.training.judge_fit import FOLDS, fit_judge, held_out_scores
from pillqc.training.judge_lesson import make_lesson
from pillqc.training.judging import set_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

MOST: Final = 200
"""Pictures that it learns from: each takes 6 MB meanwhile."""
TURNS: Final = 3
"""How often the half that is taken for good is chosen."""


def make_unsorted(
    paths: Sequence[Path],
    *,
    weights: str | None = "hed",
    invented: int,
    most: int,
    size: int = DEFAULT_SIZE,
    seed: int = 0,
    on_note: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    """Describe the pictures by the features of the weights, and fit a judge of the differences.

    Args:
        paths: pictures of good and bad pills; copies of a picture count once.
        weights: as `load_model` takes them. Those of photographs serve best.
        invented: how many defects to invent in each turn.
        most: how many pictures to compare with; evenly spaced in their order.
        size: side to which pictures are resized, in pixels.
        seed: of what is random in the fits and in the invented defects.
        on_note: is told of files that cannot be read, and if hardly any invented defect is found.
        on_progress: is told how many of how many pictures and fits are done.

    Raises:
        PillqcError: there are too few pictures, or they do not differ.
    """
    started = time.monotonic()
    source = load_model(weights)
    kept = evenly(list(by_content(paths, on_note)), MOST)
    check_enough(len(kept), mixed=True)
    model = JudgingVGG(pictures=0, size=size).eval()
    model.take_features(source.model.features)
    a_turn = invented + FOLDS
    work = len(kept) + TURNS * a_turn + 1

    def told(before: int) -> Callable[[int], None]:
        return lambda done: on_progress(before + done, work)

    read, described = describe(model, kept, on_note=on_note, on_read=told(0))
    count = len(read)
    check_enough(count, mixed=True)
    suspicion = _unlike_the_others(model, described)
    for turn in range(TURNS):
        good = np.sort(np.argsort(suspicion, kind="stable")[: (count + 1) // 2]).tolist()
        before = len(kept) + turn * a_turn
        lesson = make_lesson(
            model,
            read,
            described,
            [None] * count,
            good=good,
            most=most,
            invented=invented,
            seed=seed + turn,
            on_invented=told(before),
        )
        teaching = lesson.bad.clone()
        teaching[good] = True
        scores = held_out_scores(
            lesson, teaching=teaching, seed=seed, on_fold=told(before + invented)
        )
        suspicion = scores[:count]
        if turn + 1 < TURNS:
            del lesson  # a gigabyte, before the next one is made
    del described
    taught = lesson.of(teaching)
    del lesson
    model.judge = fit_judge(taught, seed=seed)
    on_progress(work, work)
    limits = low_limits(suspicion, (*SHARES, FALSE_REJECTS, UNDECIDED_REJECTS))
    found = scores >= limits[FALSE_REJECTS]
    made, invented_found = len(found) - count, int(found[count:].sum())
    if 2 * invented_found < made:
        on_note(
            f"{invented_found} of {made} invented defects found: too few to trust this model; sort"
            " the pictures, and make it of good ones"
        )
    return Comparison(
        model=model,
        card=comparison_card(
            read,
            [False] * count,
            limits=set_limits(
                model, taught, scores[teaching.numpy()], limits, dict.fromkeys(limits, 0.0)
            ),
            size=size,
            training={"seconds": round(time.monotonic() - started, 1), "seed": seed},
            seen="",  # nobody said which are bad: they may judge it
            compares={
                "pictures": model.references.shape[1],
                "mixed": True,
                "features": source.name,
                "bad": 0,
                "invented": made,
            },
        ),
        pictures=model.references.shape[1],
        good=count,
        called_bad=int(found[:count].sum()),
        invented=made,
        invented_found=invented_found,
    )


@torch.inference_mode()
def _unlike_the_others(model: JudgingVGG, described: Tensor) -> NDArray[np.float64]:
    """Return how far the most unusual place of each picture is from the others (N)."""
    model.references = described.flatten(2).permute(2, 0, 1).contiguous()
    parts = [
        among_mixed(model.distances(described[first : first + BATCH_SIZE])).flatten(1).amax(1)
        for first in range(0, len(described), BATCH_SIZE)
    ]
    return torch.cat(parts).double().numpy()
