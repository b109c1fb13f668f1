"""Make a model that compares pills with pictures of good ones; nothing is trained.

    made = make_comparison(paths, weights="hed", most=200)
    save_artifact(out, made.model, made.card, dtype=torch.float16)

How unusual a good pill may be is estimated from the pictures themselves: each is compared with the
others. Their scores are taken as normally distributed, and the threshold is where one more good
pill exceeds it with a probability of 1 % (Student's t, because mean and deviation are estimates).

Of mixed pictures up to half may be bad, which have higher scores, so that only the low ones tell of
good pills. A score is the highest of many cells; the highest of many numbers with a heavy tail has
a Frechet distribution, and its logarithm a Gumbel distribution. Its mode is the middle of the
shortest interval that a third of the scores lie in (after the shortest half; Rousseeuw and Leroy,
*Robust Regression and Outlier Detection*, 1987), its scale follows from how far the scores below
the mode lie from it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from scipy import special, stats

from pillqc.data.images import MEAN, STD
from pillqc.data.seen_images import encode_seen
from pillqc.errors import PillqcError
from pillqc.evaluation.calibration import FALSE_REJECTS, SHARES, UNDECIDED_REJECTS
from pillqc.inspection.prediction import BATCH_SIZE
from pillqc.model.artifact import ModelCard
from pillqc.model.comparison import ComparingVGG
from pillqc.model.network import DEFAULT_SIZE, load_model
from pillqc.training.described_pictures import by_content, describe, evenly
from pillqc.training.known_pictures import known_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from pillqc.inspection.prediction import Decoded
    from pillqc.model.judging import JudgingVGG

FEWEST: Final = 10
"""Pictures below which there is no telling how much good pills differ."""
FEWEST_MIXED: Final = 20
TYPICAL: Final = 0.01
"""Probability of bad of a typical good pill; .5 is at the threshold."""
_SMALLEST: Final = 1e-9
"""Scores below it are those of pictures that have an equal one."""
_BELOW_MODE: Final = 0.7296
"""Root mean square of how far the values of a standard Gumbel distribution that are below its mode
lie from it."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A model that compares, and its card."""

    model: ComparingVGG | JudgingVGG
    card: ModelCard
    pictures: int
    """How many it compares with."""
    good: int
    """How many good ones, or unsorted ones, it was made of."""
    called_bad: int
    """How many of these it calls bad, each compared with the others, and none learnt from."""
    bad: int = 0
    """How many bad ones it has learnt from."""
    found: int = 0
    """How many of these it calls bad before it has learnt from them."""
    invented: int = 0
    """How many invented defects it has learnt from."""
    invented_found: int = 0
    """How many of these it calls bad before it has learnt from them."""


def make_comparison(
    paths: Sequence[Path],
    *,
    weights: str | None = "hed",
    mixed: bool = False,
    most: int,
    size: int = DEFAULT_SIZE,
    on_note: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    """Describe the pictures by the features of the weights, and learn how much they differ.

    Args:
        paths: pictures of good pills; copies of a picture count once.
        weights: as `load_model` takes them. Those of photographs serve best.
        mixed: whether some of the pictures may be bad, up to half of them.
        most: how many to keep; evenly spaced in their order.
        size: side to which pictures are resized, in pixels.
        on_note: is told of files that cannot be read.
        on_progress: is told how many of how many pictures are done.

    Raises:
        PillqcError: there are too few pictures, or none differs from the others.
    """
    started = time.monotonic()
    source = load_model(weights)
    digests = by_content(paths, on_note)
    kept = evenly(list(digests), most)
    model = ComparingVGG(pictures=0, size=size)
    model.take_features(source.model.features)
    model.eval()
    read, described = describe(
        model, kept, on_note=on_note, on_read=lambda done: on_progress(done, len(kept))
    )
    check_enough(len(read), mixed=mixed)
    unusual = _compare_among_themselves(model, described, mixed=mixed)
    scores = unusual.flatten(1).amax(1).double().numpy()
    typical, limits = score_limits(scores, (*SHARES, FALSE_REJECTS, UNDECIDED_REJECTS), mixed=mixed)
    limit = limits[FALSE_REJECTS]
    steepness = -special.logit(TYPICAL) / math.log(limit / typical)
    model.settings = torch.tensor([limit, steepness, float(unusual.median()), float(mixed)])
    probability = {
        share: float(special.expit(steepness * math.log(one / limit)))
        for share, one in limits.items()
    }
    card = comparison_card(
        read,
        [False] * len(read),
        limits=probability,
        size=size,
        training={"seconds": round(time.monotonic() - started, 1)},
        seen="" if mixed else encode_seen(digests[one.path] for one in read),
        compares={"pictures": len(read), "mixed": mixed, "features": source.name},
    )
    called_bad = int((scores >= limit).sum())
    return Comparison(
        model=model, card=card, pictures=len(read), good=len(read), called_bad=called_bad
    )


def comparison_card(
    read: Sequence[Decoded],
    bad: Sequence[bool],
    *,
    limits: Mapping[float, float],
    size: int,
    training: dict[str, Any],
    seen: str,
    compares: dict[str, Any],
) -> ModelCard:
    """Return the card of a model that compares.

    Args:
        read: the pictures that it was made of.
        bad: which of them are bad.
        limits: the probability of bad that so large a share of good pills exceeds.
        size: side of its pictures in pixels.
        training: how it was made.
        seen: the pictures that must not judge it.
        compares: with what it compares.
    """
    threshold, good = limits[FALSE_REJECTS], len(bad) - sum(bad)
    return ModelCard(
        threshold=threshold,
        undecided=(limits[UNDECIDED_REJECTS], threshold),
        size=size,
        mean=MEAN,
        std=STD,
        training=training,
        thresholds={str(s): limits[s] for s in SHARES if s in limits and s * good >= 1.0},
        seen=seen,
        compares=compares,
        intended_use="the product of the pictures that it compares with",
        **known_statistics([one.statistics for one in read], bad),
    )


def check_enough(pictures: int, *, mixed: bool = False) -> None:
    """Raise a `PillqcError` if there are too few pictures."""
    fewest = FEWEST_MIXED if mixed else FEWEST
    if pictures < fewest:
        kind = "" if mixed else "good "
        raise PillqcError(
            f"{pictures} different pictures of {kind}pills: fewer than {fewest} do not show how"
            " much such pills differ; give more"
        )


@torch.inference_mode()
def _compare_among_themselves(model: ComparingVGG, described: Tensor, *, mixed: bool) -> Tensor:
    """Give the pictures to the model; return how unusual each cell is among the other pictures."""
    model.references = described.flatten(2).permute(2, 0, 1).contiguous()
    model.settings[3] = float(mixed)
    found = []
    for first in range(0, len(described), BATCH_SIZE):
        distances = model.distances(described[first : first + BATCH_SIZE])
        if not mixed:  # else the nearest picture, which is itself, does not count anyway
            own = torch.arange(len(distances))
            distances[own, first + own] = torch.inf
        found.append(model.unusual(distances))
    return torch.cat(found)


def score_limits(
    scores: NDArray[np.float64], shares: Iterable[float], *, mixed: bool
) -> tuple[float, dict[float, float]]:
    """Return the score of a typical good pill, and for each share the one that so many exceed.

    Args:
        scores: how unusual each of the pictures is among the others, (n,).
        shares: of further good pills.
        mixed: whether up to half of the scores may be of bad pills, which are higher.

    Raises:
        PillqcError: the scores are all the same, or a third of mixed ones is.
    """
    if not np.ptp(scores) > 0.0:
        raise PillqcError("the pictures do not differ: give pictures of different pills")
    if mixed:
        mode, spread = _mode(np.log(scores.clip(_SMALLEST)))
        scale = spread / _BELOW_MODE
        above = {share: float(stats.gumbel_r.ppf(1.0 - share)) for share in shares}
        return math.exp(mode), {share: math.exp(mode + scale * x) for share, x in above.items()}
    count = len(scores)
    mean, deviation = float(scores.mean()), float(scores.std(ddof=1)) * math.sqrt(1 + 1 / count)
    quantiles = {share: float(stats.t.ppf(1.0 - share, count - 1)) for share in shares}
    return mean, {share: mean + deviation * t for share, t in quantiles.items()}


def low_limits(evidence: NDArray[np.float64], shares: Iterable[float]) -> dict[float, float]:
    """Return for each share the evidence that so many further good pills exceed.

    That of good pills is taken as normally distributed about the mode; the values below it tell how
    wide.

    Args:
        evidence: of unsorted pictures, (n,); up to half of them may be bad and have more of it.
        shares: of further good pills.

    Raises:
        PillqcError: a third of the values are the same.
    """
    mode, spread = _mode(evidence)
    return {share: mode + spread * float(stats.norm.isf(share)) for share in shares}


def _mode(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the middle of the shortest third, and how far values below lie from it.

    The latter is their root mean square.
    """
    ordered = np.sort(values)
    third = len(ordered) // 3
    first = int((ordered[third:] - ordered[:-third]).argmin())
    mode = float(ordered[first] + ordered[first + third]) / 2.0
    below = mode - ordered[ordered < mode]
    if not below.size:
        raise PillqcError("a third of the pictures do not differ: give pictures of different pills")
    return mode, float(np.sqrt((below**2).mean()))
