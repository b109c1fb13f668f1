"""Scripted workers for studies: no process, no torch, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from bench.machine import noise
from bench.plan.profiles import PROFILES
from bench.plan.thresholds import DEFAULT
from bench.studies.study import Study
from tests.bench.conftest import FakeBackend, FakeClock, FakeWorker

if TYPE_CHECKING:
    from bench.engine.participants import Participant
    from bench.errors import WorkerError


Answer = Callable[[str, Mapping[str, Any]], dict[str, Any]]


@dataclass(kw_only=True)
class Bench(FakeBackend):
    """Starts scripted workers by participant and remembers them; `answers` are by operation."""

    clock: FakeClock = field(default_factory=FakeClock)
    first_call_factor: float = 1.0
    start_s: float = 0.0
    prepare_s: float = 0.0
    spread: float = 0.0
    answers: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, WorkerError] = field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    workers: list[FakeWorker] = field(default_factory=list)

    def sit(self, participant: Participant, number: int) -> FakeWorker:
        """Start the worker of a participant."""
        if participant.name in self.refused:
            raise self.refused[participant.name]
        worker = self.launch(participant.scenario, participant.is_control, number)
        worker.participant = participant.name
        self.workers.append(worker)
        return worker

    def ms(self, worker: FakeWorker) -> float:
        return self.call_ms.get(worker.participant.removesuffix("#control"), self.default_ms)

    def scripted(
        self, worker: FakeWorker, op: str, fields: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        answer = self.answers.get(op)
        return answer(worker.participant, fields) if answer else None

    def conditions_of(self, worker: FakeWorker) -> dict[str, Any]:
        return super().conditions_of(worker) | self.conditions.get(worker.participant, {})

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
