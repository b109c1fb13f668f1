"""What a run looks at in a launch: all of it once, later what is needed."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.engine.progress import Progress
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Layout, Mode, Scenario, Task, stock_default
from bench.plan.thresholds import DEFAULT
from bench.run.runner import Runner
from bench.store import records

if TYPE_CHECKING:
    from pathlib import Path

SMOKE = replace(PROFILES["smoke"], processes=2)
STOCK = stock_default(Task.INFERENCE, 1)
LAST = replace(STOCK, layout=Layout.CHANNELS_LAST)
SCRIPT = replace(LAST, mode=Mode.TORCHSCRIPT, fusion=True)
IPEX = replace(LAST, backend="ipex")
ALL = (STOCK, LAST, SCRIPT, IPEX)

pytestmark = pytest.mark.usefixtures("quiet_machine")


def measured(folder: Path, backend: Any, scenarios: tuple[Scenario, ...], **changes: Any) -> Runner:
    """A whole run over scripted workers."""
    (folder / "outputs").mkdir()
    records.write_environment(folder, {"run_id": "run"})
    fields: dict[str, Any] = {"profile": SMOKE, "policy": DEFAULT, "budget_s": 10_000.0, **changes}
    runner = Runner(
        run_id="run",
        folder=folder,
        scenarios=scenarios,
        clock=backend.clock,
        progress=Progress(),
        **{"launch": backend.launch, **fields},
    )
    runner.measure()
    return runner


def warm_up_calls(runner: Runner, scenario: Scenario, launch: int) -> int:
    """Warm-up calls before the rounds."""
    return sum(
        row.scenario == scenario.id
        and row.launch == launch
        and row.phase == "warmup"
        and row.round is None
        for row in runner.state.iterations
    )


def test_the_calls_that_outputs_take_are_warm_up(tmp_path: Path, backend: Any) -> None:
    """20 images of 100 ms are rows like any other, and steady without a further call."""
    runner = measured(tmp_path, backend, ALL)
    assert backend.asked[IPEX.id, "outputs"] == 1
    assert warm_up_calls(runner, IPEX, 0) in (19, 20)


def test_a_profile_says_how_long_outputs_are_compared(tmp_path: Path, backend: Any) -> None:
    """Twice as long, twice as many images; `full` takes a minute, as the documentation says."""
    runner = measured(tmp_path, backend, ALL, profile=replace(SMOKE, parity_s=4.0))
    assert warm_up_calls(runner, IPEX, 0) in (39, 40)
    assert PROFILES["full"].parity_s == 60


def test_who_leads_is_compared_for_a_minute_before_it_is_recommended(
    tmp_path: Path, backend: Any
) -> None:
    """Fresh processes of it and of stock default; whoever then decides otherwise is refused."""
    backend.call_ms = {IPEX.id: 50.0, SCRIPT.id: 70.0}
    asked: dict[str, list[float]] = {}

    def look(worker: Any, fields: dict[str, Any]) -> None:
        asked.setdefault(worker.scenario.id, []).append(fields["within_s"])
        wrong = worker.scenario.id == IPEX.id and fields["within_s"] > SMOKE.parity_s
        backend.output_offset[worker.scenario.id] = 0.4 if wrong else 0.0

    for scenario in ALL:
        backend.faults[scenario.id, "outputs"] = look
    profile = replace(SMOKE, processes=1, recommended_parity_s=60.0)
    runner = measured(tmp_path, backend, ALL, profile=profile)
    assert asked[IPEX.id] == asked[SCRIPT.id] == [2.0, 60.0]  # the next best takes its place
    assert asked[LAST.id] == [2.0]
    assert asked[STOCK.id][:2] == [2.0, 60.0]
    rows = {row.scenario: row for row in records.read_run(runner.folder).scenarios}
    assert (rows[IPEX.id].status, rows[SCRIPT.id].status) == ("wrong_output", "ok")


def test_how_long_it_took_to_settle_is_told_without_them(tmp_path: Path, backend: Any) -> None:
    """A user waits for eleven level calls, however many the outputs took."""
    runner = measured(tmp_path, backend, ALL)
    rows = {row.scenario: row for row in records.read_run(runner.folder).scenarios}
    assert rows[IPEX.id].warmup_iterations == 11


def test_a_later_launch_does_not_find_out_again_what_is_known(tmp_path: Path, backend: Any) -> None:
    """Two calls, where the first launch showed that it was level from the start."""
    runner = measured(tmp_path, backend, ALL)
    assert {warm_up_calls(runner, scenario, 1) for scenario in ALL} == {2}


def test_a_scenario_far_too_slow_for_the_budget_is_left_out(tmp_path: Path, backend: Any) -> None:
    """Its first call and one more, and the others have the budget; a slow compilation is none."""
    backend.call_ms = {SCRIPT.id: 20_000.0}

    def compiles(_worker: Any, fields: Any) -> dict[str, Any] | None:
        if fields["phase"] != "first_call":
            return None
        backend.clock.spend(60.0)
        return {"wall_ns": [60_000_000_000], "cpu_ns": [60_000_000_000], "invalid": None}

    backend.faults[IPEX.id, "call"] = compiles
    runner = measured(tmp_path, backend, ALL, budget_s=235.0)
    rows = {row.scenario: row for row in records.read_run(runner.folder).scenarios}
    assert (rows[SCRIPT.id].status, rows[IPEX.id].status) == ("unavailable", "ok")
    assert "one call takes 20 s, and a scenario may use 25 % of the budget" in (
        rows[SCRIPT.id].reason or ""
    )
    assert sum(row.scenario == SCRIPT.id for row in runner.state.iterations) == 2
    assert rows[LAST.id].status == "ok"


def test_a_slow_stock_default_is_measured_however_slow(tmp_path: Path, backend: Any) -> None:
    """Without it there is nothing to compare with."""
    backend.call_ms = {STOCK.id: 20_000.0}
    runner = measured(tmp_path, backend, (STOCK, LAST), budget_s=60.0)
    rows = {row.scenario: row for row in records.read_run(runner.folder).scenarios}
    assert rows[STOCK.id].status in ("ok", "no_steady_state")
    assert rows[STOCK.id].rounds >= SMOKE.min_rounds


def test_slow_calls_need_one_more_only(tmp_path: Path, backend: Any) -> None:
    """Except TorchScript's, whose graph is final after the third."""
    backend.default_ms = 300.0
    runner = measured(tmp_path, backend, ALL)
    assert warm_up_calls(runner, LAST, 1) == 1
    assert warm_up_calls(runner, SCRIPT, 1) == 2


def test_all_executions_of_a_group_discard_alike(tmp_path: Path, backend: Any) -> None:
    """A cold start that counts for the slow execution only would be the fast one's gain."""
    backend.call_ms = {STOCK.id: 300.0, LAST.id: 300.0, SCRIPT.id: 300.0, IPEX.id: 100.0}
    runner = measured(tmp_path, backend, ALL)
    discarded = {
        row.scenario for row in runner.state.iterations if row.phase == "warmup" and row.round
    }
    assert discarded == set()


def test_a_backends_first_worker_starts_alone_and_tells_what_importing_costs(
    tmp_path: Path, backend: Any
) -> None:
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

    runner = measured(tmp_path, backend, ALL, starts_at_once=2, launch=launch)
    assert together == [1, 1, 2, 1]  # stock, IPEX, then the rest and the control
    rows = {row.scenario: row.import_s for row in records.read_run(runner.folder).scenarios}
    assert rows == {STOCK.id: 1.0, IPEX.id: 4.0, LAST.id: 1.0, SCRIPT.id: 1.0}


def test_models_are_set_up_side_by_side_once_their_cost_is_known(
    tmp_path: Path, backend: Any
) -> None:
    """The first launch one by one, for `prepare_s` is shown; what is measured is the same."""
    runner = measured(tmp_path, backend, ALL, starts_at_once=2)
    assert runner.complete
    rows = records.read_run(runner.folder).scenarios
    assert {row.status for row in rows} == {"ok"}
    assert min(row.launches for row in rows) >= 2


def test_first_calls_are_made_side_by_side_once_their_cost_is_known(
    tmp_path: Path, backend: Any
) -> None:
    """Compiling keeps one core busy; what a cold one takes is a result, and taken alone."""
    threads: dict[bool, set[bool]] = {False: set(), True: set()}

    def watched(_: Any, fields: dict[str, Any]) -> None:
        if fields["phase"] == "first_call":
            later = backend.asked[IPEX.id, "prepare"] > 1
            threads[later].add(threading.current_thread() is threading.main_thread())

    backend.faults[IPEX.id, "call"] = watched
    runner = measured(tmp_path, backend, ALL, starts_at_once=2)
    assert threads == {False: {True}, True: {False}}
    first = [row for row in runner.state.iterations if row.phase == "first_call"]
    names = {(row.scenario, row.launch) for row in first}
    assert len(names) == len(first)
