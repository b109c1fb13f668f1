"""Where a run's time goes: the ledger, and a whole `standard` run on a clock that is scripted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench import records
from bench.policy import DEFAULT, SELFCHECK
from bench.progress import Progress
from bench.runner import Runner
from bench.scenarios import PROFILES, Dtype, Mode, Scenario, Task, matrix
from bench.time_use import MEASURING, TimeUse

if TYPE_CHECKING:
    from pathlib import Path

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
    return records.IterationRow(
        run_id="run",
        scenario="s",
        launch=0,
        round=None,
        position=None,
        iteration=0,
        phase=phase,
        wall_ns=int(seconds * 1e9),
        cpu_ns=0,
    )


# --- a standard run on two cores -----------------------------------------------------------------


def _ms_an_image(scenario: Scenario) -> float:
    """About what two cloud cores with native bf16 take."""
    forward = 60.0 if scenario.dtype is Dtype.BF16 else 105.0
    return forward * (1.6 if scenario.task is Task.TRAINING else 1.0)


@pytest.fixture
def standard_run(tmp_path: Path, backend: Any, quiet_machine: None) -> Runner:
    """The whole matrix within 19 minutes, with the costs of real workers, noisy calls included."""
    scenarios = matrix(STANDARD, (1, 4))
    backend.call_ms = {scenario.id: _ms_an_image(scenario) for scenario in scenarios}
    backend.first_call_s = {s.id: 12.0 for s in scenarios if s.mode is Mode.COMPILE}
    backend.first_call_factor = 1.4
    backend.start_s = 1.7  # a worker takes twice as long, and two start side by side
    backend.prepare_s = 0.45
    backend.spread = 0.03
    (tmp_path / "outputs").mkdir()
    records.write_environment(tmp_path, {"run_id": "run"})
    runner = Runner(
        run_id="run",
        folder=tmp_path,
        profile=STANDARD,
        scenarios=scenarios,
        policy=DEFAULT,
        budget_s=STANDARD.budget_s,
        launch=backend.launch,
        clock=backend.clock,
        progress=Progress(),
    )
    runner.measure()
    return runner


def test_a_standard_run_spends_its_time_on_rounds(standard_run: Runner) -> None:
    """All launches and thirty rounds of batch 1 within 19 minutes, where it had seven.

    A lane whose interval is narrow already has fewer. Measuring time is spent in calls as `bench
    selfcheck` is held to.
    """
    rows = records.read_run(standard_run.folder).scenarios
    native = [row for row in rows if row.task == "inference" and row.batch_size == 1]
    assert len(native) == 19
    assert {row.launches for row in rows} <= {STANDARD.launches, STANDARD.launches + 1}
    assert max(row.rounds for row in native) >= 30
    assert min(row.rounds for row in native) >= 15
    use = standard_run.self_use()
    assert use["rounds_share"] >= SELFCHECK.min_measuring_share
    # a fourth launch is worth more than further rounds, and costs starting workers once more
    assert use["measuring_share"] > 0.55
    assert use["seconds"][MEASURING] > 0.55 * use["seconds"]["all"]
    assert use["seconds"]["all"] <= 1.02 * STANDARD.budget_s  # a last launch is planned, not known
