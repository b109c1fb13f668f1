"""A run that was killed at any moment says the same of every row as the run itself would have.

The run is whole but for what the kill took: its last calls, its summary, and whatever it had not
checked yet. A page of what is left may show less than the run would have, and never more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.run_facts import Facts
from bench.analysis.speedups import RunAnalysis
from bench.errors import WorkerError
from bench.plan.scenario import Layout, Mode, Status, Task, stock_default
from bench.plan.thresholds import DEFAULT
from bench.store import records
from bench.store.records import IterationRow, NoiseRow, ParityRow, Run, ScenarioRow
from tests.bench.conftest import FakeBackend, FakeClock
from tests.bench.run.runs import TWICE, new_runner, peak_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STOCK = stock_default(Task.INFERENCE, 1)
NHWC = replace(STOCK, layout=Layout.CHANNELS_LAST)
IPEX = replace(NHWC, backend="ipex")
WRONG = replace(IPEX, mode=Mode.TORCHSCRIPT, fusion=True)
UNLIKE = replace(IPEX, mode=Mode.COMPILE)
CRASHES = replace(NHWC, mode=Mode.TORCHSCRIPT, fusion=True)
LYING = replace(NHWC, mode=Mode.COMPILE)
ALL = (STOCK, NHWC, IPEX, WRONG, UNLIKE, CRASHES, LYING)
SPEEDS = {NHWC: 80.0, IPEX: 50.0, WRONG: 40.0, UNLIKE: 30.0, CRASHES: 60.0, LYING: 55.0}


@dataclass
class Disk:
    """What lay on the disk beside the calls, each time it changed."""

    scenarios: tuple[ScenarioRow, ...] = ()
    parity: tuple[ParityRow, ...] = ()
    workers: dict[str, Any] = field(default_factory=dict)
    states: list[tuple[int, Disk]] = field(default_factory=list)
    """(calls written by then, what lay there)."""

    def kept(self, calls: int) -> None:
        """Note the state after a change."""
        self.states.append((calls, Disk(self.scenarios, self.parity, dict(self.workers))))

    def at(self, calls: int) -> Disk:
        """What lay there when so many calls had been written."""
        return next((state for count, state in reversed(self.states) if count <= calls), Disk())


class Whole:
    """A run that ended by itself, and its disk at every moment. No dataclass: a short `repr`."""

    def __init__(
        self,
        calls: Sequence[IterationRow],
        noise: Sequence[tuple[int, NoiseRow]],
        disk: Disk,
        final: Run,
    ) -> None:
        self.calls = tuple(calls)
        self.noise = tuple(noise)  # with the calls that had been written before each
        self.disk = disk
        self.final = final


def _crash_later(worker: Any, fields: Mapping[str, Any]) -> None:
    if worker.backend.asked[CRASHES.id, "call"] > 9:
        worker.die()
        raise WorkerError(Status.CRASHED, "signal 11")


def _other_threads(_worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"conditions": {"threads": 1, "allocator": "glibc", "openmp": ["libgomp.so.1"]}}


def _contradiction(_worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"kernels": [], "isa": "avx2", "contradiction": "its log shows fp32"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """One run with every kind of scenario that has no verdict in the end."""
    patch = pytest.MonkeyPatch()
    patch.setattr("bench.machine.noise.is_quiet", lambda *_: True)
    backend = FakeBackend(clock=FakeClock(), spread=0.01)
    backend.call_ms = {scenario.id: ms for scenario, ms in SPEEDS.items()}
    backend.output_offset[WRONG.id] = 0.4
    backend.faults[UNLIKE.id, "conditions"] = _other_threads
    backend.faults[CRASHES.id, "call"] = _crash_later
    backend.faults[LYING.id, "kernels"] = _contradiction
    folder = tmp_path_factory.mktemp("whole")
    disk, noise = Disk(), []
    write = records.replace_rows

    def watched(path: Path, rows: Sequence[Any], kind: type[Any]) -> None:
        write(path, rows, kind)
        name = {ScenarioRow: "scenarios", ParityRow: "parity"}.get(kind)
        if name:
            setattr(disk, name, tuple(rows))
            disk.kept(len(runner.state.iterations))

    def keep_metadata(metadata: dict[str, Any]) -> None:
        disk.workers = metadata["workers"]
        disk.kept(len(runner.state.iterations))

    patch.setattr(records, "replace_rows", watched)
    profile = replace(TWICE, min_rounds=3, max_rounds=4)
    runner = new_runner(
        folder, backend, ALL, profile=profile, peak=peak_of(4000.0), keep_metadata=keep_metadata
    )
    append = records.RunWriter.append

    def note(writer: records.RunWriter, row: Any) -> None:
        if isinstance(row, NoiseRow):
            noise.append((len(runner.state.iterations), row))
        append(writer, row)

    patch.setattr(records.RunWriter, "append", note)
    runner.measure()
    patch.undo()
    final = replace(records.read_run(folder), environment={"workers": runner.state.workers()})
    return Whole(runner.state.iterations, noise, disk, final)


def killed(whole: Whole, calls: int) -> Facts:
    """The page's facts of what a kill after so many calls left."""
    state = whole.disk.at(calls)
    run = Run(
        folder=whole.final.folder,
        environment={"workers": state.workers, "policy": asdict(DEFAULT), "run_id": "run"},
        iterations=whole.calls[:calls],
        scenarios=state.scenarios,
        parity=state.parity,
        noise=tuple(row for before, row in whole.noise if before <= calls),
    )
    return Facts(run)


def as_known_at_last(whole: Whole, facts: Facts) -> RunAnalysis:
    """The same calls, judged with all that the run found out until its end.

    A crash that was still to come is left out: nobody could know of it.
    """
    had = {row.scenario: row for row in facts.run.scenarios}
    rows = [
        had[row.scenario] if row.status == Status.CRASHED and row.scenario in had else row
        for row in whole.final.scenarios
    ]
    return RunAnalysis(
        "run",
        rows,
        facts.run.iterations,
        facts.run.noise,
        whole.final.parity,
        DEFAULT,
        workers=whole.final.environment["workers"],
    )


def test_the_run_itself_has_every_kind(whole: Whole) -> None:
    """Or the law below would hold of nothing."""
    verdicts = {
        row.scenario: row.verdict
        for row in whole.final.speedups
        if row.baseline_kind == "stock_default"
    }
    assert {verdicts[one.id] for one in (NHWC, IPEX)} == {"faster"}
    assert {verdicts[one.id] for one in (WRONG, UNLIKE, CRASHES, LYING)} == {"invalid"}


@settings(deadline=None, max_examples=80)
@given(st.floats(0, 1))
def test_a_killed_run_says_the_same_and_never_more(whole: Whole, moment: float) -> None:
    """Row for row: a verdict is that of all that was found out, or there is none yet."""
    calls = max(1, round(moment * len(whole.calls)))
    facts = killed(whole, calls)
    known = {
        (row.scenario, row.baseline_kind): row for row in as_known_at_last(whole, facts).rows()
    }
    for row in facts.speedup_rows:
        other = known.get((row.scenario, row.baseline_kind))
        if other is None or row.baseline != other.baseline:
            continue  # which scenario is stock tuned may not be known yet
        if row.verdict in ("faster", "slower", "same"):
            doubted = facts.scenarios[row.scenario].status != Status.OK
            assert not doubted
            if row.baseline_kind != "stock_tuned":
                assert (row.verdict, row.speedup_low) == (other.verdict, other.speedup_low)
            else:
                assert other.verdict in (row.verdict, "inconclusive", "invalid")
        elif facts.scenarios[row.scenario].checked and row.baseline_kind == "stock_default":
            assert row.verdict == other.verdict or other.verdict == "invalid"


def test_at_its_last_call_a_killed_run_says_all_that_the_run_said(whole: Whole) -> None:
    """Only the summary was not written."""
    facts = killed(whole, len(whole.calls))
    assert list(facts.speedup_rows) == list(whole.final.speedups)


def test_before_anything_was_checked_nothing_is_said(whole: Whole) -> None:
    """The first calls of all participants are there, and no row of scenarios.csv."""
    first = next(calls for calls, state in whole.disk.states if state.scenarios)
    facts = killed(whole, first - 1)
    assert facts.run.scenarios == ()
    assert {row.verdict for row in facts.speedup_rows} <= {"inconclusive", "invalid"}
