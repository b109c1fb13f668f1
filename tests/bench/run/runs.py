"""Whole runs over scripted workers, and what tests look at in their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.errors import WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Status, Task, stock_default
from bench.plan.thresholds import DEFAULT
from bench.run.runner import Runner
from bench.store import records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.store.events import EventKind
    from tests.bench.conftest import FakeBackend

Build = Callable[..., Runner]
"""Makes a runner of these scenarios; keywords replace its parts."""

SMOKE = replace(PROFILES["smoke"], compiles_last=False)
"""Least of everything; but all scenarios of a group are in its first launch."""
TWICE = replace(SMOKE, processes=2)
"""Every scenario has a second process, whatever the first one showed."""
DEFAULT_1 = stock_default(Task.INFERENCE, 1)
LAST_1 = replace(DEFAULT_1, layout=Layout.CHANNELS_LAST)
SCRIPT_1 = replace(LAST_1, mode=Mode.TORCHSCRIPT, fusion=True)
IPEX_1 = replace(LAST_1, backend="ipex")
BF16_1 = replace(LAST_1, dtype=Dtype.BF16)
DEFAULT_4 = replace(DEFAULT_1, batch_size=4)
IPEX_4 = replace(IPEX_1, batch_size=4)
FEW = (DEFAULT_1, IPEX_1, DEFAULT_4, IPEX_4)
ALL_1 = (DEFAULT_1, LAST_1, SCRIPT_1, IPEX_1)
"""Every fp32 scenario above at batch size 1."""


def new_runner(
    folder: Path, backend: FakeBackend, scenarios: tuple[Scenario, ...] = FEW, **changes: Any
) -> Runner:
    """A runner over scripted workers; `changes` replace its parts."""
    if not (folder / "environment.json").exists():
        (folder / "outputs").mkdir(parents=True)
        records.write_environment(folder, {"run_id": "run"})
    fields: dict[str, Any] = {
        "run_id": "run",
        "folder": folder,
        "profile": TWICE,
        "scenarios": scenarios,
        "policy": DEFAULT,
        "budget_s": 10_000.0,
        "launch": backend.launch,
        "peak": peak_of(400.0, bf16=800.0),
        "clock": backend.clock,
    }
    return Runner(**{**fields, **changes})


def peak_of(fp32: float, bf16: float = 1.0) -> dict[str, Any]:
    """A reading of the machine's peak."""
    return {"gflop_per_s": {"fp32": fp32, "bf16": bf16}, "memory_gb_per_s": 20.0}


def rows_of(runner: Runner) -> dict[str, records.ScenarioRow]:
    """The run's scenarios as read back from its files."""
    return {row.scenario: row for row in records.read_run(runner.folder).scenarios}


def speedup_of(
    runner: Runner, scenario: Scenario, kind: str = "stock_default"
) -> records.SpeedupRow:
    """One row of speedups.csv."""
    (found,) = (
        row
        for row in records.read_run(runner.folder).speedups
        if row.scenario == scenario.id and row.baseline_kind == kind
    )
    return found


def kinds(runner: Runner) -> list[EventKind]:
    """What happened, in order."""
    return [event.kind for event in runner.events]


def raising(status: Status, reason: str = "planted", *, dies: bool = True) -> Callable[..., None]:
    """A fault that fails the request, and by default ends the worker."""

    def fault(worker: Any, _fields: Mapping[str, Any]) -> None:
        if dies:
            worker.die()
        raise WorkerError(status, reason)

    return fault
