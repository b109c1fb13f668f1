"""A simulated machine: differences between processes, noise of blocks, drift and time.

The gate's own code runs on it (`against.judge`). Workers answer at once, and the clock advances by
the time that real ones would take, so that the gate's time bounds are tested too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.gate import against
from bench.gate.measuring import Measurer
from bench.gate.side import Side
from bench.gate.thresholds import DEFAULT
from bench.plan.scenario import Scenario, Task, part_of, stock_default
from tests.bench.conftest import FakeBackend, FakeClock, FakeWorker

if TYPE_CHECKING:
    from bench.gate.result import Case
    from bench.gate.thresholds import GatePolicy


@dataclass(kw_only=True)
class Machine(FakeBackend):
    """A machine with two shared cores. Shares are on the log scale."""

    seed: int
    slowdown: float = 0.0
    """Planted slowdown of head."""
    process: float = 0.005
    """Standard deviation between processes of one build."""
    block: float = 0.025
    """Standard deviation between blocks of one process."""
    drift: float = 0.05
    """Range of the machine's speed within some minutes."""
    burst: float = 0.0
    """Share of the blocks that another process slows, by up to half."""
    gate_ms: float = 110.0
    """Time of a call."""
    start_s: float = 3.0
    """Time of a worker's start, with three importing at the same time on two cores."""
    prepare_s: float = 1.0
    clock: FakeClock = field(default_factory=lambda: FakeClock(now=0.0))
    first_call_factor: float = 1.0
    slow: dict[int, float] = field(init=False, default_factory=dict)
    """Worker -> factor on the time of its calls."""
    phase: float = field(init=False)

    def __post_init__(self) -> None:
        self.jitter = np.random.default_rng(self.seed)
        self.phase = float(self.jitter.uniform(0, 2 * math.pi))

    def start(self, side: Side, key: Scenario, number: int) -> FakeWorker:
        """Start the worker of a side."""
        worker = self.launch(key, side is Side.CONTROL, number)
        luck = math.exp(self.jitter.normal(0, self.process))
        self.slow[worker.number] = luck * (1 + self.slowdown if side is Side.HEAD else 1.0)
        return worker

    def speed_now(self) -> float:
        """Return the drift, which all workers share at the same time."""
        now = self.clock()
        waves = math.sin(now / 40 + self.phase) + math.sin(now / 7 + 3 * self.phase)
        return math.exp(self.drift * waves / 2)

    def times(self, worker: FakeWorker, n: int, factor: float = 1.0) -> list[int]:
        """Return the times of a block's calls, with its noise and sometimes a burst."""
        block = self.jitter.normal(0, self.block)
        if self.jitter.random() < self.burst:
            block += self.jitter.uniform(0, math.log(1.5))
        typical = self.gate_ms * self.slow[worker.number] * factor * math.exp(block)
        walls = []
        for noise in self.jitter.normal(0, 0.01, n):
            ms = typical * math.exp(noise) * self.speed_now()
            self.clock.spend_ms(ms)
            walls.append(int(1e6 * ms))
        return walls


def gate(machine: Machine, thresholds: GatePolicy = DEFAULT, scenarios: int = 1) -> list[Case]:
    """Run a whole gate on that machine."""
    chosen = tuple(stock_default(Task.INFERENCE, 1 + number) for number in range(scenarios))
    assert not any(part_of(scenario) for scenario in chosen)
    measurer = Measurer(
        run_id="run",
        launch=machine.start,
        record=lambda _: None,
        thresholds=thresholds,
        clock=machine.clock,
    )
    return against.judge(chosen, measurer)
