"""Pictures that a run keeps for its report: the data, what the model says of it, its layers.

Made after the measuring, in workers of their own; nothing here is timed. A worker that fails leaves
a note and no picture: the run is whole without them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.errors import WorkerError
from bench.plan.scenario import Dtype, Mode, Scenario, Task, stock_default, worker_key
from bench.store import durable
from bench.worker import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy

FOLDER = "pictures"
CONTENTS = "pictures.json"


def keep(
    launch: Callable[[Scenario, bool, int], WorkerHandle],
    scenarios: Sequence[Scenario],
    folder: Path,
    policy: Policy,
) -> list[str]:
    """Fill `folder`/pictures; returns a sentence for each thing that could not be made."""
    place = folder.resolve() / FOLDER
    stock = stock_default(Task.INFERENCE, 1)
    optimised = next((one for one in scenarios if _is_plain_ipex(one)), None)
    found: dict[str, Any] = {}
    notes = []
    for scenario in (stock, optimised):
        if scenario is None:
            continue
        try:
            found |= _of_worker(launch(worker_key(scenario), False, -1), scenario, place, policy)
        except WorkerError as error:
            notes.append(f"Pictures of {scenario.backend} are missing: {error.reason}.")
    if found:
        place.mkdir(exist_ok=True)
        durable.replace(place / CONTENTS, (json.dumps(found, indent=2) + "\n").encode())
    return notes


def _is_plain_ipex(scenario: Scenario) -> bool:
    kind = (scenario.task, scenario.backend, scenario.mode, scenario.dtype)
    return kind == (Task.INFERENCE, "ipex", Mode.EAGER, Dtype.FP32)


def _of_worker(
    worker: WorkerHandle, scenario: Scenario, place: Path, policy: Policy
) -> dict[str, Any]:
    try:
        worker.greet(policy.start_timeout_s)
        limit_s = policy.prepare_timeout_s
        worker.ask("prepare", limit_s, scenario=protocol.encode(scenario))
        layers = worker.ask("layers", limit_s)["layers"]
        if not scenario.is_stock_default:
            return {"layers_after": layers}
        shown = worker.ask("pictures", limit_s, folder=str(place))
        kept = {key: shown.get(key) for key in ("items", "trained", "source")}
        return {**kept, "layers_before": layers}
    finally:
        worker.stop()
