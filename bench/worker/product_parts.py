"""Time parts of the product on their own, for the gate.

A scenario names its part in its options (`scenario.PARTS`); without one, the model's call or the
optimiser step is timed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.plan.scenario import BOXES, INSPECTION, PREPARATION, PREPROCESSING, Scenario, part_of
from bench.worker import workload

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from bench.worker.backends import Backend
    from bench.worker.workload import Workload
    from pillqc.model.network import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Part:
    """A timed call, and an untimed function to run before each."""

    call: Callable[[], Any]
    before: Callable[[], object] | None = None


def part(
    scenario: Scenario, *, work: Workload, backend: Backend, loaded: LoadedModel
) -> Part | None:
    """Return the part that the scenario names, or None."""
    name = part_of(scenario)
    if name is None:
        return None
    samples = work.first(scenario.batch_size)
    if name == PREPROCESSING:
        return Part(call=lambda: work.load(samples))
    if name == BOXES:
        maps = work.heat_maps(scenario.batch_size)
        return Part(call=lambda: workload.boxes(maps))
    if name == INSPECTION:
        return Part(call=lambda: work.inspected(loaded, samples))
    if name == PREPARATION:
        return _preparation(scenario, work, backend)
    return None


def _preparation(scenario: Scenario, work: Workload, backend: Backend) -> Part:
    """Let the backend set up a new model each time, because setting up alters the model."""
    example = work.batch(scenario.batch_size).images
    fresh: list[tuple[torch.nn.Module, torch.optim.Optimizer | None]] = []

    def build() -> None:
        model = work.model(scenario).model
        fresh[:] = [(model, workload.optimizer_for(model, scenario))]

    def prepare() -> object:
        model, optimizer = fresh.pop()
        return backend.prepare(model, scenario, example, optimizer)

    return Part(call=prepare, before=build)
