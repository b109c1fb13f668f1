"""Whole runs with scripted workers and a scripted clock: no torch, no waiting."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.engine.progress import Progress
from bench.errors import RecordError, WorkerError
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import (
    Dtype,
    Layout,
    Mode,
    Scenario,
    Status,
    Task,
    stock_default,
    worker_key,
)
from bench.plan.thresholds import DEFAULT
from bench.run import resume
from bench.run.runner import Runner
from bench.store import records
from bench.store.events import EventKind
from bench.worker import conditions

if TYPE_CHECKING:
    from pathlib import Path

SMOKE = PROFILES["smoke"]
TWICE = replace(SMOKE, processes=2)
"""Every scenario has a second process, whatever the first one showed."""
DEFAULT_1 = stock_default(Task.INFERENCE, 1)
DEFAULT_4 = stock_default(Task.INFERENCE, 4)
IPEX_1 = Scenario(
    task=Task.INFERENCE,
    backend="ipex",
    mode=Mode.EAGER,
    layout=Layout.CHANNELS_LAST,
    batch_size=1,
)
IPEX_4 = replace(IPEX_1, batch_size=4)
BF16_1 = replace(IPEX_1, backend="stock", dtype=Dtype.BF16)
FEW = (DEFAULT_1, IPEX_1, DEFAULT_4, IPEX_4)

Build = Callable[..., Runner]

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.fixture
def build(tmp_path: Path, backend: Any) -> Build:
    """A runner over scripted workers; keywords replace its parts."""

    def make(scenarios: tuple[Scenario, ...] = FEW, **changes: Any) -> Runner:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        if "folder" not in changes:
            folder.mkdir()
            (folder / "outputs").mkdir()
            records.write_environment(folder, {"run_id": "run"})
        fields: dict[str, Any] = {
            "run_id": "run",
            "folder": folder,
            "profile": TWICE,
            "scenarios": scenarios,
            "policy": DEFAULT,
            "budget_s": 10_000.0,
            "launch": backend.launch,
            "peak": {"gflop_per_s": {"fp32": 400.0, "bf16": 800.0}, "memory_gb_per_s": 20.0},
            "clock": backend.clock,
            "progress": Progress(),
        }
        return Runner(**{**fields, **changes})

    return make


def peak_of(fp32: float, bf16: float = 1.0) -> dict[str, Any]:
    """A reading of the machine's peak."""
    return {"gflop_per_s": {"fp32": fp32, "bf16": bf16}, "memory_gb_per_s": 30.0}


def rows_of(runner: Runner) -> dict[str, records.ScenarioRow]:
    """The run's scenarios as read back from its files."""
    return {row.scenario: row for row in records.read_run(runner.folder).scenarios}


def speedup_of(runner: Runner, scenario: Scenario, kind: str) -> records.SpeedupRow:
    """One row of speedups.csv."""
    found = [
        row
        for row in records.read_run(runner.folder).speedups
        if row.scenario == scenario.id and row.baseline_kind == kind
    ]
    assert len(found) == 1
    return found[0]


def kinds(runner: Runner) -> list[EventKind]:
    """What happened, in order."""
    return [event.kind for event in runner.events]


def raising(status: Status, reason: str, *, dies: bool = True) -> Callable[..., None]:
    """A fault that fails the request, and by default takes the worker with it."""

    def fault(worker: Any, _fields: Mapping[str, Any]) -> None:
        if dies:
            worker.die()
        raise WorkerError(status, reason)

    return fault


def test_a_known_ratio_comes_out_with_its_verdict(build: Build, backend: Any) -> None:
    """A scenario scripted to take 2/3 of the baseline's time is 1.5 times as fast."""
    backend.call_ms = {DEFAULT_1.id: 150.0, IPEX_1.id: 100.0}
    runner = build()
    runner.measure()
    row = speedup_of(runner, IPEX_1, "stock_default")
    assert row.speedup is not None
    assert row.speedup_low is not None
    assert row.speedup_high is not None
    assert row.speedup == pytest.approx(1.5, rel=0.01)
    assert row.speedup_low <= row.speedup <= row.speedup_high
    assert row.verdict == "faster"
    assert runner.complete


def test_energy_of_its_blocks_is_counted_for_each_scenario(
    build: Build, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joules over the images that they were used for; the control's are nobody's."""
    watts = 50
    counter = (999_999_999_999,)
    monkeypatch.setattr(
        "bench.machine.energy.read_energy",
        lambda: {"p": (int(backend.clock() * watts * 1e6), *counter)},
    )
    backend.call_ms = {DEFAULT_1.id: 150.0, IPEX_1.id: 100.0}
    runner = build()
    runner.measure()
    rows = rows_of(runner)
    assert rows[DEFAULT_1.id].joules_per_image == pytest.approx(watts * 0.15, rel=0.01)
    assert rows[IPEX_1.id].joules_per_image == pytest.approx(watts * 0.1, rel=0.01)


def test_a_host_that_counts_no_energy_leaves_the_column_empty(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty, and never a guess."""
    monkeypatch.setattr("bench.machine.energy.read_energy", dict)
    runner = build()
    runner.measure()
    assert {row.joules_per_image for row in rows_of(runner).values()} == {None}


def test_the_control_is_a_second_worker_of_the_baseline(build: Build, backend: Any) -> None:
    """It runs in every launch, in a process of its own, and comes out as 1."""
    runner = build()
    runner.measure()
    controls = [key for key in backend.started if key[1]]
    launches = [launch for _, _, launch in controls]
    assert launches == sorted(set(launches))
    assert {launch for _, _, launch in backend.started} == {*launches}
    row = speedup_of(runner, DEFAULT_1, "control")
    assert row.baseline == f"{DEFAULT_1.id}#control"
    assert row.speedup == pytest.approx(1.0, abs=0.01)


def test_workers_are_fresh_in_each_further_launch(build: Build, backend: Any) -> None:
    """Two keys and the control; the first ones serve both batch sizes, which are not compared."""
    runner = build()
    runner.measure()
    assert {row.launch for row in runner.state.iterations if "/b4" in row.scenario} - {0}
    started = Counter(launch for _, _, launch in backend.started)
    assert set(started.values()) == {3}
    assert not backend.alive


def test_no_process_counts_twice(build: Build, backend: Any) -> None:
    """Stock default stands in every visit of its group, by a fresh process and control each."""
    compiled = replace(DEFAULT_1, layout=Layout.CHANNELS_LAST, mode=Mode.COMPILE)
    script = replace(IPEX_1, mode=Mode.TORCHSCRIPT, fusion=True)
    fused = replace(script, backend="stock")
    last = replace(DEFAULT_1, layout=Layout.CHANNELS_LAST)
    placebo = replace(DEFAULT_1, backend="placebo")
    runner = build((DEFAULT_1, last, script, fused, BF16_1, IPEX_1, compiled, placebo, DEFAULT_4))
    runner.measure()
    launches = {row.launch for row in runner.state.iterations if row.scenario == DEFAULT_1.id}
    assert len(launches) >= 3  # what compiles and the placebo come in visits of their own
    key = worker_key(DEFAULT_1).id
    for control in (False, True):
        started = [one for one in backend.started if one[:2] == (key, control)]
        assert len(started) >= len(launches)
        assert {launch for _, _, launch in started} >= launches


def test_every_call_from_the_first_is_a_row(build: Build, backend: Any) -> None:
    """Phases come in order, iterations count through, and timed calls name round and position."""
    backend.default_ms = 30.0
    runner = build()
    runner.measure()
    calls = [
        row
        for row in records.read_run(runner.folder).iterations
        if row.scenario == IPEX_1.id and row.launch == 0
    ]
    assert [row.iteration for row in calls] == list(range(len(calls)))
    assert calls[0].phase == "first_call"
    assert {row.phase for row in calls} == {"first_call", "warmup", "timed"}
    timed = [row for row in calls if row.phase == "timed"]
    assert all(row.round is not None and row.position is not None for row in timed)
    # A block of 30 ms calls is 100 ms at least, after one discarded call.
    assert len([row for row in timed if row.round == 0]) == 4
    settling = [row for row in calls if row.phase == "warmup" and row.round == 0]
    assert len(settling) == 1


def test_each_scenario_stands_at_different_positions(build: Build) -> None:
    """A fixed order would leave a positional bias that no spread shows."""
    runner = build(profile=TWICE)
    runner.measure()
    positions = {
        row.position
        for row in records.read_run(runner.folder).iterations
        if row.scenario == IPEX_1.id and row.phase == "timed"
    }
    assert positions == {0, 1, 2}


@pytest.mark.parametrize("op", ["prepare", "call", "outputs"])
@pytest.mark.parametrize(
    "status", [Status.CRASHED, Status.OUT_OF_MEMORY, Status.TIMEOUT, Status.UNSUPPORTED]
)
def test_a_failure_costs_its_own_scenario_only(
    build: Build, backend: Any, op: str, status: Status
) -> None:
    """Whatever happens to one scenario, the others are measured, the same key's other batch too."""
    backend.faults[IPEX_1.id, op] = raising(status, "planted", dies=status != Status.UNSUPPORTED)
    runner = build()
    runner.measure()
    rows = rows_of(runner)
    assert rows[IPEX_1.id].status == status.value
    assert "planted" in (rows[IPEX_1.id].reason or "")
    assert {rows[s.id].status for s in FEW if s is not IPEX_1} == {"ok"}
    assert speedup_of(runner, IPEX_1, "stock_default").verdict == "invalid"
    assert speedup_of(runner, IPEX_4, "stock_default").verdict in ("same", "inconclusive")


def test_a_death_in_the_rounds_is_a_crash_with_its_launch(build: Build, backend: Any) -> None:
    """Rounds measured before the death stay in the file; the verdict is invalid."""

    def later(worker: Any, fields: Mapping[str, Any]) -> None:
        if fields["phase"] == "timed" and backend.asked[IPEX_1.id, "prepare"] == 2:
            worker.die()
            raise WorkerError(Status.CRASHED, "killed by SIGKILL")

    backend.faults[IPEX_1.id, "call"] = later
    runner = build()
    runner.measure()
    row = rows_of(runner)[IPEX_1.id]
    assert row.status == "crashed"
    assert row.reason == "killed by SIGKILL (launch 2)"
    assert row.rounds > 0


def test_a_death_in_the_rounds_is_on_disk_before_the_next_block(build: Build, backend: Any) -> None:
    """A kill right after it must not leave the scenario a verdict."""
    broken: list[bool] = []
    seen: list[str] = []

    def crash(worker: Any, fields: Mapping[str, Any]) -> None:
        if fields["phase"] == "timed":
            broken.append(True)
            worker.die()
            raise WorkerError(Status.CRASHED, "planted")

    def look(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if broken and not seen:
            seen.append(rows_of(runner)[IPEX_1.id].status)

    backend.faults[IPEX_1.id, "call"] = crash
    backend.faults[DEFAULT_1.id, "call"] = look
    runner = build((DEFAULT_1, IPEX_1))
    runner.measure()
    assert seen == ["crashed"]


def test_what_was_checked_is_on_disk_before_the_first_round(build: Build, backend: Any) -> None:
    """A kill in the rounds must know whom to believe: one is refused, the others lack evidence."""
    wrong = replace(IPEX_1, mode=Mode.COMPILE)
    backend.output_offset[wrong.id] = 0.4
    seen: list[dict[str, records.ScenarioRow]] = []

    def look(_worker: Any, fields: Mapping[str, Any]) -> None:
        if fields["phase"] == "timed" and not seen:
            seen.append(rows_of(runner))

    for scenario in (DEFAULT_1, IPEX_1):
        backend.faults[scenario.id, "call"] = look
    runner = build((DEFAULT_1, IPEX_1, wrong))
    runner.measure()
    (early,) = seen
    assert {row.rounds for row in early.values()} == {0}
    assert {name: (row.status, row.checked) for name, row in early.items()} == {
        DEFAULT_1.id: ("ok", False),
        IPEX_1.id: ("ok", False),
        wrong.id: ("wrong_output", True),
    }
    assert all(row.checked for row in rows_of(runner).values())


def other_allocator(_worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
    """A worker that loaded another allocator than the others."""
    return {"conditions": {"threads": 2, "allocator": "tcmalloc", "openmp": ["libgomp.so.1"]}}


def test_another_allocator_makes_the_comparison_invalid(build: Build, backend: Any) -> None:
    """The allocator alone is worth more than what is compared; both times stay in the files."""
    backend.call_ms = {DEFAULT_1.id: 150.0, IPEX_1.id: 100.0}
    backend.faults[IPEX_1.id, "conditions"] = other_allocator
    runner = build()
    runner.measure()
    row = speedup_of(runner, IPEX_1, "stock_default")
    assert row.verdict == "invalid"
    assert "allocator: glibc against tcmalloc" in (row.reason or "")
    assert row.speedup == pytest.approx(1.5, rel=0.01)
    assert runner.state.workers()[IPEX_1.id]["differs"] == ["allocator: glibc against tcmalloc"]
    assert "differs" not in runner.state.workers()[IPEX_4.id]
    assert speedup_of(runner, IPEX_4, "stock_default").verdict == "same"


def other_openmp(_worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
    """A worker whose PyTorch brought another OpenMP runtime along."""
    return {"conditions": {"threads": 2, "allocator": "glibc", "openmp": ["libomp.so"]}}


def test_another_environments_own_runtime_is_part_of_what_it_is_compared_for(
    build: Build, backend: Any
) -> None:
    """In the default environment it makes a comparison invalid; its allocator always does."""
    elsewhere = replace(DEFAULT_1, environment="torch-latest")
    allocator = replace(IPEX_1, backend="stock", environment="torch-latest")
    backend.faults[IPEX_1.id, "conditions"] = other_openmp
    backend.faults[elsewhere.id, "conditions"] = other_openmp
    backend.faults[allocator.id, "conditions"] = other_allocator
    runner = build(scenarios=(DEFAULT_1, IPEX_1, elsewhere, allocator))
    runner.measure()
    assert speedup_of(runner, IPEX_1, "stock_default").verdict == "invalid"
    assert speedup_of(runner, elsewhere, "stock_default").verdict == "same"
    assert speedup_of(runner, allocator, "stock_default").verdict == "invalid"


def test_conditions_are_compared_in_every_launch(build: Build, backend: Any) -> None:
    """What only the second set of processes has, counts as much."""

    def later(worker: Any, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        second = backend.asked[IPEX_1.id, "conditions"] == 2
        return other_allocator(worker, fields) if second else None

    backend.faults[IPEX_1.id, "conditions"] = later
    runner = build()
    runner.measure()
    assert speedup_of(runner, IPEX_1, "stock_default").verdict == "invalid"
    assert runner.state.workers()[IPEX_1.id]["allocator"] == "glibc"


def test_a_worker_that_cannot_read_its_conditions_again_is_held_to_its_greeting(
    build: Build, backend: Any
) -> None:
    """A worker of an older commit does not know the question."""
    unknown = raising(Status.CRASHED, "unknown operation 'conditions'", dies=False)
    backend.faults[IPEX_1.id, "conditions"] = unknown
    runner = build()
    runner.measure()
    assert rows_of(runner)[IPEX_1.id].status == "ok"
    assert runner.state.workers()[IPEX_1.id]["allocator"] == "glibc"


def test_a_control_under_other_conditions_leaves_no_verdict(build: Build, backend: Any) -> None:
    """Its spread would be no noise floor for anything in the group."""

    def control(worker: Any, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        is_control = backend.started[worker.number - 1][1]
        return other_allocator(worker, fields) if is_control else None

    backend.faults[DEFAULT_1.id, "conditions"] = control
    runner = build()
    runner.measure()
    row = speedup_of(runner, IPEX_1, "stock_default")
    assert row.verdict == "invalid"
    assert "of its control, allocator" in (row.reason or "")


def test_wrong_outputs_are_not_timed(build: Build, backend: Any) -> None:
    """A scenario that computes something else is no faster way of computing this."""
    backend.output_offset[IPEX_1.id] = 0.05
    runner = build()
    runner.measure()
    row = rows_of(runner)[IPEX_1.id]
    assert row.status == "wrong_output"
    assert "0.05" in (row.reason or "")
    assert row.rounds == 0
    assert speedup_of(runner, IPEX_1, "stock_default").verdict == "invalid"


def test_a_missing_backend_is_asked_once_and_said_everywhere(build: Build, backend: Any) -> None:
    """What one IPEX worker lacks the others lack too."""
    backend.greeting_faults["ipex"] = WorkerError(Status.UNAVAILABLE, "no module named ipex")
    script = replace(IPEX_1, mode=Mode.TORCHSCRIPT, fusion=True)
    runner = build((DEFAULT_1, IPEX_1, script))
    runner.measure()
    rows = rows_of(runner)
    assert {rows[s.id].status for s in (IPEX_1, script)} == {"unavailable"}
    assert rows[script.id].reason == "no module named ipex"
    assert rows[DEFAULT_1.id].status == "ok"
    assert len([name for name, _, _ in backend.started if "ipex" in name]) == 1


def test_a_broken_baseline_leaves_no_verdict(build: Build, backend: Any) -> None:
    """Without the stock default there is nothing to divide by, and the rest is still measured."""
    backend.faults[DEFAULT_1.id, "prepare"] = raising(Status.CRASHED, "planted")
    runner = build()
    runner.measure()
    assert rows_of(runner)[IPEX_1.id].median_ms is not None
    row = speedup_of(runner, IPEX_1, "stock_default")
    assert row.speedup is None
    assert row.verdict in ("invalid", "inconclusive")


def test_emulated_bf16_takes_few_rounds_and_says_so(build: Build, backend: Any) -> None:
    """It is measured and labelled, and holds nobody up."""
    backend.emulated_bf16 = True
    backend.call_ms = {BF16_1.id: 450.0}
    runner = build(
        (DEFAULT_1, IPEX_1, BF16_1),
        profile=TWICE,
        policy=DEFAULT,
    )
    runner.measure()
    rows = rows_of(runner)
    assert rows[BF16_1.id].native_dtype is False
    assert rows[BF16_1.id].launches == 2
    assert rows[BF16_1.id].rounds == 2 * DEFAULT.budget.emulated_rounds
    assert rows[IPEX_1.id].rounds > rows[BF16_1.id].rounds
    settled = {
        row.scenario for row in runner.state.iterations if row.phase == "warmup" and row.round
    }
    assert IPEX_1.id in settled
    assert BF16_1.id not in settled


def test_emulated_bf16_does_not_eat_the_budget_of_the_rest(build: Build, backend: Any) -> None:
    """Beyond its share it is left out with the reason, and everything else has its launches."""
    backend.emulated_bf16 = True
    backend.call_ms = {BF16_1.id: 10_000.0}
    runner = build((DEFAULT_1, IPEX_1, BF16_1), budget_s=200.0)
    runner.measure()
    rows = rows_of(runner)
    assert rows[BF16_1.id].status == "unavailable"
    assert "bf16 is emulated on this CPU" in (rows[BF16_1.id].reason or "")
    assert rows[IPEX_1.id].launches >= TWICE.processes


def test_a_further_launch_that_gives_nothing_is_not_tried_for_ever(
    build: Build, backend: Any
) -> None:
    """Nothing can be prepared any more after the first launch."""

    def gone(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if any(launch for _, _, launch in backend.started):
            raise WorkerError(Status.CRASHED, "planted")

    backend.faults[DEFAULT_1.id, "prepare"] = backend.faults[IPEX_1.id, "prepare"] = gone
    runner = build((DEFAULT_1, IPEX_1))
    runner.measure()
    assert runner.complete
    assert max(launch for _, _, launch in backend.started) == 1


def test_a_small_budget_gives_each_group_its_minimum_first(build: Build, backend: Any) -> None:
    """Half the launches are cut before any scenario of the matrix is, and it is said."""
    everything = matrix(SMOKE)
    runner = build(everything, budget_s=60.0)
    runner.measure()
    rows = rows_of(runner)
    measured = [row for row in rows.values() if row.status == "ok"]
    assert all(row.rounds >= SMOKE.min_rounds for row in measured)
    unmeasured = [row for row in rows.values() if row.status != "ok"]
    assert all("budget" in (row.reason or "") for row in unmeasured)
    assert EventKind.HEADLINES_OPEN in kinds(runner)


def test_headlines_that_stay_open_are_said_with_the_budget_that_should_do(
    build: Build, backend: Any
) -> None:
    """Two per cent on noisy calls: this budget is too small, and the one that it names is not."""
    backend.spread = 0.05
    backend.call_ms = {DEFAULT_1.id: 102.0}
    cut = build((DEFAULT_1, IPEX_1), budget_s=20.0)
    cut.measure()
    (event,) = cut.events
    assert (event.kind, event.budget_s, event.headlines) == (EventKind.HEADLINES_OPEN, 20.0, 2)
    assert event.enough_s
    again = build((DEFAULT_1, IPEX_1), budget_s=event.enough_s)
    again.measure()
    assert again.events == []


def test_claims_are_written_with_when_they_were_decided(build: Build, backend: Any) -> None:
    """Seconds into measuring; a row a headline."""
    backend.call_ms = {DEFAULT_1.id: 150.0, DEFAULT_4.id: 150.0}
    runner = build()
    runner.measure()
    rows = {row.claim: row for row in records.read_run(runner.folder).claims}
    assert set(rows) == {
        "best/inference/b1",
        "best/inference/b4",
        "ipex/inference/b1/fp32",
        "ipex/inference/b4/fp32",
    }
    assert {row.verdict for row in rows.values()} == {"faster"}
    times = [rows[f"best/inference/{size}"].decided_s for size in ("b1", "b4")]
    assert None not in times
    assert 0 < (times[0] or 0) < (times[1] or 0) < backend.clock()


def test_each_task_is_asked_however_slow_the_machine(build: Build, backend: Any) -> None:
    """Inference alone uses the budget up; training gets its first group's least, and it is said."""
    backend.start_s = 20.0
    runner = build(matrix(SMOKE), budget_s=60.0)
    runner.measure()
    rows = rows_of(runner)
    ok = [name for name, row in rows.items() if row.status == "ok"]
    groups = {runner.state.outcomes[name].scenario.group for name in ok}
    assert groups == {DEFAULT_1.group, stock_default(Task.TRAINING, 1, ("frozen",)).group}
    assert all(rows[name].rounds >= SMOKE.min_rounds for name in ok)
    assert EventKind.BUDGET_EXCEEDED in kinds(runner)


def test_what_is_emulated_is_charged_for_the_images_it_is_compared_on(
    build: Build, backend: Any
) -> None:
    """At batch 1 these are eight calls, more than its warm-up and rounds together."""
    backend.emulated_bf16 = True
    backend.call_ms = {BF16_1.id: 5_000.0}
    runner = build((DEFAULT_1, IPEX_1, BF16_1), budget_s=200.0)
    runner.measure()
    assert rows_of(runner)[BF16_1.id].status == "unavailable"


def test_an_emulated_call_that_cannot_fit_is_not_made(build: Build, backend: Any) -> None:
    """At the peak it would take a minute of the 50 s that emulation may have."""
    backend.emulated_bf16 = True
    runner = build((DEFAULT_1, IPEX_1, BF16_1), budget_s=200.0, peak=peak_of(400.0, bf16=0.5))
    runner.measure()
    row = rows_of(runner)[BF16_1.id]
    assert backend.asked[BF16_1.id, "call"] == 0
    assert (row.status, row.native_dtype) == ("unavailable", False)
    assert "one call would take 1 min 1 s at the least" in (row.reason or "")


def test_compiling_is_not_what_an_emulated_call_takes(build: Build, backend: Any) -> None:
    """A first call that compiles for 20 s would foresee 260 s of the 50 s; the next takes .1 s."""
    compiled = replace(BF16_1, mode=Mode.COMPILE)

    def compiling(_worker: Any, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        ns = [20_000_000_000]
        first = {"wall_ns": ns, "cpu_ns": ns, "involuntary_switches": 0}
        return first if fields["phase"] == "first_call" else None

    backend.emulated_bf16 = True
    backend.faults[compiled.id, "call"] = compiling
    runner = build((DEFAULT_1, IPEX_1, compiled), budget_s=200.0)
    runner.measure()
    assert rows_of(runner)[compiled.id].status == "ok"


def test_an_emulated_dtype_that_is_fast_stands_in_every_round(build: Build, backend: Any) -> None:
    """As int8 without VNNI, which is twice as fast as fp32: it is no burden."""
    backend.emulated_bf16 = True
    backend.call_ms = {BF16_1.id: 50.0}
    runner = build((DEFAULT_1, IPEX_1, BF16_1), profile=TWICE)
    runner.measure()
    rows = rows_of(runner)
    together = {(r.launch, r.round) for r in runner.state.iterations if r.scenario == BF16_1.id}
    beside = {(r.launch, r.round) for r in runner.state.iterations if r.scenario == IPEX_1.id}
    launches = {launch for launch, _ in together} & {launch for launch, _ in beside}
    assert {one for one in together if one[0] in launches} == {
        one for one in beside if one[0] in launches
    }
    assert rows[BF16_1.id].rounds > DEFAULT.budget.emulated_rounds * len(launches)


def test_an_emulated_dtype_that_is_fast_is_not_refused_for_what_slow_ones_cost(
    build: Build, backend: Any
) -> None:
    """int8 was, after bf16 had used their share up."""
    fast = replace(BF16_1, batch_size=4)
    backend.emulated_bf16 = True
    backend.call_ms = {BF16_1.id: 900.0, fast.id: 50.0}
    scenarios = (DEFAULT_1, BF16_1, DEFAULT_4, fast)
    runner = build(scenarios, budget_s=176.0, peak=peak_of(400.0, bf16=300.0))
    runner.measure()
    rows = rows_of(runner)
    assert rows[BF16_1.id].launches == 1  # 43.2 s of the 44 s that a quarter is
    assert rows[fast.id].launches == rows[DEFAULT_4.id].launches > 0


def test_a_cheap_emulated_scenario_keeps_the_launches_that_a_dear_one_lost(
    build: Build, backend: Any
) -> None:
    """What is left of their share after the first launch is enough for one of the two."""
    cheap = replace(BF16_1, layout=Layout.CONTIGUOUS)
    backend.emulated_bf16 = True
    backend.call_ms = {BF16_1.id: 900.0, cheap.id: 90.0}
    runner = build((DEFAULT_1, IPEX_1, BF16_1, cheap), budget_s=300.0)
    runner.measure()
    rows = rows_of(runner)
    assert rows[BF16_1.id].launches == 1
    assert rows[cheap.id].launches >= TWICE.processes


def test_the_budget_is_kept(build: Build, backend: Any, clock: Any) -> None:
    """Every visit is planned from what earlier ones took, so time is what was promised."""
    started = clock()
    runner = build(matrix(SMOKE), budget_s=900.0, profile=replace(SMOKE, processes=50))
    runner.measure()
    assert clock() - started <= 900.0 * 1.02


def test_an_interrupt_keeps_whole_rows_and_makes_summaries(build: Build, backend: Any) -> None:
    """Ctrl-C in a further launch leaves a run that can be reported."""

    def interrupt(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if backend.asked[IPEX_4.id, "prepare"] == 2:
            raise KeyboardInterrupt

    backend.faults[IPEX_4.id, "prepare"] = interrupt
    runner = build()
    with pytest.raises(KeyboardInterrupt):
        runner.measure()
    assert not backend.alive
    assert not runner.complete
    assert kinds(runner) == [EventKind.INTERRUPTED]
    assert rows_of(runner)[IPEX_4.id].status == "ok"
    assert speedup_of(runner, IPEX_1, "stock_default").speedup is not None


def cut(build: Build, backend: Any, op: str, scenario: Scenario, time: int) -> Runner:
    """A runner whose run was interrupted when a scenario was asked something for the n-th time."""

    def interrupt(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if backend.asked[scenario.id, op] == time:
            raise KeyboardInterrupt

    backend.faults[scenario.id, op] = interrupt
    runner = build()
    with pytest.raises(KeyboardInterrupt):
        runner.measure()
    del backend.faults[scenario.id, op]
    return runner


def went_on(build: Build, before: Runner, **changes: Any) -> Runner:
    """The same run from its files, to its end."""
    earlier = resume.restore(records.read_run(before.folder), FEW)
    runner = build(folder=before.folder, earlier=earlier, **changes)
    runner.measure()
    return runner


def test_a_cut_run_goes_on_and_keeps_what_it_had(build: Build, backend: Any) -> None:
    """Old rows stay as they were, the launch that was cut is made good, verdicts use both."""
    backend.call_ms = {DEFAULT_1.id: 150.0}
    before = cut(build, backend, "prepare", IPEX_4, 2)
    had = records.read_run(before.folder)
    assert max(row.launch for row in had.iterations) >= 1
    after = went_on(build, before)
    run = records.read_run(after.folder)
    assert run.iterations[: len(had.iterations)] == had.iterations
    assert {row.launch for row in run.iterations[len(had.iterations) :]}.isdisjoint(
        row.launch for row in had.iterations
    )
    assert after.complete
    rows = rows_of(after)
    assert {rows[s.id].status for s in FEW} == {"ok"}
    assert min(rows[one.id].launches for one in (IPEX_1, IPEX_4)) >= 2
    assert speedup_of(after, IPEX_1, "stock_default").verdict == "faster"
    assert len({row.scenario for row in run.kernels}) == len(run.kernels) == len(FEW)


def test_what_was_never_begun_is_measured_whole_when_the_run_goes_on(
    build: Build, backend: Any
) -> None:
    """Cut in the first launch: the other batch size gets its parity, evidence and memory yet."""
    before = cut(build, backend, "prepare", DEFAULT_4, 1)
    assert rows_of(before)[IPEX_4.id].status == "unavailable"
    (before.folder / "outputs" / "inference-b1.npz").unlink()
    after = went_on(build, before)
    row = rows_of(after)[IPEX_4.id]
    assert row.status == "ok"
    assert row.peak_rss_mb == 800.0
    assert row.isa == "avx512_core"
    assert {r.scenario for r in records.read_run(after.folder).parity} == {s.id for s in FEW}
    assert rows_of(after)[IPEX_1.id].prepare_s == 0.2


def test_what_a_run_that_goes_on_begins_gets_its_least_rounds(build: Build, backend: Any) -> None:
    """Starting may use the budget up, yet it was not for nothing."""
    before = cut(build, backend, "prepare", DEFAULT_4, 1)
    after = went_on(build, before, budget_s=2 * backend.start_s)
    rows = rows_of(after)
    assert rows[IPEX_4.id].rounds == SMOKE.min_rounds
    assert rows[IPEX_4.id].launches == 1


def test_what_was_found_wrong_stays_wrong_when_the_run_goes_on(build: Build, backend: Any) -> None:
    """A failure is not forgotten because the run was cut."""
    backend.output_offset[IPEX_1.id] = 0.05
    after = went_on(build, cut(build, backend, "prepare", IPEX_4, 2))
    assert rows_of(after)[IPEX_1.id].status == "wrong_output"
    assert speedup_of(after, IPEX_1, "stock_default").verdict == "invalid"


def test_conditions_are_kept_group_by_group(build: Build, backend: Any) -> None:
    """A kill leaves those of what was measured, and the run is complete in the last one only."""
    kept: list[dict[str, Any]] = []
    build(keep_metadata=kept.append).measure()
    assert kept[0]["workers"][IPEX_1.id]["allocator"] == "glibc"
    assert kept[0]["workers"][IPEX_4.id] == {}
    assert [one["complete"] for one in kept] == [False] * (len(kept) - 1) + [True]


def test_a_full_disk_ends_the_run_in_one_line_with_no_worker_left(
    build: Build, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is measured that cannot be kept."""
    append = records.RunWriter.append
    written = {"n": 0}

    def fill(self: records.RunWriter, row: object) -> None:
        written["n"] += 1
        if written["n"] > 30:
            raise RecordError("no space left")
        append(self, row)  # type: ignore[arg-type] # passed through

    monkeypatch.setattr(records.RunWriter, "append", fill)
    with pytest.raises(RecordError, match="no space left"):
        build().measure()
    assert not backend.alive


def test_a_block_in_which_something_was_recompiled_does_not_count(
    build: Build, backend: Any
) -> None:
    """Its calls stay in the file, as warm-up, and a note says why."""

    def recompiled(_worker: Any, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        if fields["phase"] != "timed" or backend.asked[IPEX_1.id, "timed"]:
            return None
        backend.asked[IPEX_1.id, "timed"] = 1
        times = [900_000_000] * fields["n"]
        return {"wall_ns": times, "cpu_ns": times, "invalid": "it was compiled anew"}

    backend.faults[IPEX_1.id, "call"] = recompiled
    runner = build()
    runner.measure()
    calls = [r for r in records.read_run(runner.folder).iterations if r.scenario == IPEX_1.id]
    slow = [row for row in calls if row.wall_ns == 900_000_000]
    assert slow
    assert {row.phase for row in slow} == {"warmup"}
    (event,) = runner.events
    assert (event.kind, event.subject) == (EventKind.BLOCK_NOT_COUNTED, IPEX_1.id)
    assert (event.launch, event.round, event.reason) == (0, 0, "it was compiled anew")


def test_a_label_that_the_evidence_denies_is_not_counted(build: Build, backend: Any) -> None:
    """`fusion on` without fused operations is no result for fusion."""

    def denied(_worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"kernels": [], "fused_ops": 0, "isa": None, "contradiction": "nothing was fused"}

    backend.faults[IPEX_1.id, "kernels"] = denied
    runner = build()
    runner.measure()
    row = rows_of(runner)[IPEX_1.id]
    assert row.status == "unsupported"
    assert "nothing was fused" in (row.reason or "")


def test_the_first_call_and_preparation_are_those_of_the_cold_launch(build: Build) -> None:
    """Users pay the cold price; later launches find warm caches."""
    runner = build()
    runner.measure()
    row = rows_of(runner)[IPEX_1.id]
    assert row.first_call_ms == pytest.approx(300.0, rel=0.05)
    assert row.prepare_s == 0.2
    assert row.import_s == 1.5
    assert row.percent_of_peak == pytest.approx(100 * 307.0 / 400.0, rel=0.02)


@pytest.mark.parametrize(("again", "expected"), [(500.0, 500.0), (100.0, 400.0)])
def test_the_higher_reading_of_the_peak_counts(build: Build, again: float, expected: float) -> None:
    """A peak taken while the machine was slowed would refute true results."""
    runner = build(peak_again=lambda: peak_of(again))
    runner.measure()
    assert runner.state.peak == {
        "gflop_per_s": {"fp32": expected, "bf16": 800.0},
        "memory_gb_per_s": 30.0,
    }
    share = rows_of(runner)[IPEX_1.id].percent_of_peak
    assert share == pytest.approx(100 * 307.0 / expected, rel=0.02)


def test_no_probe_was_faster_than_the_peak(build: Build, backend: Any) -> None:
    """The probe of every round is a product too: a peak below the fastest of them is too low."""
    backend.probe_gflop_per_s = 450.0
    runner = build()
    runner.measure()
    assert runner.state.peak["gflop_per_s"]["fp32"] == 450.0


def test_a_peak_that_cannot_be_measured_again_is_said(build: Build) -> None:
    """The first reading stands, and the run is complete."""

    def fails() -> dict[str, Any]:
        raise WorkerError(Status.CRASHED, "planted")

    runner = build(peak_again=fails)
    runner.measure()
    assert runner.complete
    assert runner.state.peak["gflop_per_s"]["fp32"] == 400.0
    (event,) = runner.events
    assert (event.kind, event.reason) == (EventKind.PEAK_NOT_REPEATED, "planted")


def test_a_result_beyond_the_peak_is_invalid(build: Build, backend: Any) -> None:
    """30.7 GFLOP in 50 ms are 614 GFLOP/s on a machine of 400."""
    backend.call_ms = {IPEX_1.id: 50.0}
    runner = build()
    runner.measure()
    row = speedup_of(runner, IPEX_1, "stock_default")
    assert row.verdict == "invalid"
    assert "of the peak measured in this run" in (row.reason or "")


def test_what_is_open_gets_further_processes_and_the_rest_none(build: Build, backend: Any) -> None:
    """Fresh ones of it and of stock default, in visits of their own."""
    other = replace(IPEX_1, mode=Mode.TORCHSCRIPT, fusion=True)
    backend.call_ms = {DEFAULT_1.id: 102.5, IPEX_1.id: 180.0, other.id: 100.0}
    runner = build((DEFAULT_1, IPEX_1, other, DEFAULT_4, IPEX_4), profile=SMOKE)
    runner.measure()
    assert speedup_of(runner, other, "stock_default").launches > 1
    assert speedup_of(runner, IPEX_1, "stock_default").launches == 1
    again = {name for name, _, launch in backend.started if launch}
    assert worker_key(other).id in again


def test_an_interrupt_in_a_further_launch_keeps_what_was_measured_before(
    build: Build, backend: Any
) -> None:
    """The first launches' rows are whole; the run says that it was cut, and nothing lives on."""

    def interrupt(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if backend.asked[IPEX_1.id, "prepare"] == 2:
            raise KeyboardInterrupt

    backend.faults[IPEX_1.id, "prepare"] = interrupt
    runner = build((DEFAULT_1, IPEX_1))
    with pytest.raises(KeyboardInterrupt):
        runner.measure()
    assert {launch for _, _, launch in backend.started} == {0, 1}
    assert not backend.alive
    assert not runner.complete
    assert kinds(runner) == [EventKind.INTERRUPTED]
    assert speedup_of(runner, IPEX_1, "stock_default").launches == 1


def test_a_clear_result_ends_the_run(build: Build, backend: Any) -> None:
    """Nothing surprises and nothing is open, so nothing is measured again."""
    backend.call_ms = {DEFAULT_1.id: 150.0, DEFAULT_4.id: 150.0}
    runner = build(profile=SMOKE)
    runner.measure()
    assert {launch for _, _, launch in backend.started} == {0}
    assert {row.launches for row in rows_of(runner).values()} == {1}
    assert runner.events == []


TCMALLOC_1 = replace(DEFAULT_1, options=("allocator=tcmalloc",))
IPEX_TCMALLOC_1 = replace(IPEX_1, options=("allocator=tcmalloc",))


def test_a_variable_has_its_own_measured_effect(build: Build, backend: Any) -> None:
    """Over the same without it, and what the backend is worth under it; stock tuned is without."""
    backend.call_ms = {
        DEFAULT_1.id: 150.0,
        TCMALLOC_1.id: 120.0,
        IPEX_1.id: 100.0,
        IPEX_TCMALLOC_1.id: 96.0,
    }
    runner = build((DEFAULT_1, IPEX_1, TCMALLOC_1, IPEX_TCMALLOC_1))
    runner.measure()
    alone = speedup_of(runner, TCMALLOC_1, "unvaried")
    assert alone.baseline == DEFAULT_1.id
    assert alone.speedup == pytest.approx(150 / 120, rel=0.01)
    assert alone.verdict == "faster"
    alike = speedup_of(runner, IPEX_TCMALLOC_1, "stock_alike")
    assert alike.baseline == TCMALLOC_1.id
    assert alike.speedup == pytest.approx(120 / 96, rel=0.01)
    rows = records.read_run(runner.folder).speedups
    assert TCMALLOC_1.id not in {row.baseline for row in rows if row.baseline_kind == "stock_tuned"}
    plain = [row for row in rows if row.scenario == IPEX_1.id]
    assert {row.baseline_kind for row in plain} == {"stock_default", "stock_tuned"}


def test_a_variable_that_did_not_take_is_not_measured(build: Build, backend: Any) -> None:
    """The scenario keeps its row with the reason; the others are measured."""
    backend.takes_variables = False
    runner = build((DEFAULT_1, IPEX_1, TCMALLOC_1))
    runner.measure()
    rows = rows_of(runner)
    assert rows[TCMALLOC_1.id].status == "unsupported"
    assert "did not take" in (rows[TCMALLOC_1.id].reason or "")
    assert rows[IPEX_1.id].status == "ok"


def test_a_variable_that_cannot_be_had_costs_only_its_own_scenarios(
    build: Build, backend: Any
) -> None:
    """A library that is not installed says nothing about the backend."""

    def launch(key: Scenario, is_control: bool, number: int) -> Any:
        if "allocator=tcmalloc" in key.options:
            raise WorkerError(Status.UNAVAILABLE, "no libtcmalloc is installed here")
        return backend.launch(key, is_control, number)

    jemalloc = replace(DEFAULT_1, options=("allocator=jemalloc",))
    runner = build((DEFAULT_1, TCMALLOC_1, jemalloc, IPEX_1), launch=launch)
    runner.measure()
    rows = rows_of(runner)
    assert rows[TCMALLOC_1.id].status == "unavailable"
    assert {rows[one.id].status for one in (DEFAULT_1, jemalloc, IPEX_1)} == {"ok"}


def test_a_row_carries_its_evidence_and_what_it_holds_at_rest(build: Build, backend: Any) -> None:
    """Reorders, their share, the graph's own count and steady memory come from the worker."""

    def seen(worker: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
        found = worker._kernels()
        reorder = {**found["kernels"][0], "position": 1, "primitive": "reorder"}
        graph = {"nodes": {"ipex_prepack::convolution_relu_run": 13}, "reorder_share": 0.25}
        return {**found, "kernels": [*found["kernels"], reorder], "graph": graph}

    backend.faults[IPEX_1.id, "kernels"] = seen
    runner = build()
    runner.measure()
    row = rows_of(runner)[IPEX_1.id]
    assert (row.reorders, row.reorder_share) == (1, 0.25)
    assert row.graph == "ipex_prepack::convolution_relu_run=13"
    assert row.steady_rss_mb == 500.0
    assert row.page_faults == 6240
    parity = {one.scenario: one for one in records.read_run(runner.folder).parity}
    assert parity[IPEX_1.id].recall_bad_default == parity[IPEX_1.id].recall_bad == 1.0
    again = resume.restore(records.read_run(runner.folder), runner.scenarios)
    kept = again.outcomes[IPEX_1.id].row("run", [], {})
    assert (kept.reorders, kept.reorder_share, kept.graph) == (1, 0.25, row.graph)
    assert kept.steady_rss_mb == 500.0


@pytest.mark.parametrize("what", ["affinity", "cpu_quota"])
def test_a_cpu_taken_away_while_measuring_leaves_no_verdict(
    build: Build, backend: Any, what: str
) -> None:
    """By affinity or by a cgroup: the worker is asked again after its rounds."""
    values = {"affinity": ([0, 1], [0]), "cpu_quota": ("max 100000", "50000 100000")}[what]

    def asked(worker: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
        worker.reads = getattr(worker, "reads", 0) + 1
        later = worker.reads % 2 == 0
        found = worker._conditions()["conditions"]
        return {"conditions": {**found, what: values[later]}}

    for scenario in FEW:
        backend.faults[scenario.id, "conditions"] = asked
    runner = build()
    runner.measure()
    row = speedup_of(runner, IPEX_1, "stock_default")
    assert row.verdict == "invalid"
    assert what in str(row.reason)


def test_a_real_process_that_loses_a_cpu_says_so() -> None:
    """The kernel's word, not what was asked for at the start."""
    allowed = os.sched_getaffinity(0)
    before = conditions._affinity()
    os.sched_setaffinity(0, {min(allowed)})
    try:
        after = conditions._affinity()
    finally:
        os.sched_setaffinity(0, allowed)
    assert before == sorted(allowed)
    assert after == [min(allowed)]
