"""Scripted workers for studies: no process, no torch, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from bench import noise
from bench.policy import DEFAULT
from bench.scenarios import PROFILES
from bench.studies.study import Study
from tests.bench.conftest import FakeBackend, FakeClock, FakeWorker

if TYPE_CHECKING:
    from bench.errors import WorkerError
    from bench.seats import Seat


Answer = Callable[[str, Mapping[str, Any]], dict[str, Any]]


@dataclass(kw_only=True)
class Bench(FakeBackend):
    """Starts scripted workers by seat and remembers them; `answers` are by operation."""

    clock: FakeClock = field(default_factory=FakeClock)
    first_call_factor: float = 1.0
    start_s: float = 0.0
    prepare_s: float = 0.0
    spread: float = 0.0
    answers: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, WorkerError] = field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    workers: list[FakeWorker] = field(default_factory=list)

    def sit(self, seat: Seat, number: int) -> FakeWorker:
        """Start the worker of a seat."""
        if seat.name in self.refused:
            raise self.refused[seat.name]
        worker = self.launch(seat.scenario, seat.is_control, number)
        worker.seat = seat.name
        self.workers.append(worker)
        return worker

    def ms(self, worker: FakeWorker) -> float:
        return self.call_ms.get(worker.seat.removesuffix("#control"), self.default_ms)

    def scripted(
        self, worker: FakeWorker, op: str, fields: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        answer = self.answers.get(op)
        return answer(worker.seat, fields) if answer else None

    def conditions_of(self, worker: FakeWorker) -> dict[str, Any]:
        return super().conditions_of(worker) | self.conditions.get(worker.seat, {})

    def study(self, groups: Any, turn: Any = None, **changes: Any) -> Study:
        fields: dict[str, Any] = {
            "run_id": "run",
            "profile": PROFILES["smoke"],
            "policy": DEFAULT,
            "budget_s": 10_000.0,
            "groups": groups,
            "launch": self.sit,
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
