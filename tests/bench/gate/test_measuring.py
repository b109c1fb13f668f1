"""One scenario's measurement: how many launches and rounds it gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.gate.measuring import Measurer
from bench.gate.side import Side
from bench.gate.thresholds import DEFAULT
from bench.plan.scenario import Task, stock_default
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
