"""Warn when the pictures of a line stop looking like those that the model knows.

    reference = drift_reference(statistics, bad)          # kept in the model file
    check = DriftCheck(reference)
    for result in inspect(loaded, paths):
        if alarm := check.add(result.statistics):
            print(alarm)

`novelty` judges one picture; a lamp that ages moves no single picture out of its limits. Here each
statistic of whole pictures has a two-sided cumulative sum of its deviations (CUSUM; Page,
Biometrika 1954): deviations of less than half a standard deviation do not add up, longer ones do.
The alarm limit is simulated from the training pictures so that pills like them, good ones alone or
mixed with bad ones as in training, cause less than one alarm in a million; how few pictures the
reference is made of is part of that simulation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pillqc.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pillqc.model.network import LoadedModel

STATISTICS: Final = (
    "brightness",
    "contrast",
    "warmth",
    "sharpness",
    "middle against rim",
    "left against right",
    "top against bottom",
)
"""Without `colour`, the strongest colour of a picture, which one coloured spot moves."""
FEWEST: Final = 20
"""Pictures below which there is no reference."""
_ALLOWED: Final = 0.5
"""Standard deviations by which every picture may deviate."""
_LARGEST: Final = 4.0
"""Standard deviations that one picture counts at most, so that a single odd one is no alarm."""
_STREAMS: Final = 100
_STREAM_PILLS: Final = 10_000
_MARGIN: Final = 1.1
"""The limit over the highest sum of a million simulated pills."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a line's pictures are compared with."""

    mean: dict[str, float]
    """Of good pictures, by statistic."""
    deviation: dict[str, float]
    """Their standard deviations."""
    limit: float
    """Cumulative sum from which there is an alarm, in standard deviations."""
    pictures: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as a model's card keeps it."""
        return asdict(self)


def read_reference(kept: Mapping[str, Any]) -> Reference | None:
    """Return a card's reference; None if the card has none.

    Raises:
        ValueError, TypeError, KeyError: it is damaged.
    """
    if not kept:
        return None
    found = Reference(
        mean={str(name): float(value) for name, value in kept["mean"].items()},
        deviation={str(name): float(value) for name, value in kept["deviation"].items()},
        limit=float(kept["limit"]),
        pictures=int(kept["pictures"]),
    )
    values = [*found.mean.values(), *found.deviation.values(), found.limit]
    if found.mean.keys() != found.deviation.keys() or not np.isfinite(values).all():
        raise ValueError("the drift reference is not one of finite numbers")
    if unknown := found.mean.keys() - set(STATISTICS):
        raise ValueError(f"no statistic is called {min(unknown)!r}")
    return found


def drift_reference(
    pictures: Sequence[Mapping[str, float]], bad: Sequence[bool], *, seed: int = 0
) -> Reference | None:
    """Make a reference from statistics of pictures; None from too few."""
    if len(pictures) < FEWEST:
        return None
    rows = np.array([[one[name] for name in STATISTICS] for one in pictures], np.float64)
    is_bad = np.asarray(bad, np.bool_)
    good = rows[~is_bad] if (~is_bad).sum() >= FEWEST else rows
    mean, deviation = _moments(good)
    rng = np.random.default_rng(seed)
    highest = max(_highest_sum(good, good, rng), _highest_sum(good, rows, rng))
    return Reference(
        mean=dict(zip(STATISTICS, mean.round(4).tolist(), strict=True)),
        deviation=dict(zip(STATISTICS, deviation.round(4).tolist(), strict=True)),
        limit=round(_MARGIN * highest, 2),
        pictures=len(rows),
    )


def _moments(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means and standard deviations (statistics,) of rows (pictures, statistics)."""
    return rows.mean(axis=0), np.maximum(rows.std(axis=0, ddof=1), 1e-3)


def _highest_sum(
    good: NDArray[np.float64], stream: NDArray[np.float64], rng: np.random.Generator
) -> float:
    """Return the highest cumulative sum of simulated streams of pictures like `stream`.

    Each stream is compared with the moments of a fresh draw of the good pictures, as if the
    reference had been made from others of the same kind.
    """
    draws = [_moments(good[rng.integers(0, len(good), len(good))]) for _ in range(_STREAMS)]
    mean, deviation = (np.stack(part) for part in zip(*draws, strict=True))
    sums = np.zeros((2, *mean.shape))
    highest = 0.0
    for _ in range(_STREAM_PILLS):
        sums = _next_sums(sums, (stream[rng.integers(0, len(stream), _STREAMS)] - mean) / deviation)
        highest = max(highest, float(sums.max()))
    return highest


def _next_sums(sums: NDArray[np.float64], deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add a picture's deviations (..., statistics) to the sums (2, ..., statistics)."""
    one = np.clip(deviations, -_LARGEST, _LARGEST)
    raised: NDArray[np.float64] = sums + np.stack([one, -one]) - _ALLOWED
    return np.maximum(raised, 0.0)


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """The pictures have changed."""

    picture: int
    """Number of the picture at which it was noticed, from 1."""
    since: int
    """Number of the first picture of the change, as estimated by where the sum was last 0."""
    statistic: str
    mean: float
    """Of the statistic since then."""
    known: float
    deviation: float

    def __str__(self) -> str:
        """Return one line for people."""
        return (
            f"THE PICTURES HAVE CHANGED since about number {self.since}: {self.statistic} is "
            f"{self.mean:.1f} on average, {self.known:.1f} in the pictures that the model knows "
            f"(standard deviation {self.deviation:.1f}); noticed at number {self.picture}"
        )


def drift_check(loaded: LoadedModel) -> DriftCheck:
    """Return the check of an inspection with this model.

    Raises:
        ModelFileError: the card's reference is damaged.
    """
    try:
        return DriftCheck(read_reference(loaded.card.drift if loaded.card else {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{loaded.name}: its card's drift reference is damaged ({error})"
        ) from error


class DriftCheck:
    """Follows the pictures of one inspection; without a reference it never alarms."""

    def __init__(self, reference: Reference | None) -> None:
        self._reference = reference
        self._count = 0
        self.alarms: list[Alarm] = []
        self._names = tuple(reference.mean) if reference else ()
        if reference:
            self._mean = np.array([reference.mean[name] for name in self._names])
            self._deviation = np.array([reference.deviation[name] for name in self._names])
        self._start_again()

    def _start_again(self) -> None:
        shape = (2, len(self._names))
        self._sums: NDArray[np.float64] = np.zeros(shape)
        self._pictures: NDArray[np.int64] = np.zeros(shape, np.int64)
        self._totals: NDArray[np.float64] = np.zeros(shape)

    def add(self, statistics: Mapping[str, float]) -> Alarm | None:
        """Take the next picture, and return the alarm that it completes; then it starts again."""
        self._count += 1
        if self._reference is None:
            return None
        values = np.array([statistics[name] for name in self._names])
        self._sums = _next_sums(self._sums, (values - self._mean) / self._deviation)
        goes_on = self._sums > 0
        self._pictures = np.where(goes_on, self._pictures + 1, 0)
        self._totals = np.where(goes_on, self._totals + values, 0.0)
        if self._sums.max(initial=0.0) <= self._reference.limit:
            return None
        side, place = np.unravel_index(int(self._sums.argmax()), self._sums.shape)
        since = int(self._pictures[side, place])
        alarm = Alarm(
            picture=self._count,
            since=self._count - since + 1,
            statistic=self._names[place],
            mean=float(self._totals[side, place]) / since,
            known=float(self._mean[place]),
            deviation=float(self._deviation[place]),
        )
        self.alarms.append(alarm)
        self._start_again()
        return alarm
