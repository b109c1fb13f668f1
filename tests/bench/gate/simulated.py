"""A machine that is simulated whole: its processes' luck, its blocks' noise, its drift, its time.

The gate's own code runs on it (`against.judge`), with workers that answer at once and a clock that
moves as a worker would have taken, so that what the time bounds allow is part of what is tried.
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
    """Two shared cores, as far as they matter here. Shares are on the log scale."""

    seed: int
    slowdown: float = 0.0
    """Of head, planted."""
    process: float = 0.005
    """How much processes of one build differ."""
    block: float = 0.025
    """How much blocks of one process differ."""
    drift: float = 0.05
    """How far the machine's speed wanders within some minutes."""
    burst: float = 0.0
    """Share of the blocks that another process disturbs, by up to half."""
    gate_ms: float = 110.0
    """What a call takes."""
    start_s: float = 3.0
    """What a worker's start adds; three import at the same time on two cores."""
    prepare_s: float = 1.0
    clock: FakeClock = field(default_factory=lambda: FakeClock(now=0.0))
    first_call_factor: float = 1.0
    slow: dict[int, float] = field(init=False, default_factory=dict)
    """By worker: how much longer its calls take."""
    phase: float = field(init=False)

    def __post_init__(self) -> None:
        self.jitter = np.random.default_rng(self.seed)
        self.phase = float(self.jitter.uniform(0, 2 * math.pi))

    def start(self, side: Side, key: Scenario, number: int) -> FakeWorker:
        """The worker of a side."""
        worker = self.launch(key, side is Side.CONTROL, number)
        luck = math.exp(self.jitter.normal(0, self.process))
        self.slow[worker.number] = luck * (1 + self.slowdown if side is Side.HEAD else 1.0)
        return worker

    def speed_now(self) -> float:
        """Drift, which all workers share at the same time."""
        now = self.clock()
        waves = math.sin(now / 40 + self.phase) + math.sin(now / 7 + 3 * self.phase)
        return math.exp(self.drift * waves / 2)

    def times(self, worker: FakeWorker, n: int, factor: float = 1.0) -> list[int]:
        """Calls of one block: its own noise, and now and then a burst of other work."""
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
    """A whole gate on that machine."""
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
