"""A machine that is simulated whole: its processes' luck, its blocks' noise, its drift, its time.

The gate's own code runs on it (`against.judge`), with workers that answer at once and a clock that
moves as a worker would have taken, so that what the time bounds allow is part of what is tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.gate import against
from bench.gate.against import AgainstRequest
from bench.gate.side import Side
from bench.gate.thresholds import DEFAULT
from bench.policy import DEFAULT as POLICY
from bench.progress import Progress
from bench.scenarios import Scenario, Task, part_of, stock_default

if TYPE_CHECKING:
    from bench.gate.result import Case
    from bench.gate.thresholds import GatePolicy


@dataclass(kw_only=True)
class Machine:
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
    call_ms: float = 110.0
    start_s: float = 3.0
    """What a worker's start adds; three import at the same time on two cores."""
    prepare_s: float = 1.0
    now: float = 0.0
    launched: int = field(init=False, default=0)
    """Workers so far."""
    rng: np.random.Generator = field(init=False)
    phase: float = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.phase = float(self.rng.uniform(0, 2 * math.pi))

    def clock(self) -> float:
        return self.now

    def launch(self, side: Side, key: Scenario, number: int) -> SimulatedWorker:
        self.launched += 1
        luck = math.exp(self.rng.normal(0, self.process))
        slow = 1 + self.slowdown if side is Side.HEAD else 1.0
        return SimulatedWorker(machine=self, speed=luck * slow)

    def speed_now(self) -> float:
        """Drift, which all workers share at the same time."""
        waves = math.sin(self.now / 40 + self.phase) + math.sin(self.now / 7 + 3 * self.phase)
        return math.exp(self.drift * waves / 2)


@dataclass(kw_only=True)
class SimulatedWorker:
    """One process."""

    machine: Machine
    speed: float
    scenario: Scenario | None = None
    alive: bool = True
    pid: int = 0

    def greet(self, timeout_s: float) -> dict[str, Any]:
        self.machine.now += self.machine.start_s
        return {}

    def stop(self) -> None:
        self.alive = False

    def ask(self, op: str, timeout_s: float, **fields: Any) -> dict[str, Any]:
        machine = self.machine
        if op == "prepare":
            machine.now += machine.prepare_s
            return {"native_dtype": True, "part": None}
        if op == "conditions":
            return {"conditions": {}}
        if op == "release":
            return {}
        block = machine.rng.normal(0, machine.block)
        if machine.rng.random() < machine.burst:
            block += machine.rng.uniform(0, math.log(1.5))
        typical = machine.call_ms * self.speed * math.exp(block)
        walls = []
        for noise in machine.rng.normal(0, 0.01, fields["n"]):
            ms = typical * math.exp(noise) * machine.speed_now()
            machine.now += ms / 1000
            walls.append(int(1e6 * ms))
        return {"wall_ns": walls, "cpu_ns": walls, "involuntary_switches": 0, "invalid": None}


def gate(machine: Machine, thresholds: GatePolicy = DEFAULT, scenarios: int = 1) -> list[Case]:
    """A whole gate on that machine."""
    chosen = tuple(stock_default(Task.INFERENCE, 1 + number) for number in range(scenarios))
    assert not any(part_of(scenario) for scenario in chosen)
    request = AgainstRequest(
        revision=None,
        data=Path(),
        output=Path(),
        repository=Path(),
        thresholds=thresholds,
        policy=POLICY,
    )
    cases, _ = against.judge(
        chosen, machine.launch, lambda _: None, request, Progress(), "run", machine.clock
    )
    return cases
