"""What is chosen on validation data, once, before any test: temperature, threshold, map scale.

chosen = choose(model, validation_samples, size=224)
# the model's head and maps are calibrated now; threshold and band go into its card
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy import optimize, special

from pillqc.data.decoding_process import read_image
from pillqc.data.images import normalised
from pillqc.data.masks import read_mask
from pillqc.errors import PillqcError
from pillqc.evaluation.evaluate import threshold_at
from pillqc.inspection.prediction import BATCH_SIZE
from pillqc.model.network import BAD
from pillqc.prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pillqc.data.images import Sample
    from pillqc.model.network import CustomVGG

FALSE_REJECTS: Final = 0.01
"""From the threshold on, this share of good validation pills is called bad."""
UNDECIDED_REJECTS: Final = 0.05
"""Pills between the thresholds of these two rates are for a person to look at."""
SHARES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Of false rejects, whose thresholds a card keeps for `pillqc inspect --max-false-rejects`."""
_TEMPERATURES: Final = (0.02, 50.0)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What validation data decided."""

    threshold: float
    undecided: tuple[float, float] | None
    temperature: float
    thresholds: dict[str, float]
    """Share of false rejects -> threshold, for shares that the good images can tell apart."""
    images: int


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """What a model says of samples, before any scale."""

    scores: NDArray[np.float64]
    """Class scores (images, classes)."""
    inside: NDArray[np.float32]
    """Map of `bad` where masks say defect, every fourth pixel of each side."""
    outside: NDArray[np.float32]
    """The same everywhere else; images that are bad and have no mask are in neither."""

    def bad(self, temperature: float) -> NDArray[np.float64]:
        """Probabilities of `bad`."""
        bad: NDArray[np.float64] = special.softmax(self.scores / temperature, axis=1)[:, BAD]
        return bad


def choose(model: CustomVGG, samples: Sequence[Sample], *, size: int) -> Chosen:
    """Calibrate the model on validation samples, in place, and choose its thresholds.

    Every sample is shown once: a temperature divides scores and maps alike.
    """
    labels = np.array([sample.bad for sample in samples], dtype=np.bool_)
    if not labels.any() or labels.all():
        raise PillqcError("validation needs good and bad images; there is one kind only")
    symmetrise_head(model)
    answers = _ask(model, samples, size)
    temperature = fit_temperature(_logits(answers.bad(1.0)), labels)
    divide_head(model, temperature)
    _scale_maps(model, answers.inside / temperature, answers.outside / temperature)
    bad = answers.bad(temperature)
    threshold = min(threshold_at(labels, bad, FALSE_REJECTS), 1.0)
    careful = min(threshold_at(labels, bad, UNDECIDED_REJECTS), 1.0)
    return Chosen(
        threshold=threshold,
        undecided=(careful, threshold) if careful < threshold else None,
        temperature=temperature,
        thresholds=thresholds_of(labels, bad),
        images=len(samples),
    )


def thresholds_of(labels: NDArray[np.bool_], bad: NDArray[np.float64]) -> dict[str, float]:
    """The lowest threshold at each share of false rejects that is one good image or more."""
    shares = [share for share in SHARES if share * (~labels).sum() >= 1.0]
    return {str(share): min(threshold_at(labels, bad, share), 1.0) for share in shares}


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The temperature under which probabilities fit the labels best (least cross-entropy)."""

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(special.log1p(np.exp(-np.abs(scaled))) + _wrong(scaled, labels)))

    low, high = (float(np.log(limit)) for limit in _TEMPERATURES)
    return float(np.exp(optimize.fminbound(loss, low, high)))


@torch.no_grad()
def symmetrise_head(model: CustomVGG) -> None:
    """Take from every class what all share; no probability changes, and maps show evidence."""
    model.head.weight.sub_(model.head.weight.mean(dim=0, keepdim=True))
    model.head.bias.sub_(model.head.bias.mean())


@torch.no_grad()
def divide_head(model: CustomVGG, temperature: float) -> None:
    """Put the temperature into the head; decisions by rank stay, probabilities become honest."""
    model.head.weight.div_(temperature)
    model.head.bias.div_(temperature)
    model.map_low.div_(temperature)
    model.map_high.div_(temperature)


def _scale_maps(
    model: CustomVGG, inside: NDArray[np.float32], outside: NDArray[np.float32]
) -> None:
    """One scale for all images: 0 is the middle of good pills, .5 parts defects from the rest.

    Heat of .5 is where the share of defective pixels above equals the share of others below.
    """
    if not len(inside):
        return
    low, cut = float(np.median(outside)), _equal_error(inside, outside)
    width = max(2.0 * (cut - low), 1e-3)
    ends = torch.tensor([low, low + width])
    if model.n_classes == 2:  # the map of good is what the map of bad leaves
        model.calibrate_maps(torch.stack([-ends[1], ends[0]]), torch.stack([-ends[0], ends[1]]))
    else:
        model.calibrate_maps(ends[0].expand(model.n_classes), ends[1].expand(model.n_classes))


def _ask(model: CustomVGG, samples: Sequence[Sample], size: int) -> _Answers:
    scores, inside, outside = [], [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    images = prefetch(lambda s: normalised(read_image(s.path), size), samples, depth=2 * BATCH_SIZE)
    for start in range(0, len(samples), BATCH_SIZE):
        batch = samples[start : start + BATCH_SIZE]
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(list(islice(images, len(batch)))))
            features = model.features(pixels)
            scores.append(model.scores(features).numpy())
            maps = model.evidence(features, (size, size))
        for values, sample in zip(maps[:, BAD, ::4, ::4].numpy(), batch, strict=True):
            if not sample.bad or sample.mask is not None:
                mask = read_mask(sample, size)[::4, ::4]
                inside.append(values[mask])
                outside.append(values[~mask])
    return _Answers(
        scores=np.concatenate(scores).astype(np.float64),
        inside=np.concatenate(inside),
        outside=np.concatenate(outside),
    )


def _equal_error(inside: NDArray[np.float32], outside: NDArray[np.float32]) -> float:
    cuts = np.quantile(np.concatenate([inside, outside]), np.linspace(0.0, 1.0, 2001))
    missed = np.searchsorted(np.sort(inside), cuts) / len(inside)
    false = 1.0 - np.searchsorted(np.sort(outside), cuts) / len(outside)
    return float(cuts[int(np.argmin(np.abs(missed - false)))])


def _logits(bad: NDArray[np.float64]) -> NDArray[np.float64]:
    limited = np.clip(bad, 1e-7, 1.0 - 1e-7)
    logits: NDArray[np.float64] = np.log(limited / (1.0 - limited))
    return logits


def _wrong(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far a logit lies on the wrong side; 0 on the right one."""
    wrong: NDArray[np.float64] = np.maximum(np.where(labels, -logits, logits), 0.0)
    return wrong
