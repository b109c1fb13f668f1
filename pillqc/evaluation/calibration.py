"""Choose temperature, thresholds and the scale of the maps on validation data.

chosen = choose(model, validation_samples, size=224)    # calibrates the model in place
card = chosen.apply_to(card)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    from pillqc.model.artifact import ModelCard
    from pillqc.model.network import CustomVGG

FALSE_REJECTS: Final = 0.01
"""The threshold calls this share of the good validation pills bad."""
UNDECIDED_REJECTS: Final = 0.05
"""Pills between the threshold of this rate and the threshold proper are undecided."""
SHARES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""False-reject rates whose thresholds go into the card, for `inspect --max-false-rejects`."""
_TEMPERATURES: Final = (0.02, 50.0)


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
        """Return the card with these thresholds and this temperature."""
        return replace(
            card,
            threshold=self.threshold,
            undecided=self.undecided,
            temperature=self.temperature,
            thresholds=self.thresholds,
        )


def choose(model: CustomVGG, samples: Sequence[Sample], *, size: int) -> Chosen:
    """Calibrate the model on validation samples, in place, and choose its thresholds.

    Every sample is computed once, because a temperature divides scores and maps equally.
    """
    labels = np.array([sample.bad for sample in samples], dtype=np.bool_)
    if not labels.any() or labels.all():
        raise PillqcError("validation needs good and bad images; there is one kind only")
    symmetrise_head(model)
    scores, inside, outside = _outputs(model, samples, size)
    uncalibrated = np.clip(_probability_bad(scores), 1e-7, 1.0 - 1e-7)
    temperature = fit_temperature(np.log(uncalibrated / (1.0 - uncalibrated)), labels)
    divide_head(model, temperature)
    if len(inside):
        _scale_maps(model, inside / temperature, outside / temperature)
    bad = _probability_bad(scores / temperature)
    threshold = min(threshold_at(labels, bad, FALSE_REJECTS), 1.0)
    careful = min(threshold_at(labels, bad, UNDECIDED_REJECTS), 1.0)
    shares = [share for share in SHARES if share * (~labels).sum() >= 1.0]
    return Chosen(
        threshold=threshold,
        undecided=(careful, threshold) if careful < threshold else None,
        temperature=temperature,
        thresholds={str(share): min(threshold_at(labels, bad, share), 1.0) for share in shares},
        images=len(samples),
    )


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return the temperature whose probabilities have the least cross-entropy with the labels."""

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        on_wrong_side = np.maximum(np.where(labels, -scaled, scaled), 0.0)
        return float(np.mean(special.log1p(np.exp(-np.abs(scaled))) + on_wrong_side))

    low, high = (float(np.log(limit)) for limit in _TEMPERATURES)
    return float(np.exp(optimize.fminbound(loss, low, high)))


@torch.no_grad()
def symmetrise_head(model: CustomVGG) -> None:
    """Subtract what all classes share; no probability changes, and maps show evidence."""
    model.head.weight.sub_(model.head.weight.mean(dim=0, keepdim=True))
    model.head.bias.sub_(model.head.bias.mean())


@torch.no_grad()
def divide_head(model: CustomVGG, temperature: float) -> None:
    """Divide scores and maps by a temperature; the order of images stays."""
    for values in (model.head.weight, model.head.bias, model.map_low, model.map_high):
        values.div_(temperature)


def _outputs(
    model: CustomVGG, samples: Sequence[Sample], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Return class scores (images, classes), and the map of `bad` inside and outside of masks.

    The maps are sampled at every fourth pixel of each side. Bad images without a mask are left out
    of them.
    """
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
    return (
        np.concatenate(scores).astype(np.float64),
        np.concatenate(inside),
        np.concatenate(outside),
    )


def _probability_bad(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    bad: NDArray[np.float64] = special.softmax(scores, axis=1)[:, BAD]
    return bad


def _scale_maps(
    model: CustomVGG, inside: NDArray[np.float32], outside: NDArray[np.float32]
) -> None:
    """Set one scale for all images: the median outside of defects becomes 0, the cut .5.

    At the cut, the share of defective pixels below equals the share of other pixels above.
    """
    cuts = np.quantile(np.concatenate([inside, outside]), np.linspace(0.0, 1.0, 2001))
    missed = np.searchsorted(np.sort(inside), cuts) / len(inside)
    false = 1.0 - np.searchsorted(np.sort(outside), cuts) / len(outside)
    cut = float(cuts[int(np.argmin(np.abs(missed - false)))])
    low = float(np.median(outside))
    high = low + max(2.0 * (cut - low), 1e-3)
    if model.n_classes == 2:  # the map of good is the negative of the map of bad
        model.calibrate_maps(torch.tensor([-high, low]), torch.tensor([-low, high]))
    else:
        wide = torch.ones(model.n_classes)
        model.calibrate_maps(low * wide, high * wide)
