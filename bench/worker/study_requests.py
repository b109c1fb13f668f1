"""Serve the requests of studies, on the prepared scenario."""

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
from bench.worker.workload.inputs import in_layout

if TYPE_CHECKING:
    from bench.worker import protocol
    from bench.worker.session import Session
    from pillqc.data.images import Sample

_AT_ONCE = 8


def stages(session: Session, first: int, n: int) -> dict[str, Any]:
    """Time `n` images from disk to decision, stage by stage, from number `first` on."""
    active, work = session.active, session.work

    def call(images: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the model returns
        return active.prepared(in_layout(images, active.scenario.layout))

    count = len(work.samples)
    found = []
    with active.context():
        for number in range(first, first + n):
            sample = work.samples[number % count]
            timed = workload.inspect_in_stages(
                sample.path, call, size=work.image_size, threshold=active.threshold
            )
            place = f"{sample.split}/{sample.defect}/{sample.path.name}"
            found.append({**timed, "image": place})
    return {"images": found}


def call_for(session: Session, seconds: float) -> protocol.SpansReply:
    """Call until the time is over."""
    active = session.active
    starts: list[int] = []
    ends: list[int] = []
    with active.context():
        stop = time.monotonic_ns() + int(seconds * 1e9)
        while not ends or ends[-1] < stop:
            starts.append(time.monotonic_ns())
            active.call()
            ends.append(time.monotonic_ns())
    return {"start_ns": starts, "end_ns": ends}


def serve(session: Session, begin_ns: int, offsets_ns: list[int]) -> protocol.SpansReply:
    """Serve requests that become due on a schedule, whether the one before is done or not."""
    active = session.active
    with active.context():
        spans = arrivals.serve(
            offsets_ns,
            begin_ns,
            call=active.call,
            now_ns=time.monotonic_ns,
            sleep=lambda ns: time.sleep(ns / 1e9),
        )
    return {"start_ns": [start for start, _ in spans], "end_ns": [end for _, end in spans]}


def start_training(session: Session, seed: int) -> dict[str, Any]:
    """Prepare the scenario again with the seed's weights and order of images.

    The weights are set before the backend optimises, because packed weights cannot be replaced.

    Raises:
        WorkerError: the scenario does not train, or images are missing.
    """
    scenario = session.active.scenario
    if scenario.task is not Task.TRAINING:
        raise WorkerError(Status.UNSUPPORTED, f"{scenario.id} does not train")
    work = session.work
    if not work.training_samples:
        raise WorkerError(Status.UNSUPPORTED, "the data holds no training images")
    session.prepare(scenario, before=lambda model: workload.reset_trainable_layers(model, seed))
    optimizer = session.active.prepared.optimizer
    for group in optimizer.param_groups if optimizer else ():
        group["lr"] = STUDIES.accuracy_learning_rate
    samples = list(work.training_samples)
    random.Random(seed).shuffle(samples)  # noqa: S311 - an order, not a secret
    session.training_samples = balanced(samples)[: STUDIES.accuracy_training_images]
    evaluated = min(STUDIES.accuracy_evaluated, len(work.samples))
    return {"images": len(session.training_samples), "evaluated": evaluated}


def balanced(samples: list[Sample]) -> list[Sample]:
    """Return good and bad in turn; the rarer kind is repeated from its start.

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


def train(session: Session, first: int, n: int) -> protocol.TrainReply:
    """Do `n` steps from number `first` on; reading images is not timed."""
    active, work = session.active, session.work
    size = active.scenario.batch_size
    samples = session.training_samples
    active.prepared.model.train()
    times, loss = [], float("nan")
    for step in range(first, first + n):
        start_at = step * size % len(samples)
        chosen = list(islice(cycle(samples), start_at, start_at + size))
        batch = work.training_batch(chosen).in_layout(active.scenario.layout)
        start = time.perf_counter_ns()
        result = workload.step(active.prepared, batch)
        times.append(time.perf_counter_ns() - start)
        loss = float(result)
    if not math.isfinite(loss):
        raise WorkerError(Status.WRONG_OUTPUT, "the loss is not finite: training diverged")
    return {"wall_ns": times, "loss": loss}


def evaluate(session: Session) -> dict[str, Any]:
    """Return the share of test images whose larger probability is that of their label.

    A compiled model is called uncompiled: compiling it for evaluation too would take as long as
    many steps, and its weights are the same.
    """
    active, work = session.active, session.work
    samples = work.samples[: STUDIES.accuracy_evaluated]
    right = 0
    active.prepared.model.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for first in range(0, len(samples), _AT_ONCE):
            part = samples[first : first + _AT_ONCE]
            images = in_layout(work.load(part), active.scenario.layout)
            probabilities, _ = active.prepared(images)
            called = probabilities.float().argmax(dim=1).tolist()
            right += sum(bool(bad) == one.bad for bad, one in zip(called, part, strict=True))
    active.prepared.model.train()
    return {"accuracy": right / len(samples)}
