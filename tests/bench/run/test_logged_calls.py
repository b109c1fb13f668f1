"""Which calls a run logs: what each of their layers took."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.plan.scenario import Status
from bench.store import records
from tests.bench.run.runs import ALL_1, DEFAULT_1, IPEX_1, SMOKE, Build, raising, rows_of

if TYPE_CHECKING:
    from bench.plan.scenario import Scenario
    from bench.run.runner import Runner


def logged_calls(runner: Runner, scenario: Scenario) -> list[records.LoggedCallRow]:
    """The logged calls of a scenario in the run's files."""
    found = records.read_run(runner.folder).logged_calls
    return [row for row in found if row.scenario == scenario.id]


def test_calls_are_logged_among_the_timed_ones(run: Build, backend: Any) -> None:
    """After blocks, five in each process and ten in all, each with the time of its block."""
    backend.call_ms = {IPEX_1.id: 110.0}
    runner = run(*ALL_1, profile=replace(SMOKE, processes=3, min_rounds=6))
    found = logged_calls(runner, IPEX_1)
    assert runner.state.visits()[IPEX_1.id] >= 3
    assert [*Counter(row.launch for row in found).values()] == [5, 5]
    assert [row.call for row in found] == [*range(5), *range(5)]
    timed = {
        round(row.wall_ns / 1e6, 3)
        for row in runner.state.iterations
        if row.scenario == IPEX_1.id and row.phase == "timed"
    }
    assert {round(row.unlogged_ms or 0, 3) for row in found} <= timed
    kernels = records.read_run(runner.folder).kernels
    assert sum(row.scenario == IPEX_1.id for row in kernels) == 1  # they are rows once


@pytest.mark.parametrize(("call_ms", "logged"), [(180.0, 3), (600.0, 1)])
def test_logged_calls_take_little_time_in_a_process(
    run: Build, backend: Any, call_ms: float, logged: int
) -> None:
    """Some .6 s; one call is logged however long it takes."""
    backend.default_ms = call_ms
    found = logged_calls(run(*ALL_1, profile=replace(SMOKE, min_rounds=6)), IPEX_1)
    assert len({row.launch for row in found}) > 1
    assert set(Counter(row.launch for row in found).values()) == {logged}


def test_a_control_is_not_logged(run: Build, backend: Any) -> None:
    """It runs what its base does."""
    controls: list[bool] = []

    def look(worker: Any, _: Any) -> None:
        _, is_control, _ = backend.started[worker.number - 1]
        controls.append(is_control)

    backend.faults[DEFAULT_1.id, "kernels"] = look
    run(DEFAULT_1, IPEX_1, profile=SMOKE)
    assert controls
    assert not any(controls)


def test_a_process_that_executes_something_else_adds_no_logged_call(
    run: Build, backend: Any
) -> None:
    """Its times would be of other primitives."""
    first: list[int] = []

    def other(worker: Any, fields: Any) -> dict[str, Any]:
        reply: dict[str, Any] = worker.answer_kernels(**fields)
        first.append(worker.number)
        if worker.number != first[0]:
            reply["kernels"][0]["problem"] = "mb2"
        return reply

    backend.faults[IPEX_1.id, "kernels"] = other
    runner = run(*ALL_1)
    assert len(set(first)) > 1
    assert {row.launch for row in logged_calls(runner, IPEX_1)} == {0}


def test_a_log_that_fails_costs_the_evidence_alone(run: Build, backend: Any) -> None:
    """The times count, and the page says what is missing."""
    backend.faults[IPEX_1.id, "kernels"] = raising(Status.CRASHED, "no log", dies=False)
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE)
    assert rows_of(runner)[IPEX_1.id].status == "ok"
    assert logged_calls(runner, IPEX_1) == []
    assert any("evidence is missing: no log" in event.sentence for event in runner.events)


def test_a_backend_without_a_log_is_logged_once(run: Build, backend: Any) -> None:
    """Further calls would say no more."""
    nothing = {"kernels": [], "calls": [{"wall_ms": 9.0, "kernels_ms": []}], "contradiction": None}
    backend.faults[IPEX_1.id, "kernels"] = lambda *_: nothing
    runner = run(*ALL_1)
    assert backend.asked[IPEX_1.id, "kernels"] == 1
    assert logged_calls(runner, IPEX_1) == []


def test_a_worker_of_an_older_commit_gives_kernels_without_times(run: Build, backend: Any) -> None:
    """Its reply has no calls, and the run goes on."""

    def old(worker: Any, _: Any) -> dict[str, Any]:
        reply: dict[str, Any] = worker.answer_kernels()
        del reply["calls"]
        return reply

    backend.faults[IPEX_1.id, "kernels"] = old
    runner = run(*ALL_1)
    assert rows_of(runner)[IPEX_1.id].status == "ok"
    assert logged_calls(runner, IPEX_1) == []
