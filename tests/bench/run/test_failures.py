"""What fails in a run costs itself alone, and is on disk at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.engine.progress import Progress
from bench.errors import RecordError, WorkerError
from bench.plan.scenario import Mode, Status
from bench.store import records
from bench.store.events import EventKind
from tests.bench.run.runs import (
    DEFAULT_1,
    DEFAULT_4,
    FEW,
    IPEX_1,
    IPEX_4,
    SMOKE,
    Build,
    kinds,
    raising,
    rows_of,
    speedup_of,
)
from tests.closed_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping


def test_a_launch_that_gives_nothing_is_not_tried_for_ever(run: Build, backend: Any) -> None:
    """Nothing can be prepared any more after the first launch."""

    def gone(_worker: Any, _fields: Mapping[str, Any]) -> None:
        if any(launch for _, _, launch in backend.started):
            raise WorkerError(Status.CRASHED, "planted")

    backend.faults[DEFAULT_1.id, "prepare"] = backend.faults[IPEX_1.id, "prepare"] = gone
    assert run(DEFAULT_1, IPEX_1).complete
    assert max(launch for _, _, launch in backend.started) == 1


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
def test_failures_stay_apart(run: Build, backend: Any, op: str, status: Status, dies: bool) -> None:
    """Whatever happens to one scenario, the others are measured, the same key's other batch too."""
    backend.faults[IPEX_1.id, op] = raising(status, dies=dies)
    runner = run(profile=SMOKE)
    rows = rows_of(runner)
    assert rows[IPEX_1.id].status == status.value
    assert "planted" in (rows[IPEX_1.id].reason or "")
    assert {rows[s.id].status for s in FEW if s is not IPEX_1} == {"ok"}
    assert speedup_of(runner, IPEX_1).verdict == "invalid"
    assert speedup_of(runner, IPEX_4).verdict in ("same", "inconclusive")


def test_what_failed_does_not_make_the_others_look_expensive(run: Build, backend: Any) -> None:
    """Five of seven fail after preparing for ten seconds each; batch 4 of the others still fits."""
    backend.prepare_s = 10.0
    failing = [
        replace(IPEX_1, mode=mode, fusion=fusion, backend=library)
        for library in ("stock", "ipex")
        for mode, fusion in ((Mode.TORCHSCRIPT, False), (Mode.TORCHSCRIPT, True))
    ]
    failing.append(replace(DEFAULT_1, layout=IPEX_1.layout))
    for scenario in failing:
        backend.faults[scenario.id, "call"] = raising(Status.CRASHED, dies=True)
    runner = run(DEFAULT_1, *failing, IPEX_1, DEFAULT_4, IPEX_4, profile=SMOKE, budget_s=240.0)
    rows = rows_of(runner)
    assert {rows[scenario.id].status for scenario in failing} == {"crashed"}
    assert rows[IPEX_4.id].status == "ok"


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


def test_a_closed_terminal_costs_no_summary(build: Build, backend: Any) -> None:
    """It ends the run as Ctrl-C does, and nothing can be shown any more."""

    def hang_up(_worker: Any, _fields: Mapping[str, Any]) -> None:
        window.close()
        raise KeyboardInterrupt

    backend.faults[DEFAULT_4.id, "call"] = hang_up
    with Terminal() as window:
        runner = build(progress=Progress(window.stream))
        with pytest.raises(KeyboardInterrupt):
            runner.measure()
    assert not backend.alive
    assert records.read_run(runner.folder).claims
    assert speedup_of(runner, IPEX_1).speedup is not None
    assert kinds(runner) == [EventKind.INTERRUPTED]
