"""How good the inspector is, with bad as the positive class.

    report = evaluate(loaded, samples)
    report.as_dict()        # what `pillqc evaluate --json` prints

Metrics of whole images come from scikit-learn and scipy, those of pixels from
`pillqc.evaluation.pixels`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

from pillqc.data.folders import samples_of
from pillqc.data.images import GOOD, MULTI_FRAME, count_note
from pillqc.data.masks import MaskSurvey, read_mask, survey_masks
from pillqc.data.seen_images import without_seen
from pillqc.errors import DataError, PillqcError
from pillqc.evaluation.pixels import PixelGatherer, PixelMetrics
from pillqc.inspection.prediction import BATCH_SIZE, Prediction, Unreadable, predict
from pillqc.prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.model.network import LoadedModel

FALSE_REJECT_RATES: Final = (0.01, 0.05, 0.1)
"""Shares of good pills that are called bad, at which escapes are reported."""
CONFIDENCE: Final = 0.95
CALIBRATION_BINS: Final = 10

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Share:
    """So many of so many, with an exact interval."""

    count: int
    n: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that `pillqc evaluate` shows."""

    model: str
    trained: bool
    images: int
    good: int
    bad: int
    threshold: float
    image_auroc: float
    average_precision: float
    accuracy: float
    recall_bad: Share
    false_rejects: Share
    escapes_at_false_reject: dict[str, float]
    recall_by_defect: dict[str, Share]
    recall_by_defect_at_false_reject: dict[str, dict[str, float]]
    confusion: dict[str, int]
    ece: float
    brier: float
    pixels: PixelMetrics
    scores: Scores = field(repr=False)
    """Probability of bad of every image, in the order of `truth`."""
    truth: Labels = field(repr=False)
    """Which of them are bad."""
    left_out: int = 0
    """Images that the model had seen in training, and that did not judge it."""
    seen: int = 0
    """Images that it had seen and that judged it all the same, because that was asked for."""
    masks: MaskSurvey = field(default_factory=MaskSurvey)

    def as_dict(self) -> dict[str, Any]:
        """The object that scripts rely on."""
        return {
            "model": self.model,
            "trained": self.trained,
            "images": self.images,
            "left_out_as_seen": self.left_out,
            "seen_in_training": self.seen,
            "good": self.good,
            "bad": self.bad,
            "threshold": self.threshold,
            "image_auroc": self.image_auroc,
            "average_precision": self.average_precision,
            "accuracy": self.accuracy,
            "recall_bad": vars(self.recall_bad),
            "false_rejects": vars(self.false_rejects),
            "escape_rate_at_false_reject": self.escapes_at_false_reject,
            "recall_by_defect": {
                defect: vars(share)
                | {"at_false_reject": self.recall_by_defect_at_false_reject[defect]}
                for defect, share in self.recall_by_defect.items()
            },
            "confusion": self.confusion,
            "ece": self.ece,
            "brier": self.brier,
            **vars(self.pixels),
            "masks_used": self.masks.used,
            "masks_missing": self.masks.missing,
            "mask_values": self.masks.values,
        }


def samples_to_judge(
    loaded: LoadedModel, samples: Sequence[Sample], split: str | None, root: Path
) -> list[Sample]:
    """The samples of a split; without one, what is fit to judge the model.

    That is `test` where there is one. But a model that was trained on images of this folder was
    given its own split, so then it is all images, of which `evaluate` leaves out the seen ones.
    """
    if split is None and loaded.card is not None and without_seen(samples, loaded.card.seen)[1]:
        return list(samples)
    return samples_of(samples, split, root)


def evaluate(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    *,
    size: int | None = None,
    include_seen: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Show the model every sample once and compare; a file that cannot be read is an error.

    Images that it has seen in training are left out, and counted. Masks are looked at before.
    `on_note` is called with a line about files of several frames.
    """
    size = size or loaded.size
    unseen, seen = without_seen(samples, loaded.card.seen if loaded.card else "")
    if not include_seen:
        samples = unseen
    _check_both_kinds(samples, left_out=0 if include_seen else seen)
    masks = survey_masks(samples)
    gathered = PixelGatherer(box_threshold=loaded.box_threshold)
    bad = np.zeros(len(samples))
    frames: list[Path] = []
    results = predict(loaded.model, (s.path for s in samples), size=size)

    def judged(pair: tuple[Sample, Prediction | Unreadable]) -> float:
        sample, result = pair
        if isinstance(result, Unreadable):
            raise DataError(result.path, result.reason)
        if result.notes:
            frames.append(result.path)
        if not sample.bad or sample.mask is not None:
            gathered.add(result.heat, read_mask(sample, size))
        return result.bad

    pairs = zip(samples, results, strict=True)
    # maps are compared with masks in another thread while the next batch is computed
    for index, probability in enumerate(prefetch(judged, pairs, depth=2 * BATCH_SIZE)):
        bad[index] = probability
        if on_progress:
            on_progress(index + 1, len(samples))
    if frames:
        on_note(count_note(MULTI_FRAME, frames))
    report = judge(
        model=loaded.name,
        trained=loaded.trained,
        threshold=loaded.threshold,
        bad=bad,
        defects=[sample.defect for sample in samples],
        pixels=gathered.metrics(),
    )
    report = replace(report, masks=masks)
    return replace(report, seen=seen) if include_seen else replace(report, left_out=seen)


def judge(
    *,
    model: str,
    trained: bool,
    threshold: float,
    bad: Scores,
    defects: Sequence[str],
    pixels: PixelMetrics,
) -> Evaluation:
    """Compare probabilities of `bad` with what the pills are."""
    labels = np.array([defect != GOOD for defect in defects], dtype=np.bool_)
    rejected = bad >= threshold
    cuts = {str(rate): threshold_at(labels, bad, rate) for rate in FALSE_REJECT_RATES}
    names = np.asarray(defects)
    of_defect = {name: names == name for name in sorted(set(defects) - {GOOD})}
    return Evaluation(
        model=model,
        trained=trained,
        images=len(labels),
        good=int((~labels).sum()),
        bad=int(labels.sum()),
        threshold=threshold,
        image_auroc=float(metrics.roc_auc_score(labels, bad)),
        average_precision=float(metrics.average_precision_score(labels, bad)),
        accuracy=float((rejected == labels).mean()),
        recall_bad=share(int(rejected[labels].sum()), int(labels.sum())),
        false_rejects=share(int(rejected[~labels].sum()), int((~labels).sum())),
        escapes_at_false_reject={
            rate: float((bad[labels] < cut).mean()) for rate, cut in cuts.items()
        },
        recall_by_defect={
            name: share(int(rejected[mine].sum()), int(mine.sum()))
            for name, mine in of_defect.items()
        },
        recall_by_defect_at_false_reject={
            name: {rate: float((bad[mine] >= cut).mean()) for rate, cut in cuts.items()}
            for name, mine in of_defect.items()
        },
        confusion={
            "good_called_good": int((~labels & ~rejected).sum()),
            "good_called_bad": int((~labels & rejected).sum()),
            "bad_called_good": int((labels & ~rejected).sum()),
            "bad_called_bad": int((labels & rejected).sum()),
        },
        ece=calibration_error(labels, bad),
        brier=float(metrics.brier_score_loss(labels, bad)),
        pixels=pixels,
        scores=bad,
        truth=labels,
    )


def share(count: int, n: int, confidence: float = CONFIDENCE) -> Share:
    """A share with its Clopper-Pearson interval; nothing is known of 0 of 0."""
    if n == 0:
        return Share(count=0, n=0, share=None, low=0.0, high=1.0)
    interval = stats.binomtest(count, n).proportion_ci(confidence, method="exact")
    return Share(
        count=count, n=n, share=count / n, low=float(interval.low), high=float(interval.high)
    )


def threshold_at(labels: Labels, bad: Scores, false_reject: float) -> float:
    """The lowest threshold that calls at most this share of the good pills bad.

    It lies just above a good pill's own probability: a pill is bad from the threshold on.
    """
    good = np.sort(bad[~labels])[::-1]
    allowed = int(np.floor(false_reject * len(good) + 1e-9))
    if allowed >= len(good):
        return 0.0
    return float(np.nextafter(good[allowed], np.inf))


def calibration_error(labels: Labels, bad: Scores, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: mean distance of probability and frequency over equal bins."""
    which = np.minimum((bad * bins).astype(np.int64), bins - 1)
    error = 0.0
    for number in range(bins):
        mine = which == number
        if mine.any():
            error += float(mine.mean()) * abs(float(labels[mine].mean()) - float(bad[mine].mean()))
    return error


def _check_both_kinds(samples: Sequence[Sample], *, left_out: int = 0) -> None:
    if left_out and not samples:
        raise PillqcError(
            f"the model has seen all {left_out} images in training, so they cannot judge it; give"
            " --data with others"
        )
    if len({sample.bad for sample in samples}) == 2:
        return
    if left_out:
        raise PillqcError(
            f"without the {left_out} images that the model has seen in training, one kind only is"
            " left; an evaluation needs good and bad images"
        )
    kinds = ", ".join(sorted({sample.defect for sample in samples}))
    raise PillqcError(
        f"an evaluation needs good and bad images; the data holds one kind only ({kinds})"
    )
