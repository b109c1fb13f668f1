"""What the gate finds, and that it invents nothing, on a simulated machine with realistic noise.

Blocks of one process differ by 3 %, processes of one build by up to 1 %, and the machine drifts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.gate.result import Outcome
from bench.gate.thresholds import DEFAULT
from tests.bench.gate.simulated import Machine, gate

if TYPE_CHECKING:
    from bench.gate.result import Case

pytestmark = pytest.mark.usefixtures("quiet_machine")
CLEAN_S, CONFIRMED_S, FURTHER_S = 180, 300, 120
"""The bounds, in seconds, of which some fifteen go to checking out and to ending."""
OVERHEAD_S = 15


def many(count: int, **luck: Any) -> list[tuple[Machine, Case]]:
    """Gates of one scenario on as many machines."""
    machines = [Machine(seed=seed, **luck) for seed in range(count)]
    return [(machine, gate(machine)[0]) for machine in machines]


def outcomes(found: list[tuple[Machine, Case]]) -> Counter[Outcome]:
    """How often each."""
    return Counter(case.outcome for _, case in found)


def test_a_commit_against_itself_passes_within_three_minutes() -> None:
    """Even where processes differ by 1 %; where that raises doubt, within five."""
    found = many(8, process=0.01, block=0.03)
    assert outcomes(found)[Outcome.REGRESSION] == 0
    assert outcomes(found)[Outcome.PASSED] >= 7
    for machine, case in found:
        confirmed = "confirmation" in (case.details or {})
        assert machine.clock() < (CONFIRMED_S if confirmed else CLEAN_S) - OVERHEAD_S


def test_a_neighbour_in_bursts_is_never_a_regression() -> None:
    """A third of the blocks is disturbed by up to half, and nobody calls the rounds unquiet."""
    assert outcomes(many(5, burst=0.33))[Outcome.REGRESSION] == 0


def test_a_tenth_slower_is_always_found() -> None:
    """At the noise at which a twentieth is hard."""
    assert outcomes(many(4, slowdown=0.10, process=0.01, block=0.03)) == {Outcome.REGRESSION: 4}


def test_a_twentieth_slower_is_found_within_five_minutes() -> None:
    """In nine of ten, as the bound says: a pass is 95 % sure of ruling out just this."""
    found = many(10, slowdown=0.05, process=0.005, block=0.03)
    assert outcomes(found)[Outcome.REGRESSION] >= 9
    assert max(machine.clock() for machine, _ in found) < CONFIRMED_S - OVERHEAD_S


@pytest.mark.parametrize(("slowdown", "launches"), [(0.0, 4), (0.25, 8)])
def test_what_is_clear_after_four_launches_ends_there(slowdown: float, launches: int) -> None:
    """A screening of four that passes, or one and a confirmation of four."""
    machine = Machine(seed=1, slowdown=slowdown, process=0.001, block=0.005)
    gate(machine)
    assert len(machine.started) == 3 * launches


def test_what_is_not_clear_takes_all_launches() -> None:
    """A slowdown just at the margin, on a machine that is fast enough for all launches."""
    machine = Machine(seed=1, slowdown=0.25, gate_ms=20, start_s=1)
    gate(machine, replace(DEFAULT, margin=0.25, ruled_out=0.25))
    every = DEFAULT.screening.launches + DEFAULT.confirmation.launches
    assert len(machine.started) == 3 * every


def test_each_further_scenario_adds_at_most_two_minutes() -> None:
    """All three are slower, all three are confirmed, and they share the time for it."""
    machine = Machine(seed=1, slowdown=0.10)
    cases = gate(machine, scenarios=3)
    assert [case.outcome for case in cases] == [Outcome.REGRESSION] * 3
    assert all("confirmation" in (case.details or {}) for case in cases)
    assert machine.clock() < DEFAULT.allowed_s(3) + OVERHEAD_S
    assert DEFAULT.allowed_s(3) + OVERHEAD_S <= CONFIRMED_S + 2 * FURTHER_S
