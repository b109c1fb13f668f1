"""What a run looks at in a launch: all of it once, later what is needed."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.plan.profiles import PROFILES
from bench.plan.scenario import Status
from bench.run import resume
from bench.store import records
from tests.bench.run.runs import (
    BF16_1,
    DEFAULT_1,
    IPEX_1,
    IPEX_4,
    LAST_1,
    SCRIPT_1,
    SMOKE,
    TWICE,
    Build,
    raising,
    rows_of,
    speedup_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.scenario import Scenario
    from bench.run.runner import Runner

ALL = (DEFAULT_1, LAST_1, SCRIPT_1, IPEX_1)


def warm_up_calls(runner: Runner, scenario: Scenario, launch: int) -> int:
    """Warm-up calls before the rounds."""
    return sum(
        row.scenario == scenario.id
        and row.launch == launch
        and row.phase == "warmup"
        and row.round is None
        for row in runner.state.iterations
    )


def test_the_calls_that_outputs_take_are_warm_up(run: Build, backend: Any) -> None:
    """20 images of 100 ms are rows like any other, and steady without a further call."""
    runner = run(*ALL)
    assert backend.asked[IPEX_1.id, "outputs"] == 1
    assert warm_up_calls(runner, IPEX_1, 0) in (19, 20)


def test_a_profile_says_how_long_outputs_are_compared(run: Build, backend: Any) -> None:
    """Twice as long, twice as many images; `full` takes a minute, as the documentation says."""
    runner = run(*ALL, profile=replace(TWICE, parity_s=4.0))
    assert warm_up_calls(runner, IPEX_1, 0) in (39, 40)
    assert PROFILES["full"].parity_s == 60


def test_the_best_is_compared_for_a_minute(run: Build, backend: Any) -> None:
    """In fresh processes of it and of stock default; one that decides otherwise is refused."""
    backend.call_ms = {IPEX_1.id: 50.0, SCRIPT_1.id: 70.0}
    asked: dict[str, list[float]] = {}

    def look(worker: Any, fields: dict[str, Any]) -> None:
        asked.setdefault(worker.scenario.id, []).append(fields["within_s"])
        wrong = worker.scenario.id == IPEX_1.id and fields["within_s"] > TWICE.parity_s
        backend.output_offset[worker.scenario.id] = 0.4 if wrong else 0.0

    for scenario in ALL:
        backend.faults[scenario.id, "outputs"] = look
    profile = replace(TWICE, processes=1, recommended_parity_s=60.0)
    runner = run(*ALL, profile=profile, peak={})
    assert asked[IPEX_1.id] == asked[SCRIPT_1.id] == [2.0, 60.0]  # the next best takes its place
    assert asked[LAST_1.id] == [2.0]
    assert asked[DEFAULT_1.id][:2] == [2.0, 60.0]
    rows = rows_of(runner)
    assert (rows[IPEX_1.id].status, rows[SCRIPT_1.id].status) == ("wrong_output", "ok")


def test_how_long_it_took_to_settle_does_not_include_them(run: Build, backend: Any) -> None:
    """A user waits for eleven level calls, however many the outputs took."""
    runner = run(*ALL)
    rows = rows_of(runner)
    assert rows[IPEX_1.id].warmup_iterations == 11


def test_a_later_launch_does_not_find_out_again_what_is_known(run: Build, backend: Any) -> None:
    """Two calls, where the first launch showed that it was level from the start."""
    runner = run(*ALL)
    assert {warm_up_calls(runner, scenario, 1) for scenario in ALL} == {2}


def test_a_scenario_far_too_slow_for_the_budget_is_left_out(run: Build, backend: Any) -> None:
    """Its first call and one more, and the others have the budget; a slow compilation is none."""
    backend.call_ms = {SCRIPT_1.id: 20_000.0}

    def compiles(_worker: Any, fields: Any) -> dict[str, Any] | None:
        if fields["phase"] != "first_call":
            return None
        backend.clock.spend(60.0)
        return {"wall_ns": [60_000_000_000], "cpu_ns": [60_000_000_000], "invalid": None}

    backend.faults[IPEX_1.id, "call"] = compiles
    runner = run(*ALL, budget_s=235.0)
    rows = rows_of(runner)
    assert (rows[SCRIPT_1.id].status, rows[IPEX_1.id].status) == ("unavailable", "ok")
    assert "one call takes 20 s, and a scenario may use 25 % of the budget" in (
        rows[SCRIPT_1.id].reason or ""
    )
    assert sum(row.scenario == SCRIPT_1.id for row in runner.state.iterations) == 2
    assert rows[LAST_1.id].status == "ok"


def test_a_slow_stock_default_is_measured_however_slow(run: Build, backend: Any) -> None:
    """Without it there is nothing to compare with."""
    backend.call_ms = {DEFAULT_1.id: 20_000.0}
    runner = run(DEFAULT_1, LAST_1, budget_s=60.0)
    rows = rows_of(runner)
    assert rows[DEFAULT_1.id].status in ("ok", "no_steady_state")
    assert rows[DEFAULT_1.id].rounds >= TWICE.min_rounds


def test_slow_calls_need_one_more_only(run: Build, backend: Any) -> None:
    """Except TorchScript's, whose graph is final after the third."""
    backend.default_ms = 300.0
    runner = run(*ALL)
    assert warm_up_calls(runner, LAST_1, 1) == 1
    assert warm_up_calls(runner, SCRIPT_1, 1) == 2


def test_all_executions_of_a_group_discard_as_many_calls(run: Build, backend: Any) -> None:
    """A cold start that counts for the slow execution only would be the fast one's gain."""
    backend.call_ms = {DEFAULT_1.id: 300.0, LAST_1.id: 300.0, SCRIPT_1.id: 300.0, IPEX_1.id: 100.0}
    runner = run(*ALL)
    discarded = {
        row.scenario for row in runner.state.iterations if row.phase == "warmup" and row.round
    }
    assert discarded == set()


def test_a_backends_first_worker_gives_the_import_time(run: Build, backend: Any) -> None:
    """Two imports side by side take longer than one; the figure shown is that of one."""
    together: list[int] = []
    waiting: list[Any] = []
    imports = iter([1.0, 4.0, 2.0, 2.0, 2.0])

    def launch(key: Scenario, control: bool, number: int) -> Any:
        worker = backend.launch(key, control, number)
        if number == 0:
            waiting.append(worker)
            worker.greet = greet
        return worker

    def greet(_: float) -> dict[str, Any]:
        if waiting:
            together.append(len(waiting))
            waiting.clear()
        conditions = {"threads": 2, "allocator": "glibc", "openmp": ["libgomp.so.1"]}
        return {"ok": True, "hello": {"import_s": next(imports), "conditions": conditions}}

    runner = run(*ALL, starts_at_once=2, launch=launch)
    assert together == [1, 1, 2, 1]  # stock, IPEX, then the rest and the control
    rows = {name: row.import_s for name, row in rows_of(runner).items()}
    assert rows == {DEFAULT_1.id: 1.0, IPEX_1.id: 4.0, LAST_1.id: 1.0, SCRIPT_1.id: 1.0}


def test_models_are_set_up_side_by_side_once_their_cost_is_known(run: Build, backend: Any) -> None:
    """The first launch one by one, for `prepare_s` is shown; what is measured is the same."""
    runner = run(*ALL, starts_at_once=2)
    assert runner.complete
    rows = rows_of(runner).values()
    assert {row.status for row in rows} == {"ok"}
    assert min(row.launches for row in rows) >= 2


def test_first_calls_are_side_by_side_once_their_cost_is_known(run: Build, backend: Any) -> None:
    """Compiling keeps one core busy; what a cold one takes is a result, and taken alone."""
    threads: dict[bool, set[bool]] = {False: set(), True: set()}

    def watched(_: Any, fields: dict[str, Any]) -> None:
        if fields["phase"] == "first_call":
            later = backend.asked[IPEX_1.id, "prepare"] > 1
            threads[later].add(threading.current_thread() is threading.main_thread())

    backend.faults[IPEX_1.id, "call"] = watched
    runner = run(*ALL, starts_at_once=2)
    assert threads == {False: {True}, True: {False}}
    first = [row for row in runner.state.iterations if row.phase == "first_call"]
    names = {(row.scenario, row.launch) for row in first}
    assert len(names) == len(first)


def test_wrong_outputs_are_not_timed(run: Build, backend: Any) -> None:
    """A scenario that computes something else is no faster way of computing this."""
    backend.output_offset[IPEX_1.id] = 0.05
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE)
    row = rows_of(runner)[IPEX_1.id]
    assert (row.status, row.rounds) == ("wrong_output", 0)
    assert "0.05" in (row.reason or "")
    assert speedup_of(runner, IPEX_1).verdict == "invalid"


def test_a_label_that_the_evidence_contradicts_does_not_count(run: Build, backend: Any) -> None:
    """`fusion on` without fused operations is no result for fusion."""
    found = {"kernels": [], "fused_ops": 0, "isa": None, "contradiction": "nothing was fused"}
    backend.faults[IPEX_1.id, "kernels"] = lambda *_: found
    row = rows_of(run(DEFAULT_1, IPEX_1, IPEX_4, profile=SMOKE))[IPEX_1.id]
    assert row.status == "unsupported"
    assert "nothing was fused" in (row.reason or "")


@pytest.mark.parametrize(("rounding", "status"), [(0.0, "unsupported"), (1e-3, "ok")])
def test_a_dtype_that_changes_no_bit_was_not_run(
    run: Build, backend: Any, rounding: float, status: str
) -> None:
    """Autocast leaves operators that it does not know in fp32, whatever the label says."""

    def write(worker: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
        numbers = np.linspace(1, 2, 9) + (rounding if worker.scenario == BF16_1 else 0)
        np.savez(fields["path"], output_0=numbers, images=1, trained=False)
        times = backend.times(worker, 1)
        return {"images": 1, "trained": False, "wall_ns": times, "cpu_ns": times}

    backend.faults |= {(one.id, "outputs"): write for one in (DEFAULT_1, BF16_1)}
    row = rows_of(run(DEFAULT_1, BF16_1, profile=SMOKE))[BF16_1.id]
    assert row.status == status
    assert ("bit for bit" in (row.reason or "")) == (status == "unsupported")


def test_a_row_carries_its_evidence_and_memory(run: Build, backend: Any) -> None:
    """Reorders, their share, the graph's own count and idle memory come from the worker."""

    def seen(worker: Any, _fields: Any) -> dict[str, Any]:
        found: dict[str, Any] = worker.answer_kernels()
        reorder = {**found["kernels"][0], "position": 1, "primitive": "reorder"}
        graph = {"nodes": {"ipex_prepack::convolution_relu_run": 13}, "reorder_share": 0.25}
        return {**found, "kernels": [*found["kernels"], reorder], "graph": graph}

    backend.faults[IPEX_1.id, "kernels"] = seen
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE)
    files = records.read_run(runner.folder)
    restored = resume.restore(files, runner.scenarios).outcomes[IPEX_1.id].row("run", [], {})
    for row in (rows_of(runner)[IPEX_1.id], restored):
        assert (row.reorders, row.reorder_share) == (1, 0.25)
        assert row.graph == "ipex_prepack::convolution_relu_run=13"
        assert row.steady_rss_mb == 500.0
    assert rows_of(runner)[IPEX_1.id].page_faults == 6240
    parity = {one.scenario: one for one in files.parity}
    assert parity[IPEX_1.id].recall_bad_default == parity[IPEX_1.id].recall_bad == 1.0


def loaded(allocator: str = "glibc", openmp: str = "libgomp.so.1") -> Any:
    """A worker's answer: what it has loaded."""
    found = {"threads": 2, "allocator": allocator, "openmp": [openmp]}
    return lambda *_: {"conditions": found}


def test_another_allocator_makes_the_comparison_invalid(run: Build, backend: Any) -> None:
    """The allocator alone is worth more than what is compared; both times stay in the files."""
    backend.call_ms = {DEFAULT_1.id: 150.0, IPEX_1.id: 100.0}
    backend.faults[IPEX_1.id, "conditions"] = loaded("tcmalloc")
    runner = run()
    row = speedup_of(runner, IPEX_1)
    assert row.verdict == "invalid"
    assert "allocator: glibc against tcmalloc" in (row.reason or "")
    assert row.speedup == pytest.approx(1.5, rel=0.01)
    workers = runner.state.workers()
    assert workers[IPEX_1.id]["differs"] == ["allocator: glibc against tcmalloc"]
    assert "differs" not in workers[IPEX_4.id]
    assert speedup_of(runner, IPEX_4).verdict == "same"


def test_another_environment_may_have_its_own_runtime(run: Build, backend: Any) -> None:
    """In the default environment it makes a comparison invalid; its allocator always does."""
    elsewhere = replace(DEFAULT_1, environment="torch-latest")
    allocator = replace(LAST_1, environment="torch-latest")
    backend.faults[IPEX_1.id, "conditions"] = loaded(openmp="libomp.so")
    backend.faults[elsewhere.id, "conditions"] = loaded(openmp="libomp.so")
    backend.faults[allocator.id, "conditions"] = loaded("tcmalloc")
    runner = run(DEFAULT_1, IPEX_1, elsewhere, allocator)
    verdicts = [speedup_of(runner, one).verdict for one in (IPEX_1, elsewhere, allocator)]
    assert verdicts == ["invalid", "same", "invalid"]


def test_conditions_are_compared_in_every_launch(run: Build, backend: Any) -> None:
    """A difference of the second processes counts as much; the first ones' are kept."""

    def later(*_: Any) -> Any:
        second = backend.asked[IPEX_1.id, "conditions"] == 2
        return loaded("tcmalloc")() if second else None

    backend.faults[IPEX_1.id, "conditions"] = later
    runner = run(DEFAULT_1, IPEX_1)
    assert speedup_of(runner, IPEX_1).verdict == "invalid"
    assert runner.state.workers()[IPEX_1.id]["allocator"] == "glibc"


def test_without_conditions_those_of_the_greeting_stay(run: Build, backend: Any) -> None:
    """It may be of an older commit."""
    backend.faults[IPEX_1.id, "conditions"] = raising(Status.CRASHED, dies=False)
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE)
    assert rows_of(runner)[IPEX_1.id].status == "ok"
    assert runner.state.workers()[IPEX_1.id]["allocator"] == "glibc"


def test_a_control_under_other_conditions_leaves_no_verdict(run: Build, backend: Any) -> None:
    """Its spread would be no noise floor for anything in the group."""

    def control(worker: Any, _fields: Mapping[str, Any]) -> Any:
        return loaded("tcmalloc")() if backend.started[worker.number - 1][1] else None

    backend.faults[DEFAULT_1.id, "conditions"] = control
    row = speedup_of(run(DEFAULT_1, IPEX_1, profile=SMOKE), IPEX_1)
    assert row.verdict == "invalid"
    assert "of its control, allocator" in (row.reason or "")


@pytest.mark.parametrize(
    ("what", "values"),
    [("affinity", ([0, 1], [0])), ("cpu_quota", ("max 100000", "50000 100000"))],
)
def test_a_cpu_taken_away_while_measuring_leaves_no_verdict(
    run: Build, backend: Any, what: str, values: tuple[Any, Any]
) -> None:
    """By affinity or by a cgroup: the conditions are read again after the rounds."""
    reads: Counter[int] = Counter()

    def conditions(worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
        reads[worker.number] += 1
        now = values[reads[worker.number] % 2 == 0]
        return {"conditions": {**backend.conditions_of(worker), what: now}}

    for scenario in (DEFAULT_1, IPEX_1):
        backend.faults[scenario.id, "conditions"] = conditions
    row = speedup_of(run(DEFAULT_1, IPEX_1, profile=SMOKE), IPEX_1)
    assert row.verdict == "invalid"
    assert what in str(row.reason)


def logged_calls(runner: Runner, scenario: Scenario) -> list[records.LoggedCallRow]:
    """The logged calls of a scenario in the run's files."""
    found = records.read_run(runner.folder).logged_calls
    return [row for row in found if row.scenario == scenario.id]


def test_calls_are_logged_among_the_timed_ones(run: Build, backend: Any) -> None:
    """After blocks, five in each process and ten in all, each with the time of its block."""
    backend.call_ms = {IPEX_1.id: 150.0}
    runner = run(*ALL, profile=replace(SMOKE, processes=3, min_rounds=6))
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


def test_slow_calls_are_logged_twice_a_process(run: Build, backend: Any) -> None:
    """So that a run costs little more for it."""
    backend.default_ms = 600.0
    found = logged_calls(run(*ALL), IPEX_1)
    assert len({row.launch for row in found}) > 1
    assert set(Counter(row.launch for row in found).values()) == {2}


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
    runner = run(*ALL)
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
    runner = run(*ALL)
    assert backend.asked[IPEX_1.id, "kernels"] == 1
    assert logged_calls(runner, IPEX_1) == []


def test_a_worker_of_an_older_commit_gives_kernels_without_times(run: Build, backend: Any) -> None:
    """Its reply has no calls, and the run goes on."""

    def old(worker: Any, _: Any) -> dict[str, Any]:
        reply: dict[str, Any] = worker.answer_kernels()
        del reply["calls"]
        return reply

    backend.faults[IPEX_1.id, "kernels"] = old
    runner = run(*ALL)
    assert rows_of(runner)[IPEX_1.id].status == "ok"
    assert logged_calls(runner, IPEX_1) == []


def test_reduced_arithmetic_is_compared_as_bf16_is(run: Build, backend: Any) -> None:
    """The same error under the plain label is a wrong output."""
    reduced = replace(LAST_1, options=("fpmath=bf16",))
    backend.output_offset = {reduced.id: 0.01, SCRIPT_1.id: 0.01}
    rows = rows_of(run(DEFAULT_1, SCRIPT_1, reduced))
    assert (rows[SCRIPT_1.id].status, rows[reduced.id].status) == ("wrong_output", "ok")
