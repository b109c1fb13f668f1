"""Stock PyTorch made slower by a known share, for `bench selfcheck`: is a slowdown found?

The extra is arithmetic and not sleep: it takes the same cores and slows with them when the machine
does, as a worse kernel would. How much of it makes up the wanted share is measured on the model's
own call at `prepare`, in turns, so that drift cancels. A scenario names the share in its options:
`slow=0.05`.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import SLOWED, Task
from bench.worker.backends import stock
from bench.worker.backends.stock import IMPORTS, load, verbose

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.plan.scenario import Scenario
    from bench.worker.backends import Prepared
    from bench.worker.workload.inputs import Inputs

__all__ = ["IMPORTS", "load", "prepare", "verbose"]

SIDE = 96
"""One unit is a product of matrices of this size: about 10 us, fine enough for 3 % of 10 ms."""
TURNS = 31
"""Calls and extras timed in turns; their medians make the calibration good to a percent of it."""
SETTLING = 5


def prepare(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    optimizer: torch.optim.Optimizer | None = None,
) -> Prepared:
    """Stock's own preparation, with the extra behind every call.

    Raises:
        NotImplementedError: training, or no share was named.
    """
    share = slow_share(scenario)
    if scenario.task is Task.TRAINING or share is None:
        raise NotImplementedError("a planted slowdown is for inference and needs `slow=SHARE`")
    prepared = stock.prepare(model, scenario, example, optimizer)
    slowed = Slowed(prepared.model)
    with torch.inference_mode():
        slowed.units = calibrated(
            share, call=lambda: prepared.model(example), burn=slowed.burn, seconds=_seconds
        )
    return replace(prepared, model=slowed)


def slow_share(scenario: Scenario) -> float | None:
    """The share that the options name; None if they name none."""
    for tag in scenario.options:
        name, _, value = tag.partition("=")
        if name == SLOWED:
            return float(value)
    return None


class Slowed(torch.nn.Module):
    """The model, and behind every call `units` of extra arithmetic."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.units = 0
        self._matrix = torch.rand(SIDE, SIDE)
        self._product = torch.empty(SIDE, SIDE)

    def forward(self, images: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the model returns
        """The model's own result."""
        result = self.inner(images)
        self.burn(self.units)
        return result

    def burn(self, units: int) -> None:
        """The extra alone."""
        for _ in range(units):
            torch.mm(self._matrix, self._matrix, out=self._product)


def calibrated(
    share: float,
    *,
    call: Callable[[], object],
    burn: Callable[[int], None],
    seconds: Callable[[Callable[[], object]], float],
) -> int:
    """How many units take `share` of a call, measured behind it as they will run.

    First roughly, for caches and loops cost other shares of few units than of many; then with
    about the right number.
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
