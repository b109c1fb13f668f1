"""Compare a model's decisions and heat maps with the truth; `bad` is the positive class.

    report = evaluate(loaded, samples)
    report.as_dict()        # what `pillqc evaluate --json` prints

Metrics of whole images come from scikit-learn and scipy, those of pixels from
`pillqc.evaluation.pixels`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from pillqc.data.folders import samples_of
from pillqc.data.images import GOOD, MULTI_FRAME, count_note
from pillqc.data.masks import MaskSurvey, read_mask, survey_masks
from pillqc.data.seen_images import without_seen
from pillqc.errors import DataError, PillqcError
from pillqc.evaluation.naming import Naming, judge_names
from pillqc.evaluation.pixels import PixelGatherer, PixelMetrics
from pillqc.evaluation.shares import Share, share
from pillqc.inspection.novelty import advice, outside_limits
from pillqc.inspection.prediction import BATCH_SIZE, Prediction, Unreadable, predict
from pillqc.prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.model.network import LoadedModel

FALSE_REJECT_RATES: Final = (0.01, 0.05, 0.1)
"""Shares of good pills called bad at which the escapes are reported."""
CALIBRATION_BINS: Final = 10

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DefectRecall(Share):
    """How many pills with one defect are called bad at the model's threshold."""

    at_false_reject: dict[str, float]
    """False-reject rate -> recall at the threshold of that rate."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:  # more than 15 fields: they are the keys of the JSON
    """Everything that `pillqc evaluate` shows; a field's name is its key in the JSON."""

    model: str
    trained: bool
    images: int
    left_out_as_seen: int = 0
    """Images left out because the model saw them in training."""
    seen_in_training: int = 0
    """Images included although the model saw them in training (`--include-seen`)."""
    good: int
    bad: int
    threshold: float
    image_auroc: float
    average_precision: float
    accuracy: float
    recall_bad: Share
    false_rejects: Share
    escape_rate_at_false_reject: dict[str, float]
    recall_by_defect: dict[str, DefectRecall]
    confusion: dict[str, int]
    ece: float
    brier: float
    pixels: PixelMetrics
    masks: MaskSurvey = field(default_factory=MaskSurvey)
    scores: Scores = field(repr=False)
    """Probability of bad of every image, in the order of `truth`; not in the JSON."""
    truth: Labels = field(repr=False)
    """Which images are bad; not in the JSON."""
    naming: Naming | None = None
    """How well defects are named; None, and not in the JSON, for a model that names none."""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of `pillqc evaluate --json`."""
        values = asdict(self)
        naming = values.pop("naming")
        for name in ("scores", "truth", "pixels", "masks"):
            del values[name]
        values |= {
            **vars(self.pixels),
            "masks_used": self.masks.used,
            "masks_missing": self.masks.missing,
            "mask_values": self.masks.values,
        }
        return values | {"naming": naming} if naming else values


def samples_to_judge(
    loaded: LoadedModel, samples: Sequence[Sample], split: str | None, root: Path
) -> list[Sample]:
    """Return the samples of the split, or, without one, those that may judge the model.

    These are `test`, or all images where there is no test. A model that was trained on this folder
    had a split of its own, so for it they are all images; `evaluate` leaves out those it has seen.
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
    """Run the model on every sample that it has not seen in training, and compare with the truth.

    Raises:
        DataError: a file cannot be read.
        PillqcError: good or bad images are missing.
    """
    size = size or loaded.size
    unseen, seen = without_seen(samples, loaded.card.seen if loaded.card else "")
    if not include_seen:
        samples = unseen
    _check_both_kinds(samples, left_out=0 if include_seen else seen)
    masks = survey_masks(samples)
    gathered = PixelGatherer(box_threshold=loaded.box_threshold)
    bad = np.zeros(len(samples))
    defects = np.zeros((len(samples), len(loaded.defects)))
    remarks = _Remarks(loaded)
    results = predict(loaded.model, (s.path for s in samples), size=size)

    def judged(pair: tuple[Sample, Prediction | Unreadable]) -> Prediction:
        sample, result = pair
        if isinstance(result, Unreadable):
            raise DataError(result.path, result.reason)
        remarks.add(result)
        if not sample.bad or sample.mask is not None:
            gathered.add(result.heat, read_mask(sample, size))
        return result

    pairs = zip(samples, results, strict=True)
    # another thread compares maps with masks while the next batch is computed
    for index, result in enumerate(prefetch(judged, pairs, depth=2 * BATCH_SIZE)):
        bad[index], defects[index] = result.bad, result.defects
        if on_progress:
            on_progress(index + 1, len(samples))
    remarks.tell(on_note)
    report = judge(
        model=loaded.name,
        trained=loaded.trained,
        threshold=loaded.threshold,
        bad=bad,
        defects=[sample.defect for sample in samples],
        pixels=gathered.metrics(),
    )
    report = replace(report, naming=_naming(loaded, samples, defects, bad))
    if include_seen:
        return replace(report, masks=masks, seen_in_training=seen)
    return replace(report, masks=masks, left_out_as_seen=seen)


class _Remarks:
    """What a person should know of the pictures themselves."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._known = loaded.card.known if loaded.card else {}
        self._frames: list[Path] = []
        self._unlike: list[bool] = []

    def add(self, result: Prediction) -> None:
        """Look at one picture."""
        if result.notes:
            self._frames.append(result.path)
        self._unlike.append(outside_limits(self._known, result.statistics) is not None)

    def tell(self, on_note: Callable[[str], None]) -> None:
        """Tell of files of several frames, and what to do where most pictures are unlike."""
        if self._frames:
            on_note(count_note(MULTI_FRAME, self._frames))
        if told := advice(sum(self._unlike), len(self._unlike)):
            on_note(told)


def _naming(
    loaded: LoadedModel, samples: Sequence[Sample], defects: Scores, bad: Scores
) -> Naming | None:
    if not loaded.defects:
        return None
    return judge_names(
        [sample.defect for sample in samples],
        names=loaded.defects,
        probabilities=defects,
        bad=bad,
        threshold=loaded.threshold,
    )


def judge(
    *,
    model: str,
    trained: bool,
    threshold: float,
    bad: Scores,
    defects: Sequence[str],
    pixels: PixelMetrics,
) -> Evaluation:
    """Compare probabilities of `bad` with the pills' true defects (`good` for none)."""
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
        escape_rate_at_false_reject={
            rate: float((bad[labels] < cut).mean()) for rate, cut in cuts.items()
        },
        recall_by_defect={
            name: DefectRecall(
                **vars(share(int(rejected[mine].sum()), int(mine.sum()))),
                at_false_reject={
                    rate: float((bad[mine] >= cut).mean()) for rate, cut in cuts.items()
                },
            )
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


def threshold_at(labels: Labels, bad: Scores, false_reject: float) -> float:
    """Return the lowest threshold that calls at most this share of the good pills bad.

    It is just above the probability of a good pill, because a pill at the threshold is bad.
    """
    good = np.sort(bad[~labels])[::-1]
    allowed = int(np.floor(false_reject * len(good) + 1e-9))
    if allowed >= len(good):
        return 0.0
    return float(np.nextafter(good[allowed], np.inf))


def calibration_error(labels: Labels, bad: Scores) -> float:
    """Return the expected calibration error.

    It is the mean distance between probability and frequency over bins of equal width, weighted by
    their images.
    """
    which = np.minimum((bad * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(which, labels - bad)).sum()) / len(bad)


def _check_both_kinds(samples: Sequence[Sample], *, left_out: int) -> None:
    if left_out and not samples:
        raise PillqcError(
            f"the model has seen all {left_out} images in training, so they cannot judge it; give"
            " --data with others"
        )
    if len({sample.bad for sample in samples}) == 2:
        return
    if left_out:
        raise PillqcError(
            f"without the {left_out} images that the model has seen in training, only one kind is"
            " left; an evaluation needs good and bad images"
        )
    kinds = ", ".join(sorted({sample.defect for sample in samples}))
    raise PillqcError(
        f"an evaluation needs good and bad images; the data holds one kind only ({kinds})"
    )
