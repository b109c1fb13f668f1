"""Choose temperature, thresholds and the scale of the maps on validation data.

chosen = choose(model, validation_samples, size=224)    # calibrates the model in place
card = chosen.apply_to(card)

A model that names defects gets a scale for the scores and for the map of each of them too, which
changes nothing of good and bad.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy import optimize, special

from pillqc.data.decoding_process import read_image
from pillqc.data.defects import COMBINED, presence
from pillqc.data.images import normalised
from pillqc.data.masks import read_mask
from pillqc.errors import PillqcError
from pillqc.evaluation.defect_calibration import fit_sigmoid, scale_defects
from pillqc.evaluation.evaluate import threshold_at
from pillqc.evaluation.heat_scale import HeatSamples
from pillqc.inspection.prediction import BATCH_SIZE
from pillqc.model.network import BAD, CLASSES, symmetric
from pillqc.prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pillqc.data.images import Sample
    from pillqc.model.artifact import ModelCard
    from pillqc.model.network import CustomVGG

FALSE_REJECTS: Final = 0.01
"""The threshold calls this share of the good validation pills bad."""
UNDECIDED_REJECTS: Final = 0.05
"""Pills between the threshold of this rate and the threshold proper are undecided."""
SHARES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""False-reject rates whose thresholds go into the card, for `inspect --max-false-rejects`."""
GUESSED: Final = "no validation data: the threshold is a guess"
"""A known failure of a model until its threshold is chosen."""
_CERTAIN: Final = 1e-12
"""A probability so near to 0 or 1 has no farther logit."""
_TEMPERATURES: Final = (0.001, 1000.0)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Thresholds and temperature that validation data decided."""

    threshold: float
    undecided: tuple[float, float] | None
    temperature: float
    thresholds: dict[str, float]
    """False-reject rate -> threshold, for rates of at least one good image."""
    images: int

    def apply_to(self, card: ModelCard) -> ModelCard:
        """Return the card with these thresholds and this temperature, which are no guess."""
        return replace(
            card,
            threshold=self.threshold,
            undecided=self.undecided,
            temperature=self.temperature,
            thresholds=self.thresholds,
            known_failures=tuple(known for known in card.known_failures if known != GUESSED),
        )


def choose(
    model: CustomVGG,
    samples: Sequence[Sample],
    *,
    size: int,
    defects: Sequence[str] = (),
    twin: CustomVGG | None = None,
) -> Chosen:
    """Calibrate the model on validation samples, in place, and choose its thresholds.

    Every sample is computed once, because calibration changes scores and maps equally.

    Args:
        model: its outputs are good, bad and the defects.
        samples: validation data.
        size: side of its input images in pixels.
        defects: the names of the model's defects; none leaves them as they are.
        twin: a model that computes the same in less time, as the narrow form of a widened one does.

    Raises:
        PillqcError: the data lacks good or bad pills.
    """
    labels = np.array([sample.bad for sample in samples], dtype=np.bool_)
    if not labels.any() or labels.all():
        raise PillqcError("validation needs good and bad images; there is one kind only")
    twin = twin or model
    for one in (model, twin):
        symmetrise_head(one)
    scores, heat, defect_heat = _outputs(twin, samples, size, defects)
    logits = scores[:, BAD] - scores[:, 1 - BAD]
    temperature = fit_temperature(logits, labels)
    divide_head(model, temperature)
    if heat.has_masks:
        low, high = heat.scale(1.0 / temperature)
        # the map of good is the negative of the map of bad; those of defects stay
        found = torch.tensor([(-high, -low), (low, high)])
        every = torch.stack([model.map_low, model.map_high], dim=1)
        every[: len(CLASSES)] = found
        model.calibrate_maps(every[:, 0], every[:, 1])
    if defects:
        _calibrate_defects(model, samples, scores, defects, defect_heat)
    bad: NDArray[np.float64] = special.expit(logits / temperature)
    threshold = between_scores(labels, bad, FALSE_REJECTS)
    careful = between_scores(labels, bad, UNDECIDED_REJECTS)
    shares = [share for share in SHARES if share * (~labels).sum() >= 1.0]
    return Chosen(
        threshold=threshold,
        undecided=(careful, threshold) if careful < threshold else None,
        temperature=temperature,
        thresholds={str(share): between_scores(labels, bad, share) for share in shares},
        images=len(samples),
    )


def between_scores(
    labels: NDArray[np.bool_], bad: NDArray[np.float64], false_reject: float
) -> float:
    """Return a threshold that calls at most this share of the good pills bad.

    It is half-way, in logits, between the highest pill that passes at the lowest such threshold and
    the next one. All thresholds between the two decide the same about these pills. Of few pills the
    distance may be large, and just above a good one the next good one would be called bad.

    Args:
        labels: whether each pill is bad.
        bad: its probability of bad.
        false_reject: the share of the good pills.
    """
    lowest = threshold_at(labels, bad, false_reject)
    above = bad[bad >= lowest]
    if lowest <= 0.0 or not above.size:
        return min(lowest, 1.0)
    limits = np.clip([lowest, above.min()], _CERTAIN, 1.0 - _CERTAIN)
    middle = float(special.expit(special.logit(limits).mean()))
    return min(max(middle, lowest), float(above.min()))


def choose_names(
    model: CustomVGG, samples: Sequence[Sample], *, size: int, defects: Sequence[str]
) -> None:
    """Calibrate the defects alone on validation samples, in place; good and bad stay as they are.

    The arguments are those of `choose`.
    """
    scores, _, heat = _outputs(model, samples, size, defects)
    _calibrate_defects(model, samples, scores, defects, heat)


def _calibrate_defects(
    model: CustomVGG,
    samples: Sequence[Sample],
    scores: NDArray[np.float64],
    defects: Sequence[str],
    heat: Sequence[HeatSamples],
) -> None:
    """Calibrate the probabilities of the defects, and their maps where those have a scale."""
    present = presence([sample.defect for sample in samples], defects)
    lines = [fit_sigmoid(*pair) for pair in zip(scores.T[len(CLASSES) :], present.T, strict=True)]
    scale_defects(model, lines)
    if bool(model.map_calibrated):
        scales = [mine.scale(*line) for mine, line in zip(heat, lines, strict=True)]
        first = model.n_classes
        model.map_low[first:], model.map_high[first:] = torch.tensor(scales).T


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return the temperature whose probabilities have the least cross-entropy with the labels.

    The labels are Platt's, a little inside 0 and 1 (*Probabilistic Outputs for Support Vector
    Machines*, 1999). With 0 and 1, and few images all of which are right, the lowest temperature
    of all would win: every probability would be 0 or 1 to the last digit, and none could be ranked.
    """
    bad = int(labels.sum())
    targets = np.where(labels, (bad + 1.0) / (bad + 2.0), 1.0 / (len(labels) - bad + 2.0))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, scaled) - targets * scaled))

    low, high = (float(np.log(limit)) for limit in _TEMPERATURES)
    return float(np.exp(optimize.fminbound(loss, low, high)))


@torch.no_grad()
def symmetrise_head(model: CustomVGG) -> None:
    """Subtract what good and bad share; no probability changes, and maps show evidence."""
    for values in (model.head.weight, model.head.bias):
        values.copy_(symmetric(values, model.n_classes))


@torch.no_grad()
def divide_head(model: CustomVGG, temperature: float) -> None:
    """Divide scores and maps of good and bad by a temperature; the order of images stays."""
    for values in (model.head.weight, model.head.bias, model.map_low, model.map_high):
        values[: model.n_classes].div_(temperature)


def _outputs(
    model: CustomVGG, samples: Sequence[Sample], size: int, defects: Sequence[str]
) -> tuple[NDArray[np.float64], HeatSamples, list[HeatSamples]]:
    """Return class scores (images, classes), and heat of `bad` and of the defects.

    The map of `bad` is sampled at every fourth pixel of each side, those of defects at every
    eighth. Bad images without a mask are left out of them, and for defects those with several.
    """
    scores, heat, defect_heat = [], HeatSamples(), [HeatSamples() for _ in defects]
    images = prefetch(lambda s: normalised(read_image(s.path), size), samples, depth=2 * BATCH_SIZE)
    for start in range(0, len(samples), BATCH_SIZE):
        batch = samples[start : start + BATCH_SIZE]
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(list(islice(images, len(batch)))))
            features = model.features(pixels)
            scores.append(model.scores(features).numpy())
            maps = model.evidence(features, (size, size)).numpy()
        for values, sample in zip(maps, batch, strict=True):
            if sample.bad and sample.mask is None:
                continue
            mask = read_mask(sample, size)
            heat.add(values[BAD, ::4, ::4], mask[::4, ::4])
            if sample.defect == COMBINED:
                continue
            for place, (name, into) in enumerate(zip(defects, defect_heat, strict=True)):
                mine = values[len(CLASSES) + place, ::8, ::8]
                into.add(mine, mask[::8, ::8] & (name == sample.defect))
    return np.concatenate(scores).astype(np.float64), heat, defect_heat
