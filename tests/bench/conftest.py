"""Scripted clock and workers: no time passes, and no process is started."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.machine import noise
from bench.plan import variables
from bench.plan.scenario import Scenario, Task
from bench.worker.protocol import decode

if TYPE_CHECKING:
    from bench.errors import WorkerError

Fault = Callable[["FakeWorker", Mapping[str, Any]], dict[str, Any] | None]


@dataclass
class FakeClock:
    """Seconds that pass only when somebody spends them."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    @property
    def ns(self) -> int:
        return round(self.now * 1e9)

    def spend(self, seconds: float) -> None:
        self.now += seconds

    def spend_ms(self, ms: float) -> None:
        self.spend(ms / 1e3)


@dataclass(kw_only=True)
class FakeBackend:
    """Answers for every worker of a run.

    `call_ms` gives a call's time by scenario id; `faults` maps (scenario id, op) to a function that
    may raise or replace the reply; `asked` counts requests; `started` leaves the probe out.
    """

    clock: FakeClock
    call_ms: dict[str, float] = field(default_factory=dict)
    default_ms: float = 100.0
    first_call_factor: float = 3.0
    start_s: float = 1.0
    prepare_s: float = 0.2
    spread: float = 0.002
    """Standard deviation of a call's time, as a share."""
    first_call_s: dict[str, float] = field(default_factory=dict)
    """What compiling takes in the very first launch, by scenario id."""
    faults: dict[tuple[str, str], Fault] = field(default_factory=dict)
    greeting_faults: dict[str, WorkerError] = field(default_factory=dict)
    emulated_bf16: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    """The images, as every worker describes them."""
    probe_gflop_per_s: float = 215.0
    takes_variables: bool = True
    """Whether a worker's conditions are those that its scenario's variables name."""
    output_offset: dict[str, float] = field(default_factory=dict)
    """How far a scenario's outputs lie from everybody else's."""
    asked: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    timeouts_s: dict[tuple[str, str], float] = field(default_factory=dict)
    """How long the latest request of each kind might take."""
    started: list[tuple[str, bool, int]] = field(default_factory=list)
    alive: set[int] = field(default_factory=set)
    jitter: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def launch(self, key: Scenario, is_control: bool, launch: int) -> FakeWorker:
        is_probe = launch < 0
        if not is_probe:
            self.started.append((key.id, is_control, launch))
        worker = FakeWorker(backend=self, key=key, number=0 if is_probe else len(self.started))
        self.alive.add(worker.pid)
        return worker

    def ms(self, worker: FakeWorker) -> float:
        scenario = worker.scenario or worker.key
        return self.call_ms.get(scenario.id, self.default_ms) * scenario.batch_size

    def times(self, worker: FakeWorker, n: int, factor: float = 1.0) -> list[int]:
        spread = self.jitter.normal(1.0, self.spread, n)
        times = [int(self.ms(worker) * factor * x * 1e6) for x in spread]
        self.clock.spend(sum(times) / 1e9)
        return times

    def scripted(
        self, worker: FakeWorker, op: str, fields: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The reply that a test wants in place of the usual one."""
        fault = self.faults.get((worker.name, op))
        return None if fault is None else fault(worker, fields)

    def conditions_of(self, worker: FakeWorker) -> dict[str, Any]:
        found = {"threads": 2, "allocator": "glibc", "openmp": ["libgomp.so.1"]}
        if self.takes_variables:
            found |= variables.of(worker.key)
        return found


@dataclass(kw_only=True)
class FakeWorker:
    """A worker handle with scripted answers: every test's."""

    backend: FakeBackend
    key: Scenario
    number: int
    participant: str = ""
    scenario: Scenario | None = None

    @property
    def name(self) -> str:
        """Its participant's name, or what it was last asked to prepare."""
        return self.participant or (self.scenario or self.key).id

    @property
    def pid(self) -> int:
        return 100_000_000 + self.number

    @property
    def alive(self) -> bool:
        return self.pid in self.backend.alive

    def greet(self, timeout_s: float) -> dict[str, Any]:
        self.backend.clock.spend(self.backend.start_s)
        if self.key.backend in self.backend.greeting_faults:
            raise self.backend.greeting_faults[self.key.backend]
        hello = {"import_s": 1.5, "data": self.backend.data, **self.answer_conditions()}
        return {"ok": True, "hello": hello}

    def stop(self) -> None:
        self.backend.alive.discard(self.pid)

    def die(self) -> None:
        self.backend.alive.discard(self.pid)

    def ask(self, op: str, timeout_s: float, **fields: Any) -> dict[str, Any]:
        assert self.alive, "a dead worker was asked"
        if op == "prepare":
            self.scenario = decode(fields["scenario"])
        self.backend.asked[self.name, op] += 1
        self.backend.timeouts_s[self.name, op] = timeout_s
        replaced = self.backend.scripted(self, op, fields)
        if replaced is not None:
            return replaced
        answer: dict[str, Any] = getattr(self, f"answer_{op}")(**fields)
        return answer

    def answer_prepare(self, **_: Any) -> dict[str, Any]:
        self.backend.clock.spend(self.backend.prepare_s)
        assert self.scenario is not None
        bf16 = self.scenario.dtype.value == "bf16"
        return {
            "prepare_s": 0.2,
            "layers_replaced": 14 if self.scenario.backend == "ipex" else 0,
            "parameters": 14_715_714,
            "flop_per_call": 30_700_000_000 * self.scenario.batch_size,
            "native_dtype": not (bf16 and self.backend.emulated_bf16),
            "model": {"name": "fake", "trained": False, "threshold": 0.5},
        }

    def answer_call(self, n: int, phase: str) -> dict[str, Any]:
        assert self.scenario is not None
        factor = self.backend.first_call_factor if phase == "first_call" else 1.0
        times = self.backend.times(self, n, factor)
        if phase == "first_call":
            self.backend.clock.spend(self.backend.first_call_s.pop(self.scenario.id, 0.0))
        return {
            "wall_ns": times,
            "cpu_ns": times,
            "page_faults": [6240] * n,
            "involuntary_switches": 0,
            "invalid": None,
        }

    def answer_outputs(self, path: str, within_s: float, most_images: int | None) -> dict[str, Any]:
        """As a worker: batches of the scenario's size for so long, eight images at least."""
        assert self.scenario is not None
        offset = self.backend.output_offset.get(self.scenario.id, 0.0)
        write_outputs(Path(path), self.scenario.task, offset)
        if self.scenario.task is Task.TRAINING:
            return {"images": 4, "trained": False}
        size = self.scenario.batch_size
        within = int(1000 * within_s / self.backend.ms(self))
        most = -(-min(96, most_images or 96) // size)
        times = self.backend.times(self, max(-(-8 // size), min(most, within)))
        return {
            "images": size * len(times),
            "trained": False,
            "wall_ns": times,
            "cpu_ns": times,
        }

    def answer_kernels(self, **_: Any) -> dict[str, Any]:
        kernel = {
            "position": 0,
            "primitive": "convolution",
            "implementation": "brg_conv_fwd",
            "isa": "avx512_core",
            "data_types": "src:f32",
            "layouts": "src:acdb",
            "post_ops": None,
            "problem": "mb1",
            "ms": 1.0,
        }
        return {
            "kernels": [kernel],
            "calls": [{"wall_ms": 101.0, "kernels_ms": [1.0]}],
            "fused_ops": 0,
            "isa": "avx512_core",
            "contradiction": None,
        }

    def answer_rehearse(self, training_batch: int | None) -> dict[str, Any]:
        return {}

    def answer_memory(self) -> dict[str, Any]:
        return {"peak_rss_mb": 800.0, "rss_mb": 500.0}

    def answer_conditions(self) -> dict[str, Any]:
        return {"conditions": self.backend.conditions_of(self)}

    def answer_probe(self) -> dict[str, Any]:
        self.backend.clock.spend(0.04)
        return {
            "compute_ns": 20_000_000,
            "memory_ns": 20_000_000,
            "gflop_per_s": self.backend.probe_gflop_per_s,
        }

    def answer_peak(self, dtypes: list[str]) -> dict[str, Any]:
        return {"gflop_per_s": dict.fromkeys(dtypes, 400.0), "memory_gb_per_s": 20.0}

    def answer_renew(self) -> dict[str, Any]:
        self.backend.clock.spend(0.01)
        return {"renewed": True}

    def answer_rest(self) -> dict[str, Any]:
        return {"released": False}

    def answer_release(self) -> dict[str, Any]:
        self.scenario = None
        return {}


def write_outputs(path: Path, task: Task, offset: float = 0.0) -> None:
    """Outputs as a worker writes them, `offset` away from the reference."""
    if task is Task.TRAINING:
        np.savez(path, losses=np.array([0.7, 0.6]) + offset, trained=False)
        return
    bad = np.array([0.2, 0.8, 0.3, 0.9]) + offset
    np.savez(
        path,
        probabilities=np.stack([1 - bad, bad], axis=1).astype(np.float32),
        maps=np.zeros((4, 2, 2, 2), np.float32),
        bad=np.array([False, True, False, True]),
        paths=np.array(list("abcd")),
        threshold=0.5,
        trained=False,
    )


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when spent."""
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> FakeBackend:
    """Scripted workers on that clock."""
    return FakeBackend(clock=clock)


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test machine's own noise must not decide a test."""
    monkeypatch.setattr(noise, "is_quiet", lambda *_: True)
