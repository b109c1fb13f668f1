"""The page's tables: order, remarks on trust, and values that are computed for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.analysis.prices import Price, Prices, shipped
from bench.analysis.run_facts import Facts
from bench.analysis.winners import bf16_pairs
from bench.plan.scenario import Status
from bench.report import charts, tables
from bench.report.speedup_table import pairs_table, speedups
from bench.store.records import Run
from tests.bench.made_up_runs import DEFAULT_1, IPEX_1, LAST_1, THREE, MakeRun
from tests.known import known

if TYPE_CHECKING:
    from bench.report.table import Table

EMPTY = Run(folder=Path("empty"), environment={})
BF16 = "inference/stock/eager/bf16/channels_last/b1"
FEW = (*THREE, BF16)
AHEAD = "inference/stock/aot/fp32/channels_last/b1"


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Run:
    """A few scenarios, one of which computed wrong outputs."""
    return make_run(only=FEW, rounds=4, faults=((LAST_1, Status.WRONG_OUTPUT, "differs by 0.7"),))


@pytest.fixture(scope="module")
def facts(run: Run) -> Facts:
    """Its facts."""
    return Facts(run, shipped())


def column(table: Table, name: str) -> dict[object, object]:
    """What each row of a column sorts by, by scenario."""
    place = table.columns.index(name)
    return {row.cells[0].sort: row.cells[place].sort for row in table.rows}


def test_a_machine_without_a_name_is_offered_no_price(facts: Facts, run: Run) -> None:
    """A table finds it by that name, so none of yours would help."""
    assert "--prices" in tables.money(Facts(run), {}).caption
    assert "--prices" not in tables.money(_without(run, "instance_type", "cpu_model"), {}).caption
    assert "--prices" not in tables.money(facts, {}).caption


def test_a_machine_outside_ec2_is_priced_by_its_cpu(run: Run) -> None:
    """The page says by which name."""
    unpriced = _without(run, "instance_type")
    cpu = unpriced.metadata.machine.cpu_model
    assert f"{cpu}: give a table" in tables.money(unpriced, {}).caption
    own = Price(instance_type=cpu, usd_per_hour=0.1, region="here", date="2026", source="rent")
    priced = Facts(unpriced.run, Prices((own,)))
    assert priced.price == own
    assert own.words in tables.money(priced, {}).caption


def _without(run: Run, *names: str) -> Facts:
    """Return the run on a machine that says nothing of these."""
    machine = {**run.environment["machine"], **dict.fromkeys(names)}
    return Facts(replace(run, environment={**run.environment, "machine": machine}))


def test_outputs_sort_as_every_other_column(facts: Facts) -> None:
    """Those that agree apart from those that do not."""
    assert {*column(tables.parity(facts, {}), "Outputs").values()} == {True, False}


def test_an_empty_run_is_not_said_to_be_measured() -> None:
    """It has no scenario that could be."""
    assert tables.failures(Facts(EMPTY), {}).empty.startswith("No scenario")


def test_control_and_stock_default_come_before_the_fastest(facts: Facts, make_run: MakeRun) -> None:
    """A scenario without usable outputs is last and muted; stock tuned is named as such."""
    table = speedups(facts, {IPEX_1: "s2"})
    control, default, ipex, bf16, wrong = table.rows
    assert control.cells[0].text.startswith("Control")
    assert "p = " in control.cells[-1].fold
    assert [row.cells[0].sort for row in (default, ipex, bf16, wrong)] == [
        DEFAULT_1,
        IPEX_1,
        BF16,
        LAST_1,
    ]
    assert ipex.cells[0].link == "#s2"
    assert [row.is_muted for row in table.rows] == [False, False, False, False, True]
    tuned = speedups(Facts(make_run(only=FEW, rounds=4)), {})
    shown = {row.cells[0].sort: row.cells[3].text for row in tuned.rows}
    assert shown[LAST_1] == "is stock tuned"


def test_pairs_show_the_ratio_of_the_judge(facts: Facts) -> None:
    """bf16 over fp32, or why there is no ratio."""
    pairs = [(facts.scenarios[BF16], facts.scenarios[DEFAULT_1])]
    table = pairs_table(facts, "dtype", "bf16", ("bf16", "fp32"), pairs, {})
    found = known(facts.compare(BF16, DEFAULT_1))
    assert column(table, "Ratio") == {BF16: found.estimate}
    assert column(table, "Verdict") == {BF16: found.verdict}
    twins = pairs_table(facts, "dtype", "bf16", ("bf16", "fp32"), bf16_pairs(facts), {})
    (row,) = twins.rows  # its fp32 twin computed wrong outputs
    assert column(twins, "Ratio") == {BF16: None}
    assert row.cells[-1].text


def test_break_even_is_the_longer_start_divided_by_the_time_saved(facts: Facts) -> None:
    """In calls; only for what is shown to be faster."""
    default, ipex = facts.scenarios[DEFAULT_1], facts.scenarios[IPEX_1]
    comparison = known(facts.against_default(IPEX_1))
    assert default.median_ms is not None
    longer = (tables.start_up_ms(ipex) or 0) - (tables.start_up_ms(default) or 0)
    saved = default.median_ms * (1 - 1 / comparison.estimate)
    shown = column(tables.costs(facts, {}), "Break-even")
    assert shown[IPEX_1] == pytest.approx(longer / saved)
    assert shown[BF16] is None
    assert tables.spell_break_even(0.0) == "at once"


def test_what_was_built_before_counts_neither_for_the_start_nor_for_break_even(
    make_run: MakeRun,
) -> None:
    """A package is built once: import, loading and the first call are each process's start."""
    facts = Facts(make_run(only=(DEFAULT_1, LAST_1, AHEAD), rounds=4))
    row = facts.scenarios[AHEAD]
    table = tables.costs(facts, {})
    assert column(table, "Built once")[AHEAD] == row.build_s
    assert column(table, "File")[AHEAD] == pytest.approx(59.0)
    assert column(table, "Load") == {DEFAULT_1: None, LAST_1: None, AHEAD: row.load_ms}
    assert row.import_s is not None
    assert row.load_ms is not None
    assert row.first_call_ms is not None
    assert tables.start_up_ms(row) == 1000 * row.import_s + row.load_ms + row.first_call_ms
    assert "built once" in table.caption
    shown = charts.start_up(facts)
    assert shown is not None
    assert "built before" in shown.caption


def test_tables_without_a_package_have_no_columns_for_it(facts: Facts) -> None:
    """As the runs of earlier versions."""
    table = tables.costs(facts, {})
    assert not {"Built once", "File", "Load"} & {*table.columns}
    assert "built once" not in table.caption


def test_times_and_costs_of_wrong_outputs_are_muted(facts: Facts) -> None:
    """They are shown, and mean nothing."""
    for make in (tables.timings, tables.costs, tables.money):
        assert [row.cells[0].sort for row in make(facts, {}).rows if row.is_muted] == [LAST_1]


def test_money_names_the_price_or_how_to_give_one(run: Run, facts: Facts) -> None:
    """Energy is missing where the host does not count it."""
    assert facts.price is not None
    assert facts.price.words in tables.money(facts, {}).caption
    assert "energy" in tables.money(facts, {}).caption
    assert "--prices" in tables.money(Facts(run), {}).caption
    metered = tuple(replace(row, joules_per_image=2.0) for row in run.scenarios)
    assert "energy" not in tables.money(Facts(replace(run, scenarios=metered)), {}).caption


def test_trust_tables_list_failures_untrained_models_and_the_worst_noise(run: Run) -> None:
    """A scenario that the run never came to has no row of its own in scenarios.csv."""
    noise = [replace(row, cpu_pressure=n / 100, steal=None) for n, row in enumerate(run.noise)]
    scenarios = tuple(row for row in run.scenarios if row.scenario != BF16)
    calls = tuple(row for row in run.iterations if row.scenario != BF16)
    facts = Facts(replace(run, noise=tuple(noise), scenarios=scenarios, iterations=calls))
    parity = tables.parity(facts, {})
    assert "untrained" in parity.caption
    on_maps = [row.cells[parity.columns.index("Largest map error")] for row in parity.rows]
    assert {cell.note.endswith(" allowed") for cell in on_maps if cell.sort is not None} == {True}
    failures = [row.cells for row in tables.failures(facts, {}).rows]
    assert [cells[0].sort or cells[0].text for cells in failures] == [LAST_1, BF16]
    assert failures[0][2].text == "differs by 0.7"
    (row,) = tables.noise(facts).rows
    assert row.cells[4].sort == pytest.approx((len(noise) - 1) / 100)
    assert row.cells[5].sort is None
