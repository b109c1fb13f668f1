"""Where a run's time goes: the ledger, and a whole `standard` run on a clock that is scripted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.analysis.comparison_groups import group_label
from bench.engine.time_use import MEASURING, TimeUse
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES, Profile
from bench.plan.scenario import Dtype, Mode, Scenario, Task
from bench.plan.thresholds import SELFCHECK
from bench.store import records
from tests.bench.calls import timed_call
from tests.bench.run.runs import new_runner
from tests.known import known

if TYPE_CHECKING:
    from pathlib import Path

    from bench.run.runner import Runner

STANDARD = PROFILES["standard"]


def test_first_calls_are_not_measuring(clock: Any) -> None:
    """They may compile for a minute; only warm-up and timed calls count."""
    use = TimeUse(clock=clock)
    with use.during(MEASURING):
        clock.spend(10)
    use.total_s = 20.0
    for phase, seconds in (("first_call", 5), ("warmup", 2), ("timed", 6)):
        use.count(_call(phase, seconds))
    assert use.rounds_share == pytest.approx(0.8)
    assert use.measuring_share == pytest.approx(0.4)


def test_time_counts_whatever_ended_it(clock: Any) -> None:
    """An entry of a run that was interrupted is not lost."""
    use = TimeUse(clock=clock)

    def interrupted() -> None:
        with use.during("starting"):
            clock.spend(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert use.spent_s["starting"] == pytest.approx(3)


def test_nothing_measured_has_no_share(clock: Any) -> None:
    """A share of nothing is unknown, not zero."""
    use = TimeUse(clock=clock)
    assert use.measuring_share is None
    assert use.rounds_share is None


def _call(phase: str, seconds: float) -> records.IterationRow:
    return timed_call("s", 0, 0, 1000 * seconds, phase=phase)


def _ms_an_image(scenario: Scenario) -> float:
    """About what two cloud cores with native bf16 take."""
    forward = 60.0 if scenario.dtype is Dtype.BF16 else 105.0
    return forward * (1.6 if scenario.task is Task.TRAINING else 1.0)


def _run_of(profile: Profile, folder: Path, backend: Any, *, slower: float = 1.0) -> Runner:
    """A whole run on a scripted machine, with the costs of real workers, noisy calls included."""
    scenarios = matrix(profile, (1, 4))
    backend.call_ms = {scenario.id: slower * _ms_an_image(scenario) for scenario in scenarios}
    backend.first_call_s = {s.id: 12.0 * slower for s in scenarios if s.mode is Mode.COMPILE}
    backend.first_call_factor = 1.4
    backend.start_s = 1.7 * slower  # a worker takes twice as long, and two start side by side
    backend.prepare_s = 0.45 * slower
    backend.spread = 0.03
    runner = new_runner(
        folder, backend, scenarios, profile=profile, budget_s=profile.budget_s, peak={}
    )
    runner.measure()
    return runner


@pytest.fixture(params=range(2))
def standard_run(
    request: pytest.FixtureRequest, tmp_path: Path, backend: Any, quiet_machine: None
) -> Runner:
    """The whole matrix within 15 minutes."""
    backend.jitter = np.random.default_rng(request.param)
    return _run_of(STANDARD, tmp_path, backend)


@pytest.mark.usefixtures("quiet_machine")
@pytest.mark.parametrize("slower", [1.0, 1.6, 2.0])
def test_a_smoke_run_measures_every_task_and_batch_size(
    tmp_path: Path, backend: Any, slower: float
) -> None:
    """What compiles waits for them: on a slow machine two compilations take half of the time."""
    runner = _run_of(PROFILES["smoke"], tmp_path, backend, slower=slower)
    run = records.read_run(runner.folder)
    groups = {group_label(row) for row in run.scenarios}
    assert {group_label(row) for row in run.scenarios if row.status == "ok"} == groups
    best = next(row for row in run.claims if row.claim == "best/inference/b1")
    assert known(best.decided_s) < 120


def test_a_standard_run_keeps_its_budget_and_decides_what_differs(standard_run: Runner) -> None:
    """bf16 is faster, all else as fast as stock default: showing that takes longest.

    A row's interval is one of 95 %, so that one level way in twenty may seem to differ.
    """
    run = records.read_run(standard_run.folder)
    left_out = [row for row in run.scenarios if row.status != "ok"]
    assert len(left_out) < 0.2 * len(run.scenarios)
    over_default = [row for row in run.speedups if row.baseline_kind == "stock_default"]
    measured = [row for row in over_default if row.speedup is not None]
    faster = [row for row in measured if "/bf16/" in row.scenario]
    assert len(faster) > 15
    assert {row.verdict for row in faster} == {"faster"}
    level = [row for row in measured if row not in faster]
    assert sum(row.verdict in ("faster", "slower") for row in level) <= 0.1 * len(level)
    assert sum(row.verdict == "same" for row in level) >= 0.1 * len(level)
    best = next(row for row in run.claims if row.claim == "best/inference/b1")
    assert known(best.decided_s) < 150
    use = standard_run.metadata()["self"]
    assert SELFCHECK.min_measuring_share <= use["rounds_share"] <= 1
    assert use["seconds"]["all"] <= 1.02 * STANDARD.budget_s  # a last visit is foreseen, not known
