"""Files in, probabilities and heat maps out, batch by batch; reading overlaps with computing.

for batch in predict(loaded.model, paths, size=224):
    batch.paths, batch.bad, batch.heat, batch.failures
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from pillqc.data.decoding_process import read_picture
from pillqc.data.images import normalised
from pillqc.errors import DataError
from pillqc.inspection.novelty import image_statistics
from pillqc.model.network import BAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.model.network import CustomVGG

BATCH_SIZE: Final = 8
_READ_AHEAD: Final = 2
"""Batches that are decoded while one is computed; more would only use memory."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says about one file."""

    path: Path
    bad: float
    """Probability of `bad`."""
    heat: NDArray[np.float32]
    """Map of the class `bad` (size, size), 0 to 1."""
    width: int
    """Of the file, in pixels."""
    height: int
    ms: float
    """What this file took: its own reading, and the model's call for its whole batch."""
    batch: int
    """How many files shared that call."""
    notes: tuple[str, ...]
    statistics: dict[str, float]
    """Of the whole picture: see `pillqc.inspection.novelty`."""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A file that could not be used."""

    path: Path
    reason: str
    looked_at: bool = True
    """Whether anyone tried; False: its name is not an image's."""


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    path: Path
    pixels: NDArray[np.float32]
    width: int
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

    What whoever found the files knows to be unreadable passes through in its place.
    """
    remaining = iter(paths)
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        ahead: deque[list[Future[_Decoded | Unreadable]]] = deque()

        def read_more() -> None:
            batch = list(islice(remaining, batch_size))
            if batch:
                ahead.append([pool.submit(_decode, path, size) for path in batch])

        for _ in range(_READ_AHEAD):
            read_more()
        while ahead:
            decoded = [future.result() for future in ahead.popleft()]
            read_more()
            yield from _predict_batch(model, decoded)


def _decode(path: Path | Unreadable, size: int) -> _Decoded | Unreadable:
    if isinstance(path, Unreadable):
        return path
    started = time.perf_counter()
    try:
        picture = read_picture(path)
        image = picture.image
        return _Decoded(
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
        return Unreadable(path=path, reason="too large for this machine's memory")


def _predict_batch(
    model: CustomVGG, decoded: list[_Decoded | Unreadable]
) -> Iterator[Prediction | Unreadable]:
    usable = [item for item in decoded if isinstance(item, _Decoded)]
    results: Iterator[Prediction] = iter(())
    if usable:
        started = time.perf_counter()
        with torch.inference_mode():
            images = torch.from_numpy(np.stack([item.pixels for item in usable]))
            probabilities, maps = model(images)
        ms = (time.perf_counter() - started) * 1000.0
        heat = maps[:, BAD].float().numpy()
        results = (
            Prediction(
                path=item.path,
                bad=float(probabilities[index, BAD]),
                heat=heat[index],
                width=item.width,
                height=item.height,
                ms=item.ms + ms,
                batch=len(usable),
                notes=item.notes,
                statistics=item.statistics,
            )
            for index, item in enumerate(usable)
        )
    for item in decoded:
        yield item if isinstance(item, Unreadable) else next(results)
