"""One scenario's measurement: how many launches and rounds it gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.engine.execution import Execution
from bench.gate.measuring import Measurer
from bench.gate.side import Side
from bench.gate.thresholds import DEFAULT
from bench.machine import noise
from bench.plan.scenario import Task, stock_default
from bench.plan.thresholds import DEFAULT as POLICY
from bench.plan.thresholds import NoisePolicy
from tests.bench.gate.simulated import Machine

ONE = stock_default(Task.INFERENCE, 1)


@pytest.mark.parametrize("first_launch", [0, 100])
def test_the_first_launch_has_all_its_rounds_however_long_workers_take(first_launch: int) -> None:
    """Also a confirmation's, whose launches have other numbers; the budget ends what follows."""
    machine = Machine(seed=1, start_s=40.0)
    effort = replace(DEFAULT.screening, budget_s=30.0)
    measurer = Measurer(
        run_id="run", launch=machine.start, record=lambda _: None, clock=machine.clock
    )
    found = measurer.measure(ONE, effort, measurer.read, first_launch=first_launch)
    assert {launch for launch, _ in found.blocks[Side.HEAD]} == {first_launch}
    assert len(found.blocks[Side.HEAD]) == effort.max_rounds


def test_blocks_that_other_work_disturbed_are_counted_and_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The judge has to know of them: they are why there is no verdict."""
    monkeypatch.setattr(noise, "saw_other_work", lambda *_: True)
    monkeypatch.setattr(
        Execution, "_had_less_cpu", lambda execution, *_: execution.name.endswith("#head")
    )
    machine = Machine(seed=1)
    measurer = Measurer(
        run_id="run",
        launch=machine.start,
        record=lambda _: None,
        clock=machine.clock,
        policy=replace(POLICY, noise=NoisePolicy(idle_wait_s=0.0)),
    )
    effort = replace(DEFAULT.screening, launches=2)
    found = measurer.measure(ONE, effort, measurer.read)
    assert found.lost[Side.HEAD] == frozenset(found.blocks[Side.BASE])
    seen = measurer.read(found)
    assert not seen.final
    assert "other work disturbed 12 of the 12 blocks" in seen.reason
