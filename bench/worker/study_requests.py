"""Inside a worker: what the studies ask of the scenario that is prepared."""

from __future__ import annotations

import math
import random
import time
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import torch

from bench.errors import WorkerError
from bench.plan.scenario import Status, Task
from bench.plan.thresholds import STUDIES
from bench.worker import arrivals, workload
from bench.worker.session import in_layout, laid_out

if TYPE_CHECKING:
    from bench.worker.session import Session

_AT_ONCE = 8


def stages(session: Session, first: int, n: int) -> dict[str, Any]:
    """`n` images from disk to decision, one at a time, from number `first` on; stage by stage."""
    live, work = session.live, session.work

    def call(images: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the model returns
        return live.prepared(in_layout(images, live.scenario.layout))

    count = len(work.samples)
    found = []
    with live.context():
        for number in range(first, first + n):
            sample = work.samples[number % count]
            timed = workload.inspect_in_stages(
                sample.path, call, size=work.image_size, threshold=live.threshold
            )
            place = f"{sample.split}/{sample.defect}/{sample.path.name}"
            found.append({**timed, "image": place})
    return {"images": found}


def call_for(session: Session, seconds: float) -> dict[str, Any]:
    """Calls until the time is over, with the start and end of each on the machine's own clock."""
    live = session.live
    starts: list[int] = []
    ends: list[int] = []
    with live.context():
        stop = time.monotonic_ns() + int(seconds * 1e9)
        while not ends or ends[-1] < stop:
            starts.append(time.monotonic_ns())
            live.call()
            ends.append(time.monotonic_ns())
    return {"start_ns": starts, "end_ns": ends}


def serve(session: Session, begin_ns: int, offsets_ns: list[int]) -> dict[str, Any]:
    """Requests that arrive when they are due, whether the one before is done or not."""
    live = session.live
    with live.context():
        spans = arrivals.serve(
            offsets_ns,
            begin_ns,
            call=live.call,
            now_ns=time.monotonic_ns,
            sleep=lambda ns: time.sleep(ns / 1e9),
        )
    return {"start_ns": [start for start, _ in spans], "end_ns": [end for _, end in spans]}


def start_training(session: Session, seed: int) -> dict[str, Any]:
    """Prepare the scenario anew from the seed's own start, with the seed's own order of images.

    The weights are set before the backend optimises, because packed ones cannot take others.
    """
    scenario = session.live.scenario
    if scenario.task is not Task.TRAINING:
        raise WorkerError(Status.UNSUPPORTED, f"{scenario.id} does not train")
    work = session.work
    if not work.training_samples:
        raise WorkerError(Status.UNSUPPORTED, "the data holds no training images")
    session.prepare(scenario, before=lambda model: workload.start_afresh(model, seed))
    optimizer = session.live.prepared.optimizer
    for group in optimizer.param_groups if optimizer else ():
        group["lr"] = STUDIES.accuracy_learning_rate
    samples = list(work.training_samples)
    random.Random(seed).shuffle(samples)  # noqa: S311 - an order, not a secret
    session.training_samples = balanced(samples)[: STUDIES.accuracy_training_images]
    evaluated = min(STUDIES.accuracy_evaluated, len(work.samples))
    return {"images": len(session.training_samples), "evaluated": evaluated}


def balanced(samples: list[Any]) -> list[Any]:
    """Good and bad in turn, as long as both last, the rarer kind from its start again.

    Raises:
        WorkerError: one kind is missing.
    """
    good = [sample for sample in samples if not sample.bad]
    bad = [sample for sample in samples if sample.bad]
    if not (good and bad):
        raise WorkerError(Status.UNSUPPORTED, "training needs good and bad images in train/")
    longest = max(len(good), len(bad))
    pairs = zip(islice(cycle(good), longest), islice(cycle(bad), longest), strict=True)
    return [sample for pair in pairs for sample in pair]


def train(session: Session, first: int, n: int) -> dict[str, Any]:
    """Steps number `first` and on; only the steps are timed, not reading images."""
    live, work = session.live, session.work
    size = live.scenario.batch_size
    samples = session.training_samples
    live.prepared.model.train()
    times, loss = [], float("nan")
    for step in range(first, first + n):
        start_at = step * size % len(samples)
        chosen = list(islice(cycle(samples), start_at, start_at + size))
        batch = laid_out(work.training_batch(chosen), live.scenario.layout)
        start = time.perf_counter_ns()
        result = workload.step(live.prepared, batch)
        times.append(time.perf_counter_ns() - start)
        loss = float(result)
    if not math.isfinite(loss):
        raise WorkerError(Status.WRONG_OUTPUT, "the loss is not a number: training diverged")
    return {"wall_ns": times, "loss": loss}


def evaluate(session: Session) -> dict[str, Any]:
    """Share of the test images that are told right by the larger probability."""
    live, work = session.live, session.work
    samples = work.samples[: STUDIES.accuracy_evaluated]
    right = 0
    live.prepared.model.eval()
    with torch.no_grad():
        for first in range(0, len(samples), _AT_ONCE):
            part = samples[first : first + _AT_ONCE]
            images = in_layout(work.load(part), live.scenario.layout)
            probabilities, _ = live.prepared(images)
            called = probabilities.float().argmax(dim=1).tolist()
            right += sum(bool(bad) == one.bad for bad, one in zip(called, part, strict=True))
    live.prepared.model.train()
    return {"accuracy": right / len(samples)}
