"""Slow stock PyTorch on purpose, to test whether the harness finds it.

`slow=0.05` slows a call by that share, for `bench selfcheck`. The extra is arithmetic and not
sleep: like a worse kernel, it uses the same cores and slows down with them. `prepare` measures how
much extra is the wanted share of the model's own call, in turns with that call, so that drift
cancels.

`slow_layer=features.10:3` computes one layer three times, and `slow_layer=features.10:alone` once
on one thread, for `tests/microbench/slowed_layers.py`.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import SLOWED, SLOWED_LAYER, Task
from bench.worker.backends import stock
from bench.worker.backends.stock import IMPORTS, load, verbose

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.plan.scenario import Scenario
    from bench.worker.backends import Prepared
    from bench.worker.workload.inputs import Inputs

__all__ = ["IMPORTS", "load", "prepare", "verbose"]

SIDE = 96
"""One unit is a product of matrices with this side: about 10 us, small enough for 3 % of 10 ms."""
TURNS = 31
"""Calls and extras timed in turns; their medians calibrate to within a percent."""
SETTLING = 5
ALONE = "alone"
"""In place of how often a slow layer is computed: on one thread."""


def prepare(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    optimizer: torch.optim.Optimizer | None = None,
) -> Prepared:
    """Set the model up as stock does, with the extra after every call or in a layer.

    Raises:
        NotImplementedError: the scenario trains, or does not say what is slow.
    """
    share, layer = scenario.option(SLOWED), scenario.option(SLOWED_LAYER)
    if scenario.task is Task.TRAINING or (share is None) == (layer is None):
        raise NotImplementedError(
            "a planted slowdown is for inference and needs `slow=SHARE` or `slow_layer=LAYER:TIMES`"
        )
    if layer is not None:
        slow_layer(model, *layer.rsplit(":", 1))
        return stock.prepare(model, scenario, example, optimizer)
    prepared = stock.prepare(model, scenario, example, optimizer)
    slowed = Slowed(prepared.model)
    with torch.inference_mode():
        slowed.units = calibrated(
            float(share or 0),
            call=lambda: prepared.model(example),
            burn=slowed.burn,
            seconds=_seconds,
        )
    return replace(prepared, model=slowed)


def slow_layer(model: torch.nn.Module, path: str, times: str) -> None:
    """Put a slower layer into the place of the one at that path of the model."""
    parent, _, name = path.rpartition(".")
    layer = model.get_submodule(path)
    slower = OnOneThread(layer) if times == ALONE else Repeated(layer, int(times))
    model.get_submodule(parent).register_module(name, slower)


class Repeated(torch.nn.Module):
    """A layer that is computed several times."""

    def __init__(self, inner: torch.nn.Module, times: int) -> None:
        super().__init__()
        self.inner = inner
        self.times = times

    def forward(self, values: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the layer returns
        """Return the result of the last time."""
        for _ in range(self.times - 1):
            self.inner(values)
        return self.inner(values)


class OnOneThread(torch.nn.Module):
    """A layer that is computed on one thread, whatever the others have."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the layer returns
        """Return the layer's result."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.inner(values)
        finally:
            torch.set_num_threads(threads)


class Slowed(torch.nn.Module):
    """A model with `units` of extra arithmetic after every call."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.units = 0
        self._matrix = torch.rand(SIDE, SIDE)
        self._product = torch.empty(SIDE, SIDE)

    def forward(self, images: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the model returns
        """Return the model's result."""
        result = self.inner(images)
        self.burn(self.units)
        return result

    def burn(self, units: int) -> None:
        """Run the extra arithmetic alone."""
        for _ in range(units):
            torch.mm(self._matrix, self._matrix, out=self._product)


def calibrated(
    share: float,
    *,
    call: Callable[[], object],
    burn: Callable[[int], None],
    seconds: Callable[[Callable[[], object]], float],
) -> int:
    """Return how many units take `share` of a call, measured after it as they will run.

    A rough estimate comes first, because few units cost another time each than many; the second
    measurement uses about the right number.
    """
    for _ in range(SETTLING):
        call()
        burn(SETTLING)
    units = max(1, round(share * seconds(call) / seconds(lambda: burn(100)) * 100))
    calls, burns = [], []
    for _ in range(TURNS):
        calls.append(seconds(call))
        burns.append(seconds(lambda: burn(units)))
    return round(units * share * statistics.median(calls) / statistics.median(burns))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
