"""Keep pictures for a run's report: the data, the model's view of it, its layers.

They are made after the measuring, by workers of their own, and nothing is timed. Without them the
run is complete all the same.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.errors import WorkerError
from bench.plan.scenario import Dtype, Mode, Scenario, Task, stock_default, worker_key
from bench.store import durable
from bench.store.events import Event, EventKind
from bench.worker import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy

FOLDER = "pictures"
CONTENTS = "pictures.json"
_PLAIN_IPEX = (Task.INFERENCE, "ipex", Mode.EAGER, Dtype.FP32)


def keep(
    launch: Callable[[Scenario, bool, int], WorkerHandle],
    scenarios: Sequence[Scenario],
    folder: Path,
    policy: Policy,
) -> list[Event]:
    """Fill `folder`/pictures; return an event for each worker that failed."""
    pictures = folder.resolve() / FOLDER
    ipex = [one for one in scenarios if (one.task, one.backend, one.mode, one.dtype) == _PLAIN_IPEX]
    contents: dict[str, Any] = {}
    events = []
    for scenario in (stock_default(Task.INFERENCE, 1), *ipex[:1]):
        missing = partial(Event, kind=EventKind.PICTURES_MISSING, subject=scenario.backend)
        try:
            worker = launch(worker_key(scenario), False, -1)
            contents |= _ask(worker, scenario, pictures, policy)
        except WorkerError as error:
            events.append(missing(reason=error.reason))
    if contents:
        pictures.mkdir(exist_ok=True)
        durable.replace(pictures / CONTENTS, (json.dumps(contents, indent=2) + "\n").encode())
    return events


def _ask(
    worker: WorkerHandle, scenario: Scenario, pictures: Path, policy: Policy
) -> dict[str, Any]:
    """Return the layers of the scenario's model, and of stock default the pictures too."""
    try:
        worker.greet(policy.start_timeout_s)
        limit_s = policy.prepare_timeout_s
        worker.ask("prepare", limit_s, scenario=protocol.encode(scenario))
        layers = worker.ask("layers", limit_s)["layers"]
        if not scenario.is_stock_default:
            return {"layers_after": layers}
        made = worker.ask("pictures", limit_s, folder=str(pictures))
        kept = {key: made.get(key) for key in ("items", "trained", "source")}
        return {**kept, "layers_before": layers}
    finally:
        worker.stop()
