"""Scripted workers for studies: no process, no torch, no waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from bench import noise
from bench.policy import DEFAULT
from bench.scenarios import PROFILES
from bench.studies.study import Study

if TYPE_CHECKING:
    from bench.errors import WorkerError
    from bench.seats import Seat


@dataclass
class Clock:
    """Seconds that pass only when spent."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    @property
    def ns(self) -> int:
        return round(self.now * 1e9)

    def spend_ms(self, ms: float) -> None:
        self.now += ms / 1e3


Answer = Callable[[str, Mapping[str, Any]], dict[str, Any]]


@dataclass(kw_only=True)
class Worker:
    """Answers what a session would, in the time that `call_ms` says."""

    clock: Clock
    seat: str
    call_ms: float
    number: int
    conditions: dict[str, Any] = field(default_factory=lambda: {"threads": 2, "allocator": "glibc"})
    answers: dict[str, Answer] = field(default_factory=dict)
    alive: bool = True
    asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def pid(self) -> int:
        return 100_000_000 + self.number

    def greet(self, timeout_s: float) -> dict[str, Any]:
        return {"ok": True, "hello": {}}

    def stop(self) -> None:
        self.alive = False

    def ask(self, op: str, timeout_s: float, **fields: Any) -> dict[str, Any]:
        assert self.alive, "a dead worker was asked"
        self.asked[op] += 1
        if op in self.answers:
            return self.answers[op](self.seat, fields)
        if op == "call":
            self.clock.spend_ms(self.call_ms * fields["n"])
            times = [round(self.call_ms * 1e6)] * fields["n"]
            return {"wall_ns": times, "cpu_ns": times, "involuntary_switches": 0, "invalid": None}
        if op == "conditions":
            return {"conditions": self.conditions}
        if op == "probe":
            return {"compute_ns": 1, "memory_ns": 1, "gflop_per_s": 1.0}
        return {"prepare_s": 0.0}


@dataclass(kw_only=True)
class Bench:
    """Starts scripted workers and remembers them."""

    clock: Clock = field(default_factory=Clock)
    call_ms: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, WorkerError] = field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    def launch(self, seat: Seat, number: int) -> Worker:
        if seat.name in self.refused:
            raise self.refused[seat.name]
        worker = Worker(
            clock=self.clock,
            seat=seat.name,
            call_ms=self.call_ms.get(seat.name.removesuffix("#control"), 100.0),
            number=len(self.workers),
            answers=self.answers,
        )
        worker.conditions.update(self.conditions.get(seat.name, {}))
        self.workers.append(worker)
        return worker

    def study(self, groups: Any, turn: Any = None, **changes: Any) -> Study:
        fields: dict[str, Any] = {
            "run_id": "run",
            "profile": PROFILES["smoke"],
            "policy": DEFAULT,
            "budget_s": 10_000.0,
            "groups": groups,
            "launch": self.launch,
            "turn": turn,
            "clock": self.clock,
        }
        return Study(**{**fields, **changes})


@pytest.fixture
def bench() -> Bench:
    """A machine of scripted workers."""
    return Bench()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test machine's own noise must not decide a test."""
    monkeypatch.setattr(noise, "is_quiet", lambda *_: True)
