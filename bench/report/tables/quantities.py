"""What calls take, what starting costs and when it is earned back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.prices import images_per_dollar, images_per_hour
from bench.plan.scenario import Task
from bench.report.tables.table import (
    Cell,
    Row,
    Table,
    megabytes,
    number,
    scenario_cell,
    tags,
    whole,
)
from bench.text.wording import NOTHING, digits, milliseconds, seconds

if TYPE_CHECKING:
    from bench.analysis.facts import Facts
    from bench.store.records import ScenarioRow


def timings(facts: Facts, anchors: dict[str, str]) -> Table:
    """Latency and throughput of every inference scenario."""
    rows = [
        Row(
            cells=(
                scenario_cell(row, anchors),
                number(digits(row.batch_size, 1), row.batch_size),
                number(milliseconds(row.median_ms), row.median_ms),
                number(milliseconds(row.p90_ms), row.p90_ms),
                number(milliseconds(row.p99_ms), row.p99_ms),
                number(digits(row.images_per_s), row.images_per_s),
                number(digits(row.gflop_per_s), row.gflop_per_s),
                _peak_cell(row),
            ),
            **tags(row),
        )
        for row in facts.scenarios.values()
        if row.task == Task.INFERENCE and row.median_ms is not None
    ]
    return Table(
        name="timings",
        caption="Time of a call and images per second. p90 needs 10 timed calls, p99 needs 100.",
        columns=("Scenario", "Batch", "Median", "p90", "p99", "Images/s", "GFLOP/s", "Of peak"),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6, 7),
        can_filter=True,
    )


def _peak_cell(row: ScenarioRow) -> Cell:
    value = row.percent_of_peak
    return number(f"{value:.0f} %" if value is not None else NOTHING, value)


def costs(facts: Facts, anchors: dict[str, str]) -> Table:
    """What a scenario costs before its first fast call, its memory, and when that pays off."""
    rows = [
        Row(
            cells=(
                scenario_cell(row, anchors),
                number(seconds(row.import_s), row.import_s),
                number(seconds(row.prepare_s), row.prepare_s),
                number(milliseconds(row.first_call_ms), row.first_call_ms),
                number(whole(row.warmup_iterations), row.warmup_iterations),
                _break_even_cell(facts, row),
                number(megabytes(row.peak_rss_mb), row.peak_rss_mb),
                number(whole(row.page_faults), row.page_faults),
            ),
            **tags(row),
        )
        for row in facts.scenarios.values()
        if row.prepare_s is not None or row.first_call_ms is not None
    ]
    return Table(
        name="costs",
        caption="Start-up cost and peak memory of the worker process (the kernel's high-water "
        "mark). Pages: those that the kernel had to map in during a call, a matter of luck where "
        "they are many. Break-even: calls after which the faster scenario has earned its longer "
        "start back.",
        columns=(
            "Scenario",
            "Import",
            "Prepare",
            "First call",
            "Warm-up calls",
            "Break-even",
            "Peak memory",
            "Pages a call",
        ),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6, 7),
        can_filter=True,
    )


def money(facts: Facts, anchors: dict[str, str]) -> Table:
    """What images cost: an hour, a dollar, and energy where the host counts it."""
    price = facts.price
    rows = [
        Row(
            cells=(
                scenario_cell(row, anchors),
                number(digits(row.images_per_s), row.images_per_s),
                _number(images_per_hour(row.images_per_s)),
                _number(images_per_dollar(row.images_per_s, price)),
                _number(row.joules_per_image),
            ),
            **tags(row),
            is_muted=not facts.is_measured(row),
        )
        for row in facts.scenarios.values()
        if row.task == Task.INFERENCE and row.images_per_s is not None
    ]
    cost = f"Price: {price.words}." if price else _unknown_price(facts)
    energy = "" if any(row.joules_per_image for row in facts.scenarios.values()) else _NO_ENERGY
    return Table(
        name="money",
        caption=f"One worker as it was measured, all hours busy. {cost}{energy}",
        columns=("Scenario", "Images/s", "Images/hour", "Images per dollar", "Joules an image"),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4),
        can_filter=True,
    )


_NO_ENERGY = " This host does not let its energy counters be read."


def _unknown_price(facts: Facts) -> str:
    name = facts.metadata.machine.instance_type or "this machine"
    return f"No price is known for {name}: give a table of yours with --prices FILE."


def _number(value: float | None) -> Cell:
    return number(digits(value), value)


def start_up_ms(row: ScenarioRow) -> float | None:
    """Import, preparation and first call together."""
    if row.prepare_s is None or row.first_call_ms is None:
        return None
    return ((row.import_s or 0.0) + row.prepare_s) * 1000 + row.first_call_ms


def break_even(facts: Facts, row: ScenarioRow) -> float | None:
    """Calls until the scenario's longer start is earned back against stock default.

    None where it is not shown to be faster; 0 where it starts no later.
    """
    comparison = facts.against_default(row.scenario)
    default = facts.scenarios.get(comparison.baseline) if comparison else None
    if comparison is None or default is None or comparison.verdict != "faster":
        return None
    mine, theirs = start_up_ms(row), start_up_ms(default)
    if mine is None or theirs is None or default.median_ms is None:
        return None
    saved = default.median_ms * (1 - 1 / comparison.estimate)
    return max(0.0, (mine - theirs) / saved)


def _break_even_cell(facts: Facts, row: ScenarioRow) -> Cell:
    calls = break_even(facts, row)
    if calls is None:
        return Cell(text=NOTHING, is_number=True)
    return number("at once" if calls == 0 else f"{digits(calls, 2)} calls", calls)
