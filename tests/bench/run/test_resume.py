"""What the files of a cut run say, which runs may not go on here, and runs that do."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.engine.environments import Environment
from bench.errors import BenchError
from bench.plan.scenario import Status
from bench.plan.thresholds import DEFAULT
from bench.run import measure, resume
from bench.run.request import RunRequest
from bench.store import records
from bench.store.events import EventKind
from bench.store.records import (
    IterationRow,
    KernelRow,
    LoggedCallRow,
    Run,
    ScenarioRow,
    read_rows,
)
from bench.store.rows import columns
from bench.store.run_folder import Commit
from tests.bench import made_up_layers
from tests.bench.calls import timed_call
from tests.bench.run.runs import (
    DEFAULT_1,
    DEFAULT_4,
    FEW,
    IPEX_1,
    IPEX_4,
    SMOKE,
    Build,
    kinds,
    rows_of,
    speedup_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.scenario import Scenario
    from bench.run.runner import Runner

MACHINE = {"fingerprint": "f", "packages": {"torch": "2.8.0", "numpy": "2.2.6"}}
ENVIRONMENT = {
    "complete": False,
    "matrix": {"scenarios": [DEFAULT_1.id]},
    "request": {"seed": 0},
    "machine": MACHINE,
    "commit": "c" * 40,
    "dirty": False,
    "policy": json.loads(json.dumps(asdict(DEFAULT))),
    "started_utc": "2026-11-24T03:00:00+00:00",
}


def check(**changes: Any) -> None:
    """Whether that run may go on with this code on this machine."""
    environment = {**ENVIRONMENT, **changes}
    resume.check_unfinished(environment, "a-run")
    code = Commit(revision="c" * 40, dirty=False)
    resume.check_same(environment, "a-run", machine=MACHINE, code=code, policy=DEFAULT)


def test_a_cut_run_of_this_machine_code_and_policy_may_go_on() -> None:
    """Its policy comes back from JSON, where tuples are lists."""
    check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"complete": True}, "is complete"),
        ({"matrix": None}, "before it measured anything"),
        ({"request": None}, "before it measured anything"),
        ({"machine": {"fingerprint": "g"}}, "another machine"),
        ({"commit": "d" * 40}, "dddddddddddd"),
        ({"dirty": True}, "with changes"),
        ({"machine": {"fingerprint": "f", "packages": {"torch": "2.7.0"}}}, r"\(numpy, torch\)"),
        ({"policy": {"max_call_s": 9}}, "another policy"),
    ],
)
def test_another_run_may_not(changes: dict[str, Any], words: str) -> None:
    """One folder, one machine, one code; the line says which it is not."""
    with pytest.raises(BenchError, match=words):
        check(**changes)


def row(**fields: Any) -> ScenarioRow:
    """A line of scenarios.csv."""
    empty = {c.name: None if c.optional else c.kind() for c in columns(ScenarioRow)}
    return ScenarioRow(**{**empty, "scenario": DEFAULT_1.id, "status": "ok", "rounds": 2, **fields})


def call(launch: int) -> IterationRow:
    """A timed call of that launch."""
    return timed_call(DEFAULT_1.id, launch, 0, 100.0)


def restored(*rows: ScenarioRow, **more: Any) -> resume.Earlier:
    """What such files say of two scenarios."""
    run = Run(Path("a-run"), {"workers": more.pop("workers", {})}, scenarios=rows, **more)
    return resume.restore(run, (DEFAULT_1, DEFAULT_4))


def test_what_was_known_of_a_scenario_is_known_again() -> None:
    """So that its line of scenarios.csv can be written again from later rounds."""
    before = row(
        prepare_s=0.2,
        build_s=12.5,
        package_bytes=61_000_000,
        load_ms=310.0,
        native_dtype=True,
        gflop_per_s=307.0,
        median_ms=100.0,
        peak_rss_mb=800.0,
        isa="avx512_core",
        fused_ops=13,
        layers_replaced=14,
        import_s=1.5,
        threads=2,
    )
    outcome = restored(before, iterations=(call(0),)).outcomes[DEFAULT_1.id]
    after = outcome.row("run", [call(0), replace(call(0), round=1)], {})
    known = ("prepare_s", "gflop_per_s", "peak_rss_mb", "isa", "fused_ops", "layers_replaced")
    ahead = ("build_s", "package_bytes", "load_ms")
    for name in (*known, *ahead, "native_dtype", "import_s", "threads", "status"):
        assert getattr(after, name) == getattr(before, name), name
    assert not outcome.is_new


def test_conditions_and_what_differed_are_known_again() -> None:
    """A comparison that was invalid for them stays so."""
    workers = {DEFAULT_1.id: {"threads": 2, "differs": ["threads: 2 against 4"]}}
    outcome = restored(row(), workers=workers).outcomes[DEFAULT_1.id]
    assert outcome.worker == workers[DEFAULT_1.id]


def test_a_failure_stays_one() -> None:
    """It is not tried again: its rows would mix what was found wrong with what came later."""
    outcome = restored(row(status="crashed", reason="planted", rounds=0)).outcomes[DEFAULT_1.id]
    assert outcome.status is Status.CRASHED
    assert outcome.reason == "planted"


def test_who_never_had_a_round_starts_over() -> None:
    """Whether its line says so or is missing."""
    found = restored(row(status="unavailable", reason="not measured", rounds=0))
    assert found.outcomes[DEFAULT_1.id].is_new
    assert found.outcomes[DEFAULT_1.id].status is Status.OK
    assert found.outcomes[DEFAULT_4.id].is_new


def test_the_next_launch_has_a_new_number() -> None:
    """The one that was cut included: its rounds are whole and count."""
    assert restored(row(), iterations=(call(0), call(2))).launches == 3
    assert restored(row()).launches == 0


@pytest.mark.parametrize(("hour", "minute", "seconds"), [(3, 5, 300), (2, 0, 0)])
def test_used_time_ends_with_the_last_row(hour: int, minute: int, seconds: float) -> None:
    """What passed between the cut and now is not the run's; a clock set back adds no budget."""
    written = datetime(2026, 11, 24, hour, minute, tzinfo=timezone.utc)
    assert resume.seconds_used(ENVIRONMENT, written) == seconds


def test_a_pause_before_an_earlier_resuming_is_not_used_time() -> None:
    """Cut after five minutes, resumed a day later, and cut again after two more."""
    again = {"kind": "resumed", "reason": "2026-11-25T03:00:00+00:00"}
    environment = {**ENVIRONMENT, "events": [again], "used_s": 300.0}
    written = datetime(2026, 11, 25, 3, 2, tzinfo=timezone.utc)
    assert resume.seconds_used(environment, written) == 420


def test_a_run_goes_on_with_the_packages_it_began_with_only() -> None:
    """Another PyTorch in another environment's folder would be two under one name."""
    then = Environment(
        python=Path("python"), version="3.11.7", packages={"torch": "2.14.1"}, frameworks={}
    )
    before = {"latest": then.kept()}
    resume.check_environments(before, "a-run", {"latest": then})
    now = replace(then, packages={"torch": "2.15.0"})
    with pytest.raises(BenchError, match=r"other packages in environment latest \(torch\)"):
        resume.check_environments(before, "a-run", {"latest": now})


def test_no_duration_comes_from_a_clock_that_can_jump() -> None:
    """Budgets and calls are timed by monotonic clocks; the wall clock only names and dates."""
    sources = Path(resume.__file__).parents[1].rglob("*.py")
    found = [path.name for path in sources if re.search(r"\btime\.time(_ns)?\(", path.read_text())]
    assert found == []


@pytest.mark.parametrize(("images", "joules"), [(30, 2.5), (None, 4.0)])
def test_energy_goes_on_with_all_its_images(images: int | None, joules: float) -> None:
    """2 J an image over 30 images and 40 J over 10 more are 2.5 J an image, not 21.

    Runs of version 0.1 did not keep the number; carried on, it would count as one image's.
    """
    before = row(joules_per_image=2.0, joules_images=images, checked=True)
    outcome = restored(before).outcomes[DEFAULT_1.id]
    outcome.add_energy(40.0, 10)
    written = outcome.row("run", [], {}, ended=False)
    assert written.joules_per_image == pytest.approx(joules)
    assert written.joules_images == 10 + (images or 0)


@pytest.mark.parametrize(("checked", "is_new"), [(True, False), (None, False), (False, True)])
def test_what_was_not_checked_is_begun_anew(checked: bool | None, is_new: bool) -> None:
    """Else its outputs and kernels would never be looked at; version 0.1 wrote no such rows."""
    assert restored(row(checked=checked)).outcomes[DEFAULT_1.id].is_new is is_new


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


def test_what_was_not_started_is_measured_whole(build: Build, run: Build, backend: Any) -> None:
    """Cut in the first launch: the other batch size still gets its parity, evidence and memory."""
    before = cut(build, backend, "prepare", DEFAULT_4, 1)
    assert rows_of(before)[IPEX_4.id].status == "unavailable"
    (before.folder / "outputs" / "inference-b1.npz").unlink()
    after = resumed(run, before)
    row = rows_of(after)[IPEX_4.id]
    assert (row.status, row.peak_rss_mb, row.isa) == ("ok", 800.0, "avx512_core")
    assert {r.scenario for r in records.read_run(after.folder).parity} == {s.id for s in FEW}
    assert rows_of(after)[IPEX_1.id].prepare_s == 0.2


def test_a_resumed_run_measures_its_minimum(build: Build, run: Build, backend: Any) -> None:
    """Starting may use the budget up, but it is not for nothing."""
    before = cut(build, backend, "prepare", DEFAULT_4, 1)
    row = rows_of(resumed(run, before, budget_s=2 * backend.start_s))[IPEX_4.id]
    assert (row.rounds, row.launches) == (SMOKE.min_rounds, 1)


def test_wrong_stays_wrong_in_a_resumed_run(build: Build, run: Build, backend: Any) -> None:
    """A failure is not forgotten because the run was cut."""
    backend.output_offset[IPEX_1.id] = 0.05
    after = resumed(run, cut(build, backend, "prepare", IPEX_4, 2))
    assert rows_of(after)[IPEX_1.id].status == "wrong_output"
    assert speedup_of(after, IPEX_1).verdict == "invalid"


def test_what_begins_anew_loses_its_kernels_and_logged_calls(tmp_path: Path) -> None:
    """Both would be written a second time, and the times would be of other kernels."""
    kernels = [
        made_up_layers.numbered([made_up_layers.convolution(0)], scenario.id)[0]
        for scenario in (DEFAULT_1, DEFAULT_4)
    ]
    logged = [
        call
        for kernel in kernels
        for call in made_up_layers.logged([kernel], np.random.default_rng(0), calls=2)
    ]
    run = Run(
        folder=tmp_path,
        environment=ENVIRONMENT,
        scenarios=(row(checked=False), row(scenario=DEFAULT_4.id, prepare_s=0.2)),
        kernels=tuple(kernels),
        logged_calls=tuple(logged),
    )
    measure._restore(run, (DEFAULT_1, DEFAULT_4))
    kept, _ = read_rows(tmp_path / "kernels.csv", KernelRow)
    calls, _ = read_rows(tmp_path / "logged_calls.csv", LoggedCallRow)
    assert [one.scenario for one in kept] == [DEFAULT_4.id]
    assert [one.scenario for one in calls] == [DEFAULT_4.id] * 2


def test_a_resumed_run_counts_from_its_beginning(build: Build, run: Build, backend: Any) -> None:
    """The budget that it names is the whole one, and a headline keeps when it was decided."""
    backend.spread = 0.05
    backend.call_ms = {DEFAULT_1.id: 300.0, DEFAULT_4.id: 102.0}
    before = cut(build, backend, "prepare", IPEX_4, 2)
    decided = {one.claim: one.decided_s for one in records.read_run(before.folder).claims}
    assert decided["best/inference/b1"] is not None
    records.write_environment(before.folder, {"run_id": "run", "used_s": 500.0})
    after = resumed(run, before, budget_s=506.0)
    (event,) = (one for one in after.events if one.kind is EventKind.HEADLINES_OPEN)
    assert event.budget_s == 506.0
    assert (event.enough_s or 600.0) > 506.0
    kept = {one.claim: one.decided_s for one in records.read_run(after.folder).claims}
    assert kept["best/inference/b1"] == decided["best/inference/b1"]


@pytest.mark.parametrize(("more_s", "whole_s"), [(None, 900.0), (1000.0, 1060.0)])
def test_a_resumed_run_has_its_name_budget_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more_s: float | None, whole_s: float
) -> None:
    """Also where its folder is the one that one stands in."""
    folder = tmp_path / "a-run"
    folder.mkdir()
    interrupted = {"kind": "interrupted", "seconds": 60.0}
    request = RunRequest(profile=SMOKE, data=tmp_path, results=tmp_path).kept()
    kept = {"profile": "smoke", "request": request, "budget_s": 900.0, "events": [interrupted]}
    matrix = {"scenarios": [], "largest_batch": 1}
    records.write_environment(folder, {**ENVIRONMENT, **kept, "matrix": matrix, "data": {}})
    (folder / "iterations.csv").touch()
    jobs = []
    monkeypatch.setattr("bench.store.run_folder.only_run_here", nullcontext)
    monkeypatch.setattr(measure, "check_began_here", lambda *_: None)
    monkeypatch.setattr(measure, "_seconds_used", lambda _: 60.0)
    monkeypatch.setattr(measure._Job, "measure", lambda job, *_: jobs.append(job))
    monkeypatch.chdir(folder)
    assert measure.go_on(Path(), budget_s=more_s) == folder
    (job,) = jobs
    assert job.folder.name == "a-run"
    assert job.request.budget == job.environment["budget_s"] == whole_s
    assert [event.kind for event in job.events] == [EventKind.RESUMED]
