"""Make a model that compares with good pictures, and learns what to look for.

    made = make_judgement(good, bad, weights="hed", beside=None, invented=120, most=60)
    save_artifact(out, made.model, made.card, dtype=torch.float16)

The judge sees only how pictures differ from those of good pills, a good one from the others. It
learns from bad pictures, and from defects that are invented on good ones: from the masks where a
defect is, and from each picture whether there is one. What a good pill may have is estimated from
pictures that the judge has not learnt from: it is fitted four times without a quarter of them, each
time another one, and then with all of them. Platt's sigmoid of those scores is the probability's
steepness, and the threshold is where one more good pill exceeds it with a probability of 1 %
(Student's t, as in `pillqc.training.comparing`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy import special

from pillqc.data.seen_images import encode_seen
from pillqc.errors import PillqcError, shown
from pillqc.evaluation.calibration import FALSE_REJECTS, SHARES, UNDECIDED_REJECTS
from pillqc.evaluation.defect_calibration import fit_sigmoid
from pillqc.model.judging import JudgingVGG, evidence
from pillqc.model.narrowing import decision_form, narrow_form
from pillqc.model.network import DEFAULT_SIZE, load_model
from pillqc.training.comparing import (
    Comparison,
    check_enough,
    comparison_card,
    score_limits,
)
from pillqc.training.described_pictures import by_content, describe, evenly
from pillqc.training.judge_fit import FOLDS, fit_judge, held_out_scores
from pillqc.training.judge_lesson import make_lesson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.data.images import Sample
    from pillqc.model.network import LoadedModel
    from pillqc.training.judge_fit import Lesson

FEWEST_BAD: Final = 10
"""Bad pictures below which there is little to learn."""
MOST_GOOD: Final = 300
"""Good pictures that the judge learns from: each takes 6 MB meanwhile."""
_ALL: Final = (*SHARES, FALSE_REJECTS, UNDECIDED_REJECTS)
_CERTAIN: Final = 1e-6
"""A threshold so near to 0 or 1 has no farther logit."""


def make_judgement(
    good: Sequence[Path],
    bad: Sequence[Sample],
    *,
    weights: str | None = "hed",
    beside: LoadedModel | None = None,
    invented: int = 0,
    most: int,
    size: int = DEFAULT_SIZE,
    seed: int = 0,
    on_note: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    """Describe the pictures by the features of the weights, and fit a judge of the differences.

    Args:
        good: pictures of good pills; copies of a picture count once.
        bad: those with a defect, and their masks.
        weights: as `load_model` takes them. Those of photographs serve best.
        beside: a model of the same product that `pillqc train` made; its evidence is added.
        invented: how many defects to invent on good pictures, which teach as bad pictures do.
        most: how many good pictures to compare with; evenly spaced in their order.
        size: side to which pictures are resized, in pixels.
        seed: of what is random in the fits.
        on_note: is told of files that cannot be read.
        on_progress: is told how many of how many pictures and fits are done.

    Raises:
        PillqcError: there are too few pictures, or `beside` cannot judge pictures of this size.
        DataError: a mask cannot be used.
    """
    started = time.monotonic()
    beside_limits = _limits_beside(beside, size)
    source = load_model(weights)
    model = JudgingVGG(pictures=0, size=size).eval()
    model.take_features(source.model.features)
    paths, digests = _different(good, bad, on_note)
    with_defect = {sample.path: sample for sample in bad}
    # before minutes of describing them
    _check_numbers([with_defect.get(path) for path in paths], invented)
    work = len(paths) + invented + FOLDS + 1
    read, described = describe(
        model, paths, on_note=on_note, on_read=lambda done: on_progress(done, work)
    )
    samples = [with_defect.get(one.path) for one in read]
    _check_numbers(samples, invented)
    lesson = make_lesson(
        model,
        read,
        described,
        samples,
        most=most,
        invented=invented,
        seed=seed,
        on_invented=lambda done: on_progress(len(paths) + done, work),
    )
    del described
    fitted = work - FOLDS - 1
    scores = held_out_scores(
        lesson, seed=seed, on_fold=lambda done: on_progress(fitted + done, work)
    )
    model.judge = fit_judge(lesson, seed=seed)
    on_progress(work, work)
    is_bad = np.array([sample is not None for sample in samples], dtype=np.bool_)
    limits = score_limits(scores[: len(read)][~is_bad], beside_limits, mixed=False)[1]
    # how certain a defect is cannot be learnt from invented ones where real ones are known
    known = len(read) if is_bad.any() else len(scores)
    probabilities = set_limits(model, lesson, scores[:known], limits, beside_limits)
    if beside:
        model.beside = narrow_form(decision_form(beside.model)).eval()
    found = scores >= float(model.settings[0])
    seen = beside.card.seen if beside and beside.card else ""
    of_real, of_invented = found[: len(read)], found[len(read) :]
    return Comparison(
        model=model,
        card=comparison_card(
            read,
            is_bad.tolist(),
            limits=probabilities,
            size=size,
            training={"seconds": round(time.monotonic() - started, 1), "seed": seed},
            seen=encode_seen((digests[one.path] for one in read), seen),
            compares={
                "pictures": model.references.shape[1],
                "mixed": False,
                "features": source.name,
                "bad": int(is_bad.sum()),
                "invented": len(of_invented),
                **({"beside": beside.name} if beside else {}),
            },
        ),
        pictures=model.references.shape[1],
        good=int((~is_bad).sum()),
        called_bad=int(of_real[~is_bad].sum()),
        bad=int(is_bad.sum()),
        found=int(of_real[is_bad].sum()),
        invented=len(of_invented),
        invented_found=int(of_invented.sum()),
    )


def _different(
    good: Sequence[Path], bad: Sequence[Sample], on_note: Callable[[str], None]
) -> tuple[list[Path], dict[Path, str]]:
    """Return the pictures to learn from, good ones first, and the digest of every readable one.

    Raises:
        PillqcError: a picture is good and bad at once.
    """
    of_good = by_content(good, on_note)
    of_bad = by_content([sample.path for sample in bad], on_note)
    _check_apart(of_good, of_bad)
    return [*evenly(list(of_good), MOST_GOOD), *of_bad], of_good | of_bad


def _limits_beside(beside: LoadedModel | None, size: int) -> dict[float, float]:
    """Return the logits at which a model calls shares of good pills bad, as far as it knows them.

    Without a model all of them are 0.

    Raises:
        PillqcError: it is not trained, or for pictures of another size.
    """
    if beside is None:
        return dict.fromkeys(_ALL, 0.0)
    if not beside.trained or beside.card is None:
        raise PillqcError(f"{beside.name}: not trained; give a model of `pillqc train`")
    if beside.size != size:
        raise PillqcError(
            f"{beside.name}: for pictures of {beside.size} px, not of {size}: give the same --size"
        )
    known = {float(share): threshold for share, threshold in beside.card.thresholds.items()}
    known[FALSE_REJECTS] = beside.threshold
    known[UNDECIDED_REJECTS] = beside.undecided[0] if beside.undecided else beside.threshold
    inside = {share: min(max(known[share], _CERTAIN), 1.0 - _CERTAIN) for share in known}
    return {share: float(special.logit(inside[share])) for share in _ALL if share in inside}


def _check_apart(good: Mapping[Path, str], bad: Mapping[Path, str]) -> None:
    """Raise a `PillqcError` if a picture is good and bad at once."""
    both = set(good.values()) & set(bad.values())
    for path, digest in good.items():
        if digest in both:
            raise PillqcError(
                f"{shown(path)}: is given as good, and its content is among the bad pictures, too;"
                " leave it out of one of them"
            )


def _check_numbers(samples: Sequence[Sample | None], invented: int) -> None:
    """Raise a `PillqcError` if there are too few pictures to learn from."""
    check_enough(samples.count(None))
    bad = [sample for sample in samples if sample is not None]
    if invented:
        return
    if len(bad) < FEWEST_BAD:
        raise PillqcError(
            f"{len(bad)} different pictures of bad pills: fewer than {FEWEST_BAD} do not show what"
            " to look for; give more, or have defects invented"
        )
    if not any(sample.mask for sample in bad):
        raise PillqcError(
            "no bad picture has a mask, which tells where its defect is: put masks into"
            " ground_truth/, or have defects invented"
        )


@torch.inference_mode()
def set_limits(
    model: JudgingVGG,
    lesson: Lesson,
    scores: NDArray[np.float64],
    limits: Mapping[float, float],
    beside: Mapping[float, float],
) -> dict[float, float]:
    """Set the model's settings; return the probability at which shares of good pills are bad.

    Args:
        model: has its judge.
        lesson: what it has learnt.
        scores: of the first of its pictures by judges that had not learnt from them; they tell how
            certain a defect is.
        limits: the evidence that so large a share of good pills exceeds.
        beside: logits of the model beside at these shares.
    """
    steepness, _ = fit_sigmoid(scores, lesson.bad[: len(scores)].float().numpy())
    usual = float(evidence(model.judge(lesson.differences[~lesson.bad])).median())
    limit, at_beside = limits[FALSE_REJECTS], beside[FALSE_REJECTS]
    model.settings = torch.tensor([limit, steepness, usual, at_beside])
    return {
        share: float(special.expit(steepness * (limits[share] - limit) + logit - at_beside))
        for share, logit in beside.items()
    }
