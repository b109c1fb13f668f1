"""Whole runs with scripted workers and a scripted clock: no torch, no waiting."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import WorkerError
from bench.plan.scenario import Mode, Scenario, Status, worker_key
from bench.plan.thresholds import DEFAULT
from bench.store import records
from bench.store.events import EventKind
from tests.bench.conftest import FakeBackend, FakeClock
from tests.bench.run.runs import (
    BF16_1,
    DEFAULT_1,
    DEFAULT_4,
    IPEX_1,
    IPEX_4,
    LAST_1,
    SCRIPT_1,
    SMOKE,
    Build,
    kinds,
    new_runner,
    peak_of,
    rows_of,
    speedup_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.run.runner import Runner

TCMALLOC_1 = replace(DEFAULT_1, options=("allocator=tcmalloc",))
IPEX_TCMALLOC_1 = replace(IPEX_1, options=("allocator=tcmalloc",))
WATTS = 50


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


def test_the_control_is_another_worker(plain: Runner, plain_run: records.Run) -> None:
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


def test_without_counters_energy_is_empty(run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty, and never a guess."""
    monkeypatch.setattr("bench.machine.energy.read_energy", dict)
    rows = rows_of(run(DEFAULT_1, IPEX_1, profile=SMOKE))
    assert {row.joules_per_image for row in rows.values()} == {None}


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
        "supported/inference/b1",
    }
    verdicts = {row.claim: row.verdict for row in claims.values()}
    assert {v for name, v in verdicts.items() if not name.startswith("supported")} == {"faster"}
    first, second = (claims[f"best/inference/{size}"].decided_s or 0.0 for size in ("b1", "b4"))
    assert 0 < first < second < backend.clock()


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


def test_metadata_is_kept_group_by_group(run: Build) -> None:
    """A kill leaves that of what was measured; only the last one says that the run is complete."""
    kept: list[dict[str, Any]] = []
    run(profile=SMOKE, keep_metadata=kept.append)
    assert kept[0]["workers"][IPEX_1.id]["allocator"] == "glibc"
    assert kept[0]["workers"][IPEX_4.id] == {}
    assert [one["complete"] for one in kept] == [False] * (len(kept) - 1) + [True]


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


def test_reduced_arithmetic_has_the_peak_of_what_it_multiplies_in(run: Build, backend: Any) -> None:
    """With AMX fp32 data in bf16 pass the peak in fp32 by far, and gain more than that allows."""
    reduced = replace(IPEX_1, options=("fpmath=bf16",))
    backend.call_ms = {LAST_1.id: 120.0, reduced.id: 50.0}
    runner = run(DEFAULT_1, LAST_1, reduced, profile=SMOKE)
    assert rows_of(runner)[reduced.id].percent_of_peak == pytest.approx(77, abs=1)
    assert speedup_of(runner, reduced).verdict == "faster"


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


def test_a_missing_variable_costs_its_own_scenarios_only(run: Build, backend: Any) -> None:
    """A library that is not installed says nothing about the backend."""

    def launch(key: Scenario, is_control: bool, number: int) -> Any:
        if "allocator=tcmalloc" in key.options:
            raise WorkerError(Status.UNAVAILABLE, "no libtcmalloc is installed here")
        return backend.launch(key, is_control, number)

    jemalloc = replace(DEFAULT_1, options=("allocator=jemalloc",))
    rows = rows_of(run(DEFAULT_1, TCMALLOC_1, jemalloc, IPEX_1, launch=launch, profile=SMOKE))
    assert rows[TCMALLOC_1.id].status == "unavailable"
    assert {rows[one.id].status for one in (DEFAULT_1, jemalloc, IPEX_1)} == {"ok"}


@pytest.mark.parametrize("most", [5, 6, 8])
def test_no_more_workers_are_alive_than_allowed(
    build: Build, backend: FakeBackend, most: int
) -> None:
    """At further batch sizes the same scenarios wait; all are measured all the same."""
    at_once = []

    def launch(*arguments: Any) -> Any:
        worker = backend.launch(*arguments)
        at_once.append(len(backend.alive))
        return worker

    ways = (DEFAULT_1, LAST_1, SCRIPT_1, IPEX_1, BF16_1)
    scenarios = (*ways, *(replace(one, batch_size=4) for one in ways), TCMALLOC_1, IPEX_TCMALLOC_1)
    budget = replace(DEFAULT.budget, most_workers=most)
    runner = build(*scenarios, launch=launch, policy=replace(DEFAULT, budget=budget))
    runner.measure()
    assert {row.status for row in rows_of(runner).values()} == {Status.OK}
    assert (
        max(at_once) <= max(most, len(ways) + 1) + 1
    )  # a visit's own, with control, and the probe


def test_workers_that_a_further_batch_size_needs_are_kept(
    build: Build, backend: FakeBackend
) -> None:
    """Others make room for the fresh processes of a repeated visit."""
    scenarios = (DEFAULT_1, IPEX_1, LAST_1, SCRIPT_1, BF16_1, DEFAULT_4, IPEX_4)
    budget = replace(DEFAULT.budget, most_workers=7)
    runner = build(*scenarios, policy=replace(DEFAULT, budget=budget))
    runner.measure()
    calls = records.read_run(runner.folder).iterations
    first = min(row.launch for row in calls if row.scenario == IPEX_4.id)
    assert {launch for _, _, launch in backend.started} >= {0, 1}
    assert first > 1, "repeated visits came before it"
    assert (worker_key(IPEX_4).id, False, first) not in backend.started
