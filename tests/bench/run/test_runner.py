"""Whole runs with scripted workers and a scripted clock: no torch, no waiting."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import RecordError, WorkerError
from bench.plan.matrix import matrix
from bench.plan.scenario import Mode, Scenario, Status, Task, stock_default, worker_key
from bench.run import resume
from bench.store import records
from bench.store.events import EventKind
from tests.bench.conftest import FakeBackend, FakeClock
from tests.bench.run.runs import (
    BF16_1,
    DEFAULT_1,
    DEFAULT_4,
    FEW,
    IPEX_1,
    IPEX_4,
    LAST_1,
    SCRIPT_1,
    SMOKE,
    Build,
    kinds,
    new_runner,
    peak_of,
    raising,
    rows_of,
    speedup_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.run.runner import Runner

TCMALLOC_1 = replace(DEFAULT_1, options=("allocator=tcmalloc",))
IPEX_TCMALLOC_1 = replace(IPEX_1, options=("allocator=tcmalloc",))
WATTS = 50


# --- one run without faults -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A run in which IPEX takes 2/3 of stock default's time at batch size 1."""
    backend = FakeBackend(clock=FakeClock(), default_ms=30.0)
    backend.call_ms = {DEFAULT_1.id: 45.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.machine.noise.is_quiet", lambda *_: True)
        patch.setattr(
            "bench.machine.energy.read_energy",
            lambda: {"package": (int(backend.clock() * WATTS * 1e6), 10**12 - 1)},
        )
        folder = tmp_path_factory.mktemp("plain")
        runner = new_runner(folder, backend, peak=peak_of(4000.0))
        runner.measure()
    assert not backend.alive
    return runner


@pytest.fixture(scope="module")
def plain_run(plain: Runner) -> records.Run:
    """Its files."""
    return records.read_run(plain.folder)


def test_a_known_ratio_comes_out_with_its_verdict(plain: Runner) -> None:
    """A scenario that takes 2/3 of the baseline's time is 1.5 times as fast."""
    row = speedup_of(plain, IPEX_1)
    assert row.speedup == pytest.approx(1.5, rel=0.01)
    assert row.speedup_low is not None
    assert row.speedup_high is not None
    assert row.speedup_low <= 1.5 <= row.speedup_high
    assert row.verdict == "faster"
    assert plain.complete


def test_the_control_is_a_second_worker_of_the_baseline(
    plain: Runner, plain_run: records.Run
) -> None:
    """It takes part in every launch and comes out as 1."""
    row = speedup_of(plain, DEFAULT_1, "control")
    assert row.baseline == f"{DEFAULT_1.id}#control"
    assert row.speedup == pytest.approx(1.0, abs=0.01)
    launches = {
        name: {row.launch for row in plain_run.iterations if row.scenario == name}
        for name in (row.scenario, row.baseline)
    }
    assert launches[row.scenario] == launches[row.baseline]


def test_every_call_from_the_first_is_a_row(plain_run: records.Run) -> None:
    """Phases come in order, iterations count through, and timed calls name round and position."""
    rows = [row for row in plain_run.iterations if row.scenario == IPEX_1.id]
    calls = [row for row in rows if row.launch == 0]
    assert [row.iteration for row in calls] == list(range(len(calls)))
    assert calls[0].phase == "first_call"
    assert {row.phase for row in calls} == {"first_call", "warmup", "timed"}
    timed = [row for row in calls if row.phase == "timed"]
    assert all(row.round is not None and row.position is not None for row in timed)
    # a block of 30 ms calls takes 100 ms at least, after one discarded call
    assert [row.phase for row in calls if row.round == 0] == ["warmup"] + ["timed"] * 4
    # a fixed order would leave a bias of position that no spread shows
    assert len({row.position for row in rows if row.phase == "timed"}) > 1


def test_what_the_first_launch_finds_out_is_in_the_summary(plain: Runner) -> None:
    """Import, preparation and first call are those of cold caches, which users wait for."""
    rows = rows_of(plain)
    row = rows[IPEX_1.id]
    assert row.first_call_ms == pytest.approx(90.0, rel=0.05)
    assert (row.prepare_s, row.import_s) == (0.2, 1.5)
    assert row.percent_of_peak == pytest.approx(100 * 1023.0 / 4000.0, rel=0.02)
    assert row.joules_per_image == pytest.approx(WATTS * 0.03, rel=0.01)
    assert rows[DEFAULT_1.id].joules_per_image == pytest.approx(WATTS * 0.045, rel=0.01)


def test_a_host_that_counts_no_energy_leaves_the_column_empty(
    run: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty, and never a guess."""
    monkeypatch.setattr("bench.machine.energy.read_energy", dict)
    rows = rows_of(run(DEFAULT_1, IPEX_1, profile=SMOKE))
    assert {row.joules_per_image for row in rows.values()} == {None}


# --- processes and visits -------------------------------------------------------------------------


def test_workers_are_fresh_in_each_further_launch(run: Build, backend: Any) -> None:
    """Two keys and the control; the first ones serve both batch sizes, which are not compared."""
    runner = run()
    assert {row.launch for row in runner.state.iterations if "/b4" in row.scenario} - {0}
    started = Counter(launch for _, _, launch in backend.started)
    assert set(started.values()) == {3}


def test_no_process_counts_twice(run: Build, backend: Any) -> None:
    """Stock default and its control have a fresh process in every visit of their group."""
    compiled = replace(LAST_1, mode=Mode.COMPILE)
    script = replace(IPEX_1, mode=Mode.TORCHSCRIPT, fusion=True)
    placebo = replace(DEFAULT_1, backend="placebo")
    others = (LAST_1, script, SCRIPT_1, BF16_1, IPEX_1, compiled, placebo, DEFAULT_4)
    runner = run(DEFAULT_1, *others, profile=SMOKE)
    launches = {row.launch for row in runner.state.iterations if row.scenario == DEFAULT_1.id}
    assert len(launches) >= 3  # scenarios that compile, and the placebo, have visits of their own
    key = worker_key(DEFAULT_1).id
    for control in (False, True):
        assert {one[2] for one in backend.started if one[:2] == (key, control)} >= launches


def test_what_is_open_gets_further_processes_and_the_rest_none(run: Build, backend: Any) -> None:
    """Fresh ones of it and of stock default, in visits of their own."""
    other = replace(IPEX_1, mode=Mode.TORCHSCRIPT, fusion=True)
    backend.call_ms = {DEFAULT_1.id: 102.5, IPEX_1.id: 180.0, other.id: 100.0}
    runner = run(DEFAULT_1, IPEX_1, other, DEFAULT_4, IPEX_4, profile=SMOKE)
    assert speedup_of(runner, other).launches > 1
    assert speedup_of(runner, IPEX_1).launches == 1
    assert worker_key(other).id in {name for name, _, launch in backend.started if launch}


def test_a_clear_result_ends_the_run(run: Build, backend: Any) -> None:
    """Nothing is open, so nothing is measured again; each headline has its time of decision."""
    backend.call_ms = {DEFAULT_1.id: 150.0, DEFAULT_4.id: 150.0}
    runner = run(profile=SMOKE)
    assert {launch for _, _, launch in backend.started} == {0}
    assert {row.launches for row in rows_of(runner).values()} == {1}
    assert runner.events == []
    claims = {row.claim: row for row in records.read_run(runner.folder).claims}
    assert set(claims) == {
        "best/inference/b1",
        "best/inference/b4",
        "ipex/inference/b1/fp32",
        "ipex/inference/b4/fp32",
    }
    assert {row.verdict for row in claims.values()} == {"faster"}
    first, second = (claims[f"best/inference/{size}"].decided_s or 0.0 for size in ("b1", "b4"))
    assert 0 < first < second < backend.clock()


def test_a_further_launch_that_gives_nothing_is_not_tried_for_ever(
    run: Build, backend: Any
) -> None:
    """Nothing can be prepared any more after the first launch."""

    def gone(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if any(launch for _, _, launch in backend.started):
            raise WorkerError(Status.CRASHED, "planted")

    backend.faults[DEFAULT_1.id, "prepare"] = backend.faults[IPEX_1.id, "prepare"] = gone
    assert run(DEFAULT_1, IPEX_1).complete
    assert max(launch for _, _, launch in backend.started) == 1


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "status", "dies"),
    [
        ("prepare", Status.CRASHED, True),
        ("call", Status.OUT_OF_MEMORY, True),
        ("call", Status.TIMEOUT, True),
        ("outputs", Status.CRASHED, True),
        ("prepare", Status.UNSUPPORTED, False),
        ("outputs", Status.UNSUPPORTED, False),
    ],
)
def test_a_failure_costs_its_own_scenario_only(
    run: Build, backend: Any, op: str, status: Status, dies: bool
) -> None:
    """Whatever happens to one scenario, the others are measured, the same key's other batch too."""
    backend.faults[IPEX_1.id, op] = raising(status, dies=dies)
    runner = run(profile=SMOKE)
    rows = rows_of(runner)
    assert rows[IPEX_1.id].status == status.value
    assert "planted" in (rows[IPEX_1.id].reason or "")
    assert {rows[s.id].status for s in FEW if s is not IPEX_1} == {"ok"}
    assert speedup_of(runner, IPEX_1).verdict == "invalid"
    assert speedup_of(runner, IPEX_4).verdict in ("same", "inconclusive")


def test_a_death_in_the_rounds_is_a_crash_with_its_launch(build: Build, backend: Any) -> None:
    """Rounds measured before stay, and it is on disk before the next block: a kill may follow."""
    dead: list[bool] = []
    seen: list[str] = []

    def later(worker: Any, fields: Mapping[str, Any]) -> None:
        if fields["phase"] == "timed" and backend.asked[IPEX_1.id, "prepare"] == 2:
            dead.append(True)
            worker.die()
            raise WorkerError(Status.CRASHED, "killed by SIGKILL")

    def look(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if dead and not seen:
            seen.append(rows_of(runner)[IPEX_1.id].status)

    backend.faults[IPEX_1.id, "call"] = later
    backend.faults[DEFAULT_1.id, "call"] = look
    runner = build(DEFAULT_1, IPEX_1)
    runner.measure()
    row = rows_of(runner)[IPEX_1.id]
    assert (row.status, row.reason) == ("crashed", "killed by SIGKILL (launch 2)")
    assert row.rounds > 0
    assert seen == ["crashed"]


def test_what_was_checked_is_on_disk_before_the_first_round(build: Build, backend: Any) -> None:
    """After a kill in the rounds one is known to be refused, and the others lack evidence."""
    wrong = replace(IPEX_1, mode=Mode.COMPILE)
    backend.output_offset[wrong.id] = 0.4
    seen: list[dict[str, records.ScenarioRow]] = []

    def look(_worker: Any, fields: Mapping[str, Any]) -> None:
        if fields["phase"] == "timed" and not seen:
            seen.append(rows_of(runner))

    for scenario in (DEFAULT_1, IPEX_1):
        backend.faults[scenario.id, "call"] = look
    runner = build(DEFAULT_1, IPEX_1, wrong, profile=SMOKE)
    runner.measure()
    (early,) = seen
    assert {name: (row.status, row.checked, row.rounds) for name, row in early.items()} == {
        DEFAULT_1.id: ("ok", False, 0),
        IPEX_1.id: ("ok", False, 0),
        wrong.id: ("wrong_output", True, 0),
    }
    assert all(row.checked for row in rows_of(runner).values())


def test_a_missing_backend_is_asked_once_and_reported_everywhere(run: Build, backend: Any) -> None:
    """What one IPEX worker lacks the others lack too."""
    backend.greeting_faults["ipex"] = WorkerError(Status.UNAVAILABLE, "no module named ipex")
    script = replace(IPEX_1, mode=Mode.TORCHSCRIPT, fusion=True)
    rows = rows_of(run(DEFAULT_1, IPEX_1, script, profile=SMOKE))
    for scenario in (IPEX_1, script):
        row = rows[scenario.id]
        assert (row.status, row.reason) == ("unavailable", "no module named ipex")
    assert rows[DEFAULT_1.id].status == "ok"
    assert len([name for name, _, _ in backend.started if "ipex" in name]) == 1


def test_a_broken_baseline_leaves_no_verdict(run: Build, backend: Any) -> None:
    """Without stock default there is nothing to divide by, and the rest is still measured."""
    backend.faults[DEFAULT_1.id, "prepare"] = raising(Status.CRASHED)
    runner = run(profile=SMOKE)
    assert rows_of(runner)[IPEX_1.id].median_ms is not None
    row = speedup_of(runner, IPEX_1)
    assert row.speedup is None
    assert row.verdict in ("invalid", "inconclusive")


def test_a_full_disk_ends_the_run_with_no_worker_left(
    build: Build, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is measured that cannot be kept."""
    append = records.RunWriter.append
    written = []

    def fill(self: records.RunWriter, row: Any) -> None:
        written.append(row)
        if len(written) > 30:
            raise RecordError("no space left")
        append(self, row)

    monkeypatch.setattr(records.RunWriter, "append", fill)
    with pytest.raises(RecordError, match="no space left"):
        build().measure()
    assert not backend.alive


def test_a_block_in_which_something_was_recompiled_does_not_count(run: Build, backend: Any) -> None:
    """Its calls stay in the file, as warm-up, and an event says why."""
    blocks: list[object] = []

    def recompiled(_worker: Any, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        if fields["phase"] != "timed" or blocks:
            return None
        blocks.append(fields)
        times = [900_000_000] * fields["n"]
        return {"wall_ns": times, "cpu_ns": times, "invalid": "it was compiled anew"}

    backend.faults[IPEX_1.id, "call"] = recompiled
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE)
    slow = [row for row in runner.state.iterations if row.wall_ns == 900_000_000]
    assert {row.phase for row in slow} == {"warmup"}
    event = next(one for one in runner.events if one.kind is EventKind.BLOCK_NOT_COUNTED)
    assert (event.subject, event.launch, event.round) == (IPEX_1.id, 0, 0)
    assert event.reason == "it was compiled anew"


# --- conditions -----------------------------------------------------------------------------------


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


def test_another_environments_own_runtime_is_part_of_what_it_is_compared_for(
    run: Build, backend: Any
) -> None:
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


def test_a_worker_that_does_not_know_conditions_keeps_those_of_its_greeting(
    run: Build, backend: Any
) -> None:
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


# --- budget ---------------------------------------------------------------------------------------


def test_a_small_budget_gives_each_group_its_minimum_first(run: Build) -> None:
    """Scenarios are left out whole, with the budget as the reason."""
    runner = run(*matrix(SMOKE), budget_s=60.0)
    rows = rows_of(runner).values()
    assert all(row.rounds >= SMOKE.min_rounds for row in rows if row.status == "ok")
    assert all("budget" in (row.reason or "") for row in rows if row.status != "ok")
    assert EventKind.HEADLINES_OPEN in kinds(runner)


def test_headlines_that_stay_open_are_reported_with_a_budget_that_is_enough(
    run: Build, backend: Any
) -> None:
    """Two per cent on noisy calls: this budget is too small, and the one that it names is not."""
    backend.spread = 0.05
    backend.call_ms = {DEFAULT_1.id: 102.0}
    (event,) = run(DEFAULT_1, IPEX_1, budget_s=20.0).events
    assert (event.kind, event.budget_s, event.headlines) == (EventKind.HEADLINES_OPEN, 20.0, 2)
    assert event.enough_s is not None
    assert event.enough_s > 20.0
    assert run(DEFAULT_1, IPEX_1, budget_s=event.enough_s).events == []


@pytest.mark.parametrize("budget_s", [20.0, 60.0, 61.0, 119.0])
def test_the_advised_budget_is_never_the_one_that_was_given(
    run: Build, backend: Any, budget_s: float
) -> None:
    """Where the run ended early too, though its estimate then says that there was time enough."""
    backend.spread = 0.05
    backend.call_ms = {DEFAULT_1.id: 101.0}
    found = [event for event in run(DEFAULT_1, IPEX_1, budget_s=budget_s).events if event.enough_s]
    assert all((event.enough_s or 0) > budget_s for event in found)


def test_each_task_is_measured_however_slow_the_machine(run: Build, backend: Any) -> None:
    """Inference alone uses the budget up; training's first group still gets its minimum."""
    backend.start_s = 20.0
    runner = run(*matrix(SMOKE), budget_s=60.0)
    ok = {name: row for name, row in rows_of(runner).items() if row.status == "ok"}
    groups = {runner.state.outcomes[name].scenario.group for name in ok}
    assert groups == {DEFAULT_1.group, stock_default(Task.TRAINING, 1, ("frozen",)).group}
    assert all(row.rounds >= SMOKE.min_rounds for row in ok.values())
    assert EventKind.BUDGET_EXCEEDED in kinds(runner)


def test_the_budget_is_kept(run: Build, backend: Any) -> None:
    """Every visit is planned from what earlier ones took, so time is what was promised."""
    started = backend.clock()
    run(*matrix(SMOKE), budget_s=300.0, profile=replace(SMOKE, processes=50))
    assert backend.clock() - started <= 300.0 * 1.02


# --- interrupted and resumed ----------------------------------------------------------------------


def cut(build: Build, backend: Any, op: str, scenario: Scenario, time: int) -> Runner:
    """A runner whose run was interrupted at the n-th request of a kind for a scenario."""

    def interrupt(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if backend.asked[scenario.id, op] == time:
            raise KeyboardInterrupt

    backend.faults[scenario.id, op] = interrupt
    runner = build()
    with pytest.raises(KeyboardInterrupt):
        runner.measure()
    del backend.faults[scenario.id, op]
    return runner


def resumed(run: Build, before: Runner, **changes: Any) -> Runner:
    """The same run, resumed from its files to its end."""
    earlier = resume.restore(records.read_run(before.folder), FEW)
    return run(folder=before.folder, earlier=earlier, **changes)


def test_a_cut_run_is_resumed_and_keeps_what_it_had(build: Build, run: Build, backend: Any) -> None:
    """Old rows stay as they were, the launch that was cut is repeated, verdicts use both."""
    backend.call_ms = {DEFAULT_1.id: 150.0}
    before = cut(build, backend, "prepare", IPEX_4, 2)
    assert not backend.alive
    assert not before.complete
    assert kinds(before) == [EventKind.INTERRUPTED]
    assert rows_of(before)[IPEX_4.id].status == "ok"
    assert speedup_of(before, IPEX_1).speedup is not None
    old = records.read_run(before.folder).iterations
    answers: list[int] = []
    after = resumed(
        run,
        before,
        keep_metadata=lambda _: answers.append(len(records.read_run(before.folder).speedups)),
    )
    assert answers[0] == 0  # the old answers do not cover the new rows
    files = records.read_run(after.folder)
    new = files.iterations[len(old) :]
    assert files.iterations[: len(old)] == old
    assert {row.launch for row in new}.isdisjoint(row.launch for row in old)
    assert after.complete
    rows = rows_of(after)
    assert {rows[s.id].status for s in FEW} == {"ok"}
    assert min(rows[one.id].launches for one in (IPEX_1, IPEX_4)) >= 2
    assert speedup_of(after, IPEX_1).verdict == "faster"
    assert len({row.scenario for row in files.kernels}) == len(files.kernels) == len(FEW)


def test_what_was_not_started_is_measured_whole_after_resuming(
    build: Build, run: Build, backend: Any
) -> None:
    """Cut in the first launch: the other batch size still gets its parity, evidence and memory."""
    before = cut(build, backend, "prepare", DEFAULT_4, 1)
    assert rows_of(before)[IPEX_4.id].status == "unavailable"
    (before.folder / "outputs" / "inference-b1.npz").unlink()
    after = resumed(run, before)
    row = rows_of(after)[IPEX_4.id]
    assert (row.status, row.peak_rss_mb, row.isa) == ("ok", 800.0, "avx512_core")
    assert {r.scenario for r in records.read_run(after.folder).parity} == {s.id for s in FEW}
    assert rows_of(after)[IPEX_1.id].prepare_s == 0.2


def test_what_a_resumed_run_starts_gets_its_minimum_of_rounds(
    build: Build, run: Build, backend: Any
) -> None:
    """Starting may use the budget up, but it is not for nothing."""
    before = cut(build, backend, "prepare", DEFAULT_4, 1)
    row = rows_of(resumed(run, before, budget_s=2 * backend.start_s))[IPEX_4.id]
    assert (row.rounds, row.launches) == (SMOKE.min_rounds, 1)


def test_what_was_found_wrong_stays_wrong_in_a_resumed_run(
    build: Build, run: Build, backend: Any
) -> None:
    """A failure is not forgotten because the run was cut."""
    backend.output_offset[IPEX_1.id] = 0.05
    after = resumed(run, cut(build, backend, "prepare", IPEX_4, 2))
    assert rows_of(after)[IPEX_1.id].status == "wrong_output"
    assert speedup_of(after, IPEX_1).verdict == "invalid"


def test_metadata_is_kept_group_by_group(run: Build) -> None:
    """A kill leaves that of what was measured; only the last one says that the run is complete."""
    kept: list[dict[str, Any]] = []
    run(profile=SMOKE, keep_metadata=kept.append)
    assert kept[0]["workers"][IPEX_1.id]["allocator"] == "glibc"
    assert kept[0]["workers"][IPEX_4.id] == {}
    assert [one["complete"] for one in kept] == [False] * (len(kept) - 1) + [True]


# --- the machine's peak ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "probe", "expected"), [(500.0, 215.0, 500.0), (100.0, 215.0, 400.0), (1, 450, 450)]
)
def test_the_highest_reading_of_the_peak_counts(
    run: Build, backend: Any, again: float, probe: float, expected: float
) -> None:
    """A slow reading would contradict true results; the probe of every round is a reading too."""
    backend.probe_gflop_per_s = probe
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE, peak_again=lambda: peak_of(again))
    assert runner.state.peak == peak_of(expected, bf16=800.0)
    share = rows_of(runner)[IPEX_1.id].percent_of_peak
    assert share == pytest.approx(100 * 307.0 / expected, rel=0.02)


def test_a_peak_that_cannot_be_measured_again_is_reported(run: Build) -> None:
    """The first reading stays, and the run is complete."""

    def fails() -> dict[str, Any]:
        raise WorkerError(Status.CRASHED, "planted")

    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE, peak_again=fails)
    assert runner.complete
    assert runner.state.peak["gflop_per_s"]["fp32"] == 400.0
    assert EventKind.PEAK_NOT_REPEATED in kinds(runner)


def test_a_result_beyond_the_peak_is_invalid(run: Build, backend: Any) -> None:
    """30.7 GFLOP in 50 ms are 614 GFLOP/s on a machine of 400."""
    backend.call_ms = {IPEX_1.id: 50.0}
    row = speedup_of(run(DEFAULT_1, IPEX_1, profile=SMOKE), IPEX_1)
    assert row.verdict == "invalid"
    assert "of the peak measured in this run" in (row.reason or "")


# --- variables ------------------------------------------------------------------------------------


def test_a_variable_has_its_own_measured_effect(run: Build, backend: Any) -> None:
    """Over the same without it, and what the backend is worth under it; stock tuned is without."""
    backend.call_ms = {
        DEFAULT_1.id: 150.0,
        TCMALLOC_1.id: 120.0,
        IPEX_1.id: 100.0,
        IPEX_TCMALLOC_1.id: 96.0,
    }
    runner = run(DEFAULT_1, IPEX_1, TCMALLOC_1, IPEX_TCMALLOC_1)
    alone = speedup_of(runner, TCMALLOC_1, "unvaried")
    assert (alone.baseline, alone.verdict) == (DEFAULT_1.id, "faster")
    assert alone.speedup == pytest.approx(150 / 120, rel=0.01)
    same_variable = speedup_of(runner, IPEX_TCMALLOC_1, "stock_alike")
    assert same_variable.baseline == TCMALLOC_1.id
    assert same_variable.speedup == pytest.approx(120 / 96, rel=0.01)
    rows = records.read_run(runner.folder).speedups
    assert TCMALLOC_1.id not in {row.baseline for row in rows if row.baseline_kind == "stock_tuned"}
    plain = {row.baseline_kind for row in rows if row.scenario == IPEX_1.id}
    assert plain == {"stock_default", "stock_tuned"}


def test_a_variable_that_had_no_effect_is_not_measured(run: Build, backend: Any) -> None:
    """The scenario keeps its row with the reason; the others are measured."""
    backend.takes_variables = False
    rows = rows_of(run(DEFAULT_1, IPEX_1, TCMALLOC_1, profile=SMOKE))
    assert rows[TCMALLOC_1.id].status == "unsupported"
    assert "did not take" in (rows[TCMALLOC_1.id].reason or "")
    assert rows[IPEX_1.id].status == "ok"


def test_a_variable_that_is_not_available_costs_its_own_scenarios_only(
    run: Build, backend: Any
) -> None:
    """A library that is not installed says nothing about the backend."""

    def launch(key: Scenario, is_control: bool, number: int) -> Any:
        if "allocator=tcmalloc" in key.options:
            raise WorkerError(Status.UNAVAILABLE, "no libtcmalloc is installed here")
        return backend.launch(key, is_control, number)

    jemalloc = replace(DEFAULT_1, options=("allocator=jemalloc",))
    rows = rows_of(run(DEFAULT_1, TCMALLOC_1, jemalloc, IPEX_1, launch=launch, profile=SMOKE))
    assert rows[TCMALLOC_1.id].status == "unavailable"
    assert {rows[one.id].status for one in (DEFAULT_1, jemalloc, IPEX_1)} == {"ok"}
