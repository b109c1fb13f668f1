"""Predict probabilities and heat maps of files in batches, and read the next files meanwhile.

for result in predict(loaded.model, paths, size=224):
    if isinstance(result, Prediction):
        print(result.path, result.bad)
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from pillqc.data.decoding import TOO_LARGE
from pillqc.data.decoding_process import read_picture
from pillqc.data.images import normalised
from pillqc.errors import DataError
from pillqc.inspection.novelty import image_statistics
from pillqc.model.network import BAD, CLASSES
from pillqc.prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.model.network import CustomVGG

BATCH_SIZE: Final = 8
_READ_AHEAD: Final = 2
"""Batches that are decoded while one is computed; more would only use memory."""
_NONE: Final = np.empty(0, np.float32)
"""Of a model that names no defects."""
_NO_NUMBER: Final = "the model's result is no finite number; take another copy of its file"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model's output for one file."""

    path: Path
    bad: float
    """Probability of `bad`."""
    heat: NDArray[np.float32]
    """Map of the class `bad` (size, size), 0 to 1."""
    width: int
    """Size of the file's picture in pixels."""
    height: int
    ms: float
    """Time to read this file, plus the model's call for the whole batch."""
    batch: int
    """Number of files in that batch."""
    notes: tuple[str, ...]
    statistics: dict[str, float]
    """Statistics of the whole picture: see `pillqc.inspection.novelty`."""
    defects: NDArray[np.float32] = field(default_factory=lambda: _NONE)
    """Probability of each defect that the model names."""
    defect_heat: NDArray[np.float32] = field(default_factory=lambda: _NONE)
    """Map of each defect that the model names (defects, size, size), 0 to 1. A view: it keeps the
    maps of its whole batch in memory."""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A file that could not be used, or of which the model says nothing."""

    path: Path
    reason: str
    looked_at: bool = True
    """False if reading was not tried, because its name is not an image's."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture as the model takes it, and what is known of its file."""

    path: Path
    pixels: NDArray[np.float32]
    """Normalised (3, size, size)."""
    width: int
    """Size of the file's picture in pixels."""
    height: int
    ms: float
    notes: tuple[str, ...]
    statistics: dict[str, float]


def predict(
    model: CustomVGG,
    paths: Iterable[Path | Unreadable],
    *,
    size: int = 224,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Prediction | Unreadable]:
    """Yield one result for each file, in order; memory does not grow with their number.

    An `Unreadable` among the paths is returned in its place.
    """
    read = prefetch(lambda path: decode(path, size), paths, depth=_READ_AHEAD * batch_size)
    while batch := list(islice(read, batch_size)):
        yield from _predict_batch(model, batch)


def decode(path: Path | Unreadable, size: int) -> Decoded | Unreadable:
    """Read a file; an `Unreadable` has the reason why it cannot be used, or was one before."""
    if isinstance(path, Unreadable):
        return path
    started = time.perf_counter()
    try:
        picture = read_picture(path)
        image = picture.image
        return Decoded(
            path=path,
            pixels=normalised(image, size),
            width=image.width,
            height=image.height,
            statistics=image_statistics(image),
            notes=picture.notes,
            ms=(time.perf_counter() - started) * 1000.0,
        )
    except DataError as error:
        return Unreadable(path=path, reason=error.reason)
    except MemoryError:
        return Unreadable(path=path, reason=TOO_LARGE)


def _predict_batch(
    model: CustomVGG, decoded: list[Decoded | Unreadable]
) -> Iterator[Prediction | Unreadable]:
    usable = [item for item in decoded if isinstance(item, Decoded)]
    results: Iterator[Prediction | Unreadable] = iter(())
    if usable:
        started = time.perf_counter()
        with torch.inference_mode():
            images = torch.from_numpy(np.stack([item.pixels for item in usable]))
            probabilities, maps = model(images)
        ms = (time.perf_counter() - started) * 1000.0
        heat, shares = maps.float().numpy(), probabilities.float().numpy()
        results = (
            _prediction(item, shares[index], heat[index], ms=item.ms + ms, batch=len(usable))
            for index, item in enumerate(usable)
        )
    for item in decoded:
        yield item if isinstance(item, Unreadable) else next(results)


def _prediction(
    item: Decoded,
    shares: NDArray[np.float32],
    heat: NDArray[np.float32],
    *,
    ms: float,
    batch: int,
) -> Prediction | Unreadable:
    """Return the model's output for one file; without a decision if it is NaN or infinite."""
    bad = _probability_of_bad(shares)
    if not (math.isfinite(bad) and np.isfinite(shares).all() and np.isfinite(heat).all()):
        return Unreadable(path=item.path, reason=_NO_NUMBER)
    return Prediction(
        path=item.path,
        bad=bad,
        heat=heat[BAD],
        width=item.width,
        height=item.height,
        ms=ms,
        batch=batch,
        notes=item.notes,
        statistics=item.statistics,
        defects=shares[len(CLASSES) :],
        defect_heat=heat[len(CLASSES) :],
    )


def _probability_of_bad(shares: NDArray[np.float32]) -> float:
    """Return the probability of bad in double precision.

    In single precision all that is nearly certain is 1, so that such pills could not be ranked; how
    far from certain it is stands in the probability of good.
    """
    both = shares[: len(CLASSES)].astype(np.float64)
    with np.errstate(invalid="ignore"):  # the caller refuses NaN
        return float(both[BAD] / both.sum())
