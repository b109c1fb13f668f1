"""One experiment on scripted workers: how its time is shared out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.engine.execution import Execution
from bench.errors import WorkerError
from bench.gate.thresholds import Effort
from bench.machine import noise
from bench.plan.thresholds import DEFAULT, NoisePolicy
from bench.selfcheck.check import stock_participants, verdict_of
from bench.selfcheck.experiment import Experiment, Measured
from tests.bench.calls import timed_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.engine.participants import Participant

pytestmark = pytest.mark.usefixtures("quiet_machine")


def experiment(
    backend: Any,
    participants: list[Participant],
    effort: Effort,
    *,
    launch: Callable[[Participant], Any] | None = None,
) -> Experiment:
    """An experiment on scripted workers."""
    return Experiment(
        name="planted 0",
        participants=participants,
        effort=effort,
        policy=DEFAULT,
        launch=launch or (lambda participant: backend.launch(participant.scenario, False, 0)),
        clock=backend.clock,
    )


@pytest.mark.parametrize("allowed_s", [30.0, 90.0])
def test_no_launch_takes_more_than_its_part_of_the_time(backend: Any, allowed_s: float) -> None:
    """The first one neither, when nothing but the time ends it."""
    backend.default_ms = 15.0
    began = backend.clock()
    effort = Effort(launches=3, min_rounds=2, max_rounds=500, budget_s=allowed_s)
    measured = experiment(backend, stock_participants(3), effort).measure()
    rounds = Counter(launch for launch, _ in measured.blocks["stock-0"])
    assert backend.clock() - began <= allowed_s
    assert sorted(rounds) == [0, 1, 2]
    assert max(rounds.values()) < 1.5 * min(rounds.values())


def test_a_worker_under_other_conditions_has_no_verdict(backend: Any) -> None:
    """A thread less is a finding about the machine, and no wrong verdict of the harness."""
    participants = stock_participants(3)
    workers: list[Any] = []

    def launch(participant: Participant) -> Any:
        worker = backend.launch(participant.scenario, False, 0)
        if participant.name == participants[2].name:
            workers.append(worker)
        return worker

    def conditions(worker: Any, _fields: Any) -> dict[str, Any]:
        threads = 1 if worker in workers else 2
        return {"conditions": {"threads": threads}}

    backend.faults[participants[0].scenario.id, "conditions"] = conditions
    effort = Effort(launches=2, min_rounds=3, max_rounds=4)
    measured = experiment(backend, participants, effort, launch=launch).measure()
    assert "threads: 2 against 1" in measured.unlike[participants[2].name]
    verdict, ratio = verdict_of(
        measured, participants[2], participants[0], participants[1], DEFAULT
    )
    assert (verdict, ratio is not None) == ("invalid", True)
    assert (
        verdict_of(measured, participants[1], participants[0], participants[2], DEFAULT)[0]
        != "invalid"
    )


def test_where_no_block_counts_the_reason_is_told(backend: Any) -> None:
    """A broken machine is no verdict, and no traceback either."""
    participants = stock_participants(3)

    def lost(_worker: Any, fields: Any) -> dict[str, Any]:
        times = [15_000_000] * fields["n"]
        return {"wall_ns": times, "cpu_ns": times, "invalid": "it was compiled anew"}

    backend.faults[participants[0].scenario.id, "call"] = lost
    effort = Effort(launches=1, min_rounds=3, max_rounds=3)
    with pytest.raises(WorkerError, match=r"planted 0 .* compiled anew"):
        experiment(backend, participants, effort).measure()


def test_a_participant_that_lost_every_block_leaves_the_others_their_verdict() -> None:
    """On a busy machine other work may disturb all blocks of one participant.

    It was refused as in a run, and so it does not count; `inconclusive` would count as not wrong.
    """
    participants = stock_participants(4)
    lost = participants[3]
    measured = Measured(
        calls=tuple(
            timed_call(one.name, launch=launch, round_=number, ms=15.0, disturbed=one is lost)
            for one in participants
            for launch in range(3)
            for number in range(4)
        )
    )
    scenario, baseline, control = participants[:3]
    assert verdict_of(measured, scenario, baseline, control, DEFAULT)[0] == "same"
    assert verdict_of(measured, lost, baseline, control, DEFAULT) == ("invalid", None)


def test_blocks_that_other_work_disturbed_are_refused_and_end_nothing(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block of every participant was measured, so that the experiment did not fail."""
    monkeypatch.setattr(Execution, "_had_less_cpu", lambda *_: True)
    monkeypatch.setattr(noise, "saw_other_work", lambda *_: True)
    participants = stock_participants(3)
    effort = Effort(launches=2, min_rounds=3, max_rounds=3)
    made = experiment(backend, participants, effort)
    made.policy = replace(DEFAULT, noise=NoisePolicy(idle_wait_s=0.0))
    scenario, baseline, control = participants
    found = verdict_of(made.measure(), scenario, baseline, control, DEFAULT)
    assert found == ("invalid", None)
