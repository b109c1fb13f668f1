"""Compare the speed of two ways of working: `pillqc benchmark`.

    done = compare_inspection(loaded, paths, rounds=5)
    done.ratio, done.spread

Every round times both ways directly one after the other, in alternating order, so that a slow
minute of the machine slows both.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from pillqc.data.images import load_images
from pillqc.errors import PillqcError
from pillqc.inspection.inspector import inspect
from pillqc.inspection.prediction import BATCH_SIZE
from pillqc.model.network import load_model
from pillqc.model.optimizing import ipex_optimize
from pillqc.training.batches import FileSource
from pillqc.training.loop import TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.model.network import LoadedModel

EPOCHS: Final = 3
"""Epochs of the compared trainings: reuse of frozen outputs shows from the second on."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Times of the plain way and of pillqc's way, round by round."""

    images: int
    plain_seconds: tuple[float, ...]
    our_seconds: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Our throughput divided by the plain one, in every round; above 1 ours is faster."""
        pairs = zip(self.plain_seconds, self.our_seconds, strict=True)
        return [plain / ours for plain, ours in pairs]

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest ratio."""
        return min(self.ratios), max(self.ratios)

    @property
    def images_per_s(self) -> tuple[float, float]:
        """Median throughput of the plain way and of ours."""
        plain, ours = map(statistics.median, (self.plain_seconds, self.our_seconds))
        return self.images / plain, self.images / ours

    def as_dict(self) -> dict[str, Any]:
        """Return the figures of `pillqc benchmark --json`."""
        plain, ours = self.images_per_s
        low, high = self.spread
        return {
            "images": self.images,
            "rounds": len(self.ratios),
            "plain_images_per_s": plain,
            "images_per_s": ours,
            "ratio": self.ratio,
            "ratio_low": low,
            "ratio_high": high,
        }


def compare(
    plain: Callable[[], object],
    ours: Callable[[], object],
    *,
    images: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time both ways in every round; the first one to run alternates."""
    seconds: tuple[list[float], list[float]] = ([], [])
    ways = list(zip((plain, ours), seconds, strict=True))
    for number in range(rounds):
        for work, times in ways if number % 2 == 0 else ways[::-1]:
            started = clock()
            work()
            times.append(clock() - started)
    return Comparison(images=images, plain_seconds=tuple(seconds[0]), our_seconds=tuple(seconds[1]))


def compare_inspection(loaded: LoadedModel, paths: Sequence[Path], *, rounds: int) -> Comparison:
    """Compare the inspection of files with the bare model on the same images in memory."""
    if not paths:
        raise PillqcError("there are no images to inspect")
    batches = [
        load_images(paths[start : start + BATCH_SIZE], loaded.size)
        for start in range(0, len(paths), BATCH_SIZE)
    ]

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                loaded.model(batch)

    def whole() -> None:
        for result in inspect(loaded, paths):
            str(result.as_dict())

    with torch.inference_mode():
        loaded.model(batches[0])  # the first call of a process is slow
    return compare(bare, whole, images=len(paths), rounds=rounds)


def compare_training(
    samples: Sequence[Sample], *, backend: str, size: int, rounds: int, weights: str | None = None
) -> Comparison:
    """Compare training epochs of `pillqc train` with the plain loop of the tutorial."""

    def work(samples: Sequence[Sample], *, plain: bool) -> None:
        options = TrainingOptions(epochs=EPOCHS, target_accuracy=None, plain=plain)
        optimize = ipex_optimize() if backend == "ipex" else None
        source = FileSource(samples, size=size)
        train(load_model(weights).model, source, options, optimize=optimize)

    kinds = {sample.bad: sample for sample in samples}
    work(list(kinds.values()), plain=True)  # the first one of a process is slow: it imports IPEX
    return compare(
        lambda: work(samples, plain=True),
        lambda: work(samples, plain=False),
        images=EPOCHS * len(samples),
        rounds=rounds,
    )
