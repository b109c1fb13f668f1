"""Compute the arrays that the parity check compares (see `bench.analysis.parity`)."""

from __future__ import annotations

import math
import time
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.plan.scenario import Mode, Task
from bench.plan.thresholds import LEAST_IMAGES
from bench.worker.prepared_scenario import TRAINING_STEPS_COMPARED
from bench.worker.timing import timed
from bench.worker.workload.inputs import in_layout

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.worker.prepared_scenario import ActiveScenario
    from bench.worker.timing import Block
    from bench.worker.workload import Workload
    from pillqc.data.images import Sample

MAP_SIDE = 56
"""Maps are thinned to about this many points a side (every fourth of 224). They are not averaged,
so a wrong point stays as wrong as it is."""
BATCHES = 2
"""Of a user's model, whose numbers are compared; the other one is not timed."""
MOST_LABELS = 96
"""As many items as the rendered pills have images to judge by; random inputs have no end."""
SETTLING_CALLS = 3
"""TorchScript records types, then optimises: its final graph exists after this many calls."""

Arrays = dict[str, Any]


def compared(
    active: ActiveScenario, work: Workload, within_s: float | None, most_images: int | None = None
) -> tuple[Arrays, list[Block]]:
    """Return a scenario's arrays by name, and the timed calls that were made for them."""
    calls: list[Block] = []
    if active.scenario.task is Task.TRAINING:
        return _losses(active), calls
    _settle(active, calls)
    most = len(work.samples) if work.decides else MOST_LABELS
    limit = _Limit(within_s, most if most_images is None else min(most, most_images))
    compute = _decisions if work.decides else _numbers
    return compute(active, work, calls, limit), calls


class _Limit:
    """How many items are computed: as many as fit into the time, within bounds."""

    def __init__(self, within_s: float | None, most: int) -> None:
        self._stop = time.monotonic() + (math.inf if within_s is None else within_s)
        self._most = most

    def allows(self, done: int) -> bool:
        """Return whether more than these are wanted."""
        in_time = done < LEAST_IMAGES or time.monotonic() < self._stop
        return done < self._most and in_time


def save(path: Path, arrays: Arrays) -> None:
    """Write the arrays to `path` in one step: a worker that dies leaves no part of them there."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)


def as_numbers(tensor: torch.Tensor) -> NDArray[Any]:
    """Copy a tensor to NumPy, with bf16 and fp16 as fp32."""
    half = tensor.dtype in (torch.bfloat16, torch.float16)
    found: NDArray[Any] = (tensor.float() if half else tensor).numpy(force=True).copy()
    return found


def _losses(active: ActiveScenario) -> Arrays:
    """Return the losses of the first steps since `prepare`; missing steps are made now.

    The first ones start from the untouched model, however often it was called since.
    """
    while len(active.losses) < TRAINING_STEPS_COMPARED:
        active.call()
    return {"losses": np.array(active.losses), "trained": active.trained}


def _decisions(active: ActiveScenario, work: Workload, calls: list[Block], limit: _Limit) -> Arrays:
    """Run the parity images in batches of the scenario's size, the last one filled up."""
    samples = work.samples
    size = active.scenario.batch_size
    probabilities, maps, done = [], [], 0
    while limit.allows(done):
        batch = samples[done : done + size]
        calls.append(_call_on(active, work, batch))
        batch_probabilities, batch_maps = calls[-1].result
        stride = max(1, batch_maps.shape[-1] // MAP_SIDE)
        probabilities.append(as_numbers(batch_probabilities[: len(batch)]))
        maps.append(as_numbers(batch_maps[: len(batch), ..., ::stride, ::stride]))
        done += len(batch)
    return {
        "probabilities": np.concatenate(probabilities),
        "maps": np.concatenate(maps),
        "bad": np.array([sample.bad for sample in samples[:done]]),
        "paths": np.array([str(sample.path) for sample in samples[:done]]),
        "threshold": active.threshold,
        "trained": active.trained,
    }


def _call_on(active: ActiveScenario, work: Workload, samples: list[Sample]) -> Block:
    filled = list(islice(cycle(samples), active.scenario.batch_size))
    images = in_layout(work.load(filled), active.scenario.layout)
    with active.context():
        return timed(lambda: active.call(images), 1)


def _settle(active: ActiveScenario, calls: list[Block]) -> None:
    """Call until the graph that will be timed exists: its outputs are the ones to compare."""
    needed = SETTLING_CALLS if active.scenario.mode is Mode.TORCHSCRIPT else 1
    if active.calls < needed:
        with active.context():
            calls.append(timed(active.call, needed - active.calls))


def _numbers(active: ActiveScenario, work: Workload, calls: list[Block], limit: _Limit) -> Arrays:
    """Return every output tensor of two batches, and the labels of as many items as fit.

    The first batch is the timed one; a trace may have taken constants from it that are wrong for
    the second. What a user's model returns has no meaning here; only `--decide` gives it one.
    """
    size = active.scenario.batch_size
    outputs: list[NDArray[Any]] = []
    labels: list[str] = []
    done = 0
    for images in work.batches(size):
        if done >= BATCHES and not (labels and limit.allows(len(labels))):
            break
        laid_out = in_layout(images, active.scenario.layout)
        with active.context():
            calls.append(timed(partial(active.call, laid_out), 1))
        result = calls[-1].result
        if done < BATCHES:
            outputs += map(as_numbers, result if isinstance(result, (tuple, list)) else (result,))
        labels += work.labels(result, size) or []
        done += 1
    arrays: Arrays = {f"output_{number}": values for number, values in enumerate(outputs)}
    if labels:
        arrays["labels"] = np.array(labels)
    return {**arrays, "trained": active.trained, "images": len(labels) or done * size}
