"""What launches are expected to cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.plan.scenario import Mode
from bench.plan.thresholds import DEFAULT
from bench.run.forecast import Cost, Forecast
from tests.bench.run.runs import DEFAULT_1, DEFAULT_4, IPEX_1, IPEX_4, LAST_1, SMOKE

SLOW = replace(IPEX_1, mode=Mode.COMPILE)
"""It compiles."""
SCENARIOS = {one.id: one for one in (DEFAULT_1, IPEX_1, LAST_1, SLOW, DEFAULT_4, IPEX_4)}
COST = Cost(open_s=4.0, round_s=1.0, first_s=9.0)


def forecast(**costs: Cost) -> Forecast:
    """An estimate from the costs of stock default and IPEX at batch size 1."""
    known = {DEFAULT_1.id: costs.get("default", COST), IPEX_1.id: costs.get("ipex", COST)}
    return Forecast(SCENARIOS, known, SMOKE, DEFAULT)


def test_a_launch_is_an_opening_and_rounds_and_stock_default_has_a_control() -> None:
    """Two workers of it; a scenario whose cost is not known counts for nothing."""
    assert forecast().launch_s([IPEX_1.id], 3) == 4.0 + 3 * 1.0
    assert forecast().launch_s([DEFAULT_1.id, IPEX_1.id, LAST_1.id], 3) == 3 * (4.0 + 3 * 1.0)


@pytest.mark.parametrize(("scenario", "factor"), [(LAST_1, 1.0), (IPEX_4, 1.5)])
def test_a_first_launch_is_estimated_from_similar_ones(scenario: object, factor: float) -> None:
    """Those of the group count; else those of the task, at another batch size."""
    assert isinstance(scenario, type(LAST_1))
    expected = factor * (9.0 + SMOKE.min_rounds * 1.0)
    assert forecast().first_s(scenario) == pytest.approx(expected)
    compiled = replace(scenario, mode=Mode.COMPILE)
    unknown_s = DEFAULT.budget.cold_compile_s  # nothing that compiles was measured
    assert forecast().first_s(compiled) == pytest.approx(expected + unknown_s)
    costs = {DEFAULT_1.id: COST, SLOW.id: replace(COST, first_s=40.0)}
    similar_s = factor * (40.0 + SMOKE.min_rounds * 1.0)
    assert Forecast(SCENARIOS, costs, SMOKE, DEFAULT).first_s(compiled) == pytest.approx(similar_s)
    assert Forecast(SCENARIOS, {}, SMOKE, DEFAULT).first_s(scenario) == 0.0


def test_another_batch_size_needs_no_further_workers() -> None:
    """Its first visit runs in those of the first one; a scenario of the same group starts one."""
    begun, brief = replace(COST, start_s=5.0), replace(SMOKE, compiles_last=True)
    found = Forecast(SCENARIOS, {DEFAULT_1.id: begun, IPEX_1.id: begun}, brief, DEFAULT)
    assert found.first_s(IPEX_4) == pytest.approx(1.5 * (9.0 - 5.0 + SMOKE.min_rounds * 1.0))
    assert found.first_s(LAST_1) == pytest.approx(9.0 + SMOKE.min_rounds * 1.0)


def test_stock_default_that_was_measured_needs_no_first_launch_beside_others() -> None:
    """In a suite its workers and the control's run already; without a visit they have to start."""
    costs, brief = {DEFAULT_1.id: COST, IPEX_1.id: COST}, replace(SMOKE, compiles_last=True)
    found = Forecast(SCENARIOS, costs, brief, DEFAULT)
    assert found.beside_s(DEFAULT_1) == pytest.approx(2 * (4.0 + SMOKE.min_rounds * 1.0))
    assert found.beside_s(DEFAULT_4) == pytest.approx(2 * found.first_s(DEFAULT_4))
    assert found.beside_s(DEFAULT_1) < forecast().beside_s(DEFAULT_1)


def test_a_thorough_comparison_has_a_limit() -> None:
    """A hundred calls, or the time that the profile gives it."""
    profile = replace(SMOKE, recommended_parity_s=60.0)
    known = {IPEX_1.id: replace(COST, round_s=0.2), DEFAULT_1.id: COST}
    found = Forecast(SCENARIOS, known, profile, DEFAULT)
    names = (IPEX_1.id, DEFAULT_1.id, LAST_1.id)
    assert [found.thorough_s(name) for name in names] == [pytest.approx(20.0), 60.0, 60.0]
