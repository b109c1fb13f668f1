"""One experiment on scripted workers: how its time is shared out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bench.policy import DEFAULT
from bench.selfcheck.check import stock_seats
from bench.selfcheck.experiment import Effort, Experiment

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.mark.parametrize("allowed_s", [30.0, 90.0])
def test_no_launch_takes_more_than_its_part_of_the_time(backend: Any, allowed_s: float) -> None:
    """The first one neither, when nothing but the time ends it."""
    backend.default_ms = 15.0
    began = backend.clock()
    measured = Experiment(
        name="long",
        seats=stock_seats(3),
        effort=Effort(launches=3, min_rounds=2, max_rounds=500, target_half_width=0.0),
        policy=DEFAULT,
        launch=lambda seat: backend.launch(seat.scenario, False, 0),
        allowed_s=allowed_s,
        clock=backend.clock,
    ).measure()
    rounds = Counter(launch for launch, _ in measured.blocks["stock-0"])
    assert backend.clock() - began <= allowed_s
    assert sorted(rounds) == [0, 1, 2]
    assert max(rounds.values()) < 1.5 * min(rounds.values())
