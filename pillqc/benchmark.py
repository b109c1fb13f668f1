"""What reading, resizing, boxes and printing cost beside the model: `pillqc benchmark`.

    rounds = inspection_rounds(loaded, paths, rounds=5)
    summary = share_of_bare(rounds)

Each round times both ways, one directly after the other and in alternating order, so that a slow
minute of the machine slows both.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from pillqc.data.images import load_images
from pillqc.errors import PillqcError
from pillqc.inspection.inspector import inspect
from pillqc.inspection.prediction import BATCH_SIZE
from pillqc.model.network import load_model
from pillqc.training.batches import FileSource
from pillqc.training.train import TrainingOptions, ipex_optimize, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.model.network import LoadedModel

EPOCHS: Final = 3
"""Of the compared trainings: reuse of frozen outputs shows from the second on."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """Seconds of both ways, measured one after the other."""

    plain: float
    ours: float

    @property
    def ratio(self) -> float:
        """Throughput of ours in shares of the plain one's; above 1 ours is faster."""
        return self.plain / self.ours


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several rounds."""

    images: int
    rounds: tuple[Round, ...]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(r.ratio for r in self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest."""
        ratios = [r.ratio for r in self.rounds]
        return min(ratios), max(ratios)

    @property
    def images_per_s(self) -> tuple[float, float]:
        """Median of plain and of ours."""
        plain = statistics.median(r.plain for r in self.rounds)
        ours = statistics.median(r.ours for r in self.rounds)
        return self.images / plain, self.images / ours


def compare(
    plain: Callable[[], object],
    ours: Callable[[], object],
    *,
    images: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time both in every round, each first in every second one."""
    found = []
    for number in range(rounds):
        times = {}
        for name, work in _in_turn(plain, ours, number):
            started = clock()
            work()
            times[name] = clock() - started
        found.append(Round(**times))
    return Comparison(images=images, rounds=tuple(found))


def compare_inspection(loaded: LoadedModel, paths: Sequence[Path], *, rounds: int) -> Comparison:
    """Inspection of files on disk against the bare model on the same images, read before."""
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
        loaded.model(batches[0])  # the first call is slow, whoever makes it
    return compare(bare, whole, images=len(paths), rounds=rounds)


def compare_training(
    samples: Sequence[Sample], *, backend: str, size: int, rounds: int, weights: str | None = None
) -> Comparison:
    """Epochs of training as `pillqc train` does them, against the plain loop of the tutorial."""

    def of(*, plain: bool) -> Callable[[], object]:
        def work() -> object:
            options = TrainingOptions(epochs=EPOCHS, target_accuracy=None, plain=plain)
            optimize = ipex_optimize() if backend == "ipex" else None
            source = FileSource(samples, size=size)
            return train(load_model(weights).model, source, options, optimize=optimize)

        return work

    images = EPOCHS * len(samples)
    return compare(of(plain=True), of(plain=False), images=images, rounds=rounds)


def _in_turn(
    plain: Callable[[], object], ours: Callable[[], object], number: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    both = [("plain", plain), ("ours", ours)]
    yield from both if number % 2 == 0 else both[::-1]
