"""Hold the scenario that a worker has prepared."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import Scenario, Task
from bench.worker import graphs, workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from bench.worker.backends import Prepared
    from bench.worker.product_parts import Part
    from bench.worker.workload import Batch
    from bench.worker.workload.inputs import Inputs

TRAINING_STEPS_COMPARED = 3
"""The first call and the shortest warm-up make as many steps, so comparing costs none extra."""


@dataclass(kw_only=True)
class ActiveScenario:
    """A prepared scenario, its inputs, and what its calls have shown so far."""

    scenario: Scenario
    prepared: Prepared
    batch: Batch
    threshold: float
    trained: bool
    part: Part | None = None
    """The timed part of the product; None: the model's call or the optimiser step is timed."""
    step: Callable[[Prepared, Batch], torch.Tensor] = workload.step
    """One optimiser step on a batch; returns the loss from before it."""
    calls: int = 0
    graph: object = None
    """Identity of the compiled graph when last read; a change while timing invalidates times."""
    shapes: object = None
    """Shapes of the first result."""
    losses: list[float] = field(default_factory=list)
    """Losses of the first training steps, timed or not."""

    def call(self, images: Inputs | None = None) -> Any:  # noqa: ANN401 - whatever the model returns
        """Make one call, on the scenario's own batch unless other images are given."""
        self.calls += 1
        if self.part is not None:
            return self.part.call()
        if self.scenario.task is Task.TRAINING:
            loss = self.step(self.prepared, self.batch)
            if len(self.losses) < TRAINING_STEPS_COMPARED:
                self.losses.append(float(loss))
            return loss
        return self.prepared(self.batch.images if images is None else images)

    def context(self) -> AbstractContextManager[object]:
        """Return the context around calls: inference mode, unless the call sets its own."""
        sets_own = self.part is not None or self.scenario.task is Task.TRAINING
        return nullcontext() if sets_own else torch.inference_mode()

    def graph_now(self) -> object:
        """Return the compiled graph's identity; None for a part, which may compile at any time."""
        return None if self.part is not None else graphs.identity(self.scenario.mode)
