"""Make the page's tables besides speedups, from a run's facts. Pure.

No scenario is dropped: one that could not run keeps its row with its status and reason. `anchors`
maps scenario ids to the elements of the page that hold their details.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.parity import allowed_on_maps
from bench.analysis.prices import images_per_dollar, images_per_hour
from bench.plan.scenario import Status, Task, Verdict
from bench.report.machine import no_price
from bench.report.table import (
    Cell,
    Row,
    Table,
    megabytes,
    number,
    quantity,
    ratio_cell,
    scenario_cell,
    tags,
    whole,
)
from bench.text import wording
from bench.text.wording import NOTHING, milliseconds, percent, seconds, tiny

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bench.analysis.run_facts import Facts
    from bench.store.records import ParityRow, ScenarioRow

    Anchors = dict[str, str]


# ---- a row a scenario, a column a number ---------------------------------------------------------


def _numbers(
    facts: Facts,
    name: str,
    caption: str,
    rows: Iterable[ScenarioRow],
    columns: Mapping[str, Callable[[ScenarioRow], Cell]],
    anchors: Anchors,
) -> Table:
    """Return a table with a column for each name in `columns`, made from a scenario's row."""
    return Table(
        name=name,
        caption=caption,
        columns=("Scenario", *columns),
        rows=tuple(
            Row(
                cells=(
                    scenario_cell(row, anchors, facts.mark(row)),
                    *(cell(row) for cell in columns.values()),
                ),
                **tags(row),
                is_muted=not facts.is_measured(row),
            )
            for row in rows
        ),
        numeric=tuple(range(1, len(columns) + 1)),
        can_filter=True,
    )


def timings(facts: Facts, anchors: Anchors) -> Table:
    """Return latency and throughput of every inference scenario."""
    items = facts.nouns.items

    def of_peak(row: ScenarioRow) -> Cell:
        value = row.percent_of_peak
        return number(NOTHING if value is None else f"{value:.0f} %", value)

    return _numbers(
        facts,
        "timings",
        f"Time of a call and {items} per second. p90 needs 10 timed calls, p99 needs 100.",
        [
            row
            for row in facts.scenarios.values()
            if row.task == Task.INFERENCE and row.median_ms is not None
        ],
        {
            "Batch": lambda row: quantity(row.batch_size, whole),
            "Median": lambda row: quantity(row.median_ms, milliseconds),
            "p90": lambda row: quantity(row.p90_ms, milliseconds),
            "p99": lambda row: quantity(row.p99_ms, milliseconds),
            f"{items.capitalize()}/s": lambda row: quantity(row.images_per_s),
            "GFLOP/s": lambda row: quantity(row.gflop_per_s),
            "Of peak": of_peak,
        },
        anchors,
    )


_AHEAD = (
    " AOTInductor's file is built once, for this CPU and PyTorch, and loaded by each process: "
    "building is part of Prepare, and counts neither for break-even nor for peak memory."
)
_PACKAGE: dict[str, Callable[[ScenarioRow], Cell]] = {
    "Built once": lambda row: quantity(row.build_s, seconds),
    "File": lambda row: quantity(package_mb(row), megabytes),
    "Load": lambda row: quantity(row.load_ms, milliseconds),
}


def costs(facts: Facts, anchors: Anchors) -> Table:
    """Return what a scenario costs before its first fast call, its memory, and its break-even."""
    rows = [
        row
        for row in facts.scenarios.values()
        if row.prepare_s is not None or row.first_call_ms is not None
    ]
    ahead = any(row.load_ms is not None for row in rows)
    return _numbers(
        facts,
        "costs",
        "Start-up cost and peak memory of the worker process (the kernel's high-water mark). "
        "Pages: those that the kernel maps in during a call; a large number depends on heap "
        "layout. Break-even: calls after which the faster scenario has made up for its longer "
        f"start.{_AHEAD if ahead else ''}",
        rows,
        {
            "Import": lambda row: quantity(row.import_s, seconds),
            "Prepare": lambda row: quantity(row.prepare_s, seconds),
            **(_PACKAGE if ahead else {}),
            "First call": lambda row: quantity(row.first_call_ms, milliseconds),
            "Warm-up calls": lambda row: quantity(row.warmup_iterations, whole),
            "Break-even": lambda row: quantity(break_even(facts, row), spell_break_even),
            "Peak memory": lambda row: quantity(row.peak_rss_mb, megabytes),
            "Pages a call": lambda row: quantity(row.page_faults, whole),
        },
        anchors,
    )


def package_mb(row: ScenarioRow) -> float | None:
    """Return the size of the file of a scenario that is compiled ahead of time, in MiB."""
    return None if row.package_bytes is None else row.package_bytes / 2**20


def money(facts: Facts, anchors: Anchors) -> Table:
    """Return items an hour and for a dollar, and energy where the host counts it."""
    nouns = facts.nouns
    items = nouns.items.capitalize()
    cost = f"Price: {facts.price.words}." if facts.price else no_price(facts)
    if not any(row.joules_per_image for row in facts.scenarios.values()):
        cost += " This host does not let its energy counters be read."
    return _numbers(
        facts,
        "money",
        f"One worker as it was measured, all hours busy. {cost}",
        [
            row
            for row in facts.scenarios.values()
            if row.task == Task.INFERENCE and row.images_per_s is not None
        ],
        {
            f"{items}/s": lambda row: quantity(row.images_per_s),
            f"{items}/hour": lambda row: quantity(images_per_hour(row.images_per_s)),
            f"{items} per dollar": lambda row: quantity(
                images_per_dollar(row.images_per_s, facts.price)
            ),
            f"Joules an {nouns.item}": lambda row: quantity(row.joules_per_image),
        },
        anchors,
    )


def start_up_ms(row: ScenarioRow) -> float | None:
    """Return the time of import, preparation and first call together, in ms.

    Of a scenario that is compiled ahead of time loading counts, and not building what it loads.
    """
    if row.prepare_s is None or row.first_call_ms is None:
        return None
    prepare_ms = row.prepare_s * 1000 if row.load_ms is None else row.load_ms
    return (row.import_s or 0.0) * 1000 + prepare_ms + row.first_call_ms


def break_even(facts: Facts, row: ScenarioRow) -> float | None:
    """Return the calls after which the scenario has made up for its longer start.

    None where it is not shown to be faster than stock default; 0 where it starts no later.
    """
    comparison = facts.against_default(row.scenario)
    default = facts.scenarios.get(comparison.baseline) if comparison else None
    if comparison is None or default is None or comparison.verdict != Verdict.FASTER:
        return None
    mine, theirs = start_up_ms(row), start_up_ms(default)
    if mine is None or theirs is None or default.median_ms is None:
        return None
    saved = default.median_ms * (1 - 1 / comparison.estimate)
    return max(0.0, (mine - theirs) / saved)


def spell_break_even(calls: float | None) -> str:
    """Spell a number of calls until break-even."""
    if calls is None:
        return NOTHING
    return "at once" if calls == 0 else f"{wording.digits(calls, 2)} calls"


# ---- whether it can be trusted -------------------------------------------------------------------


_OF_INSPECTOR = ("Largest map error", "Accuracy", "Recall (bad)")
"""Columns of outputs that a user's own model has not."""


def parity(facts: Facts, anchors: Anchors) -> Table:
    """Return outputs and decisions of every scenario against stock default's."""
    nouns = facts.nouns
    changed = f"{nouns.decision.capitalize()}s changed"

    def allowed(row: ParityRow) -> str:
        if row.max_abs_map_error is None or row.tolerance is None:
            return ""
        return f"{tiny(allowed_on_maps(row.tolerance, facts.policy.parity))} allowed"

    columns: dict[str, Callable[[ParityRow], Cell]] = {
        "Largest error": lambda row: quantity(row.max_abs_error, tiny),
        "Allowed": lambda row: quantity(row.tolerance, tiny),
        "Largest map error": lambda row: number(
            tiny(row.max_abs_map_error), row.max_abs_map_error, allowed(row)
        ),
        changed: lambda row: quantity(row.decisions_changed, whole),
        nouns.items.capitalize(): lambda row: quantity(row.images, whole),
        "Accuracy": lambda row: number(percent(row.accuracy), row.accuracy),
        "Recall (bad)": lambda row: number(percent(row.recall_bad), row.recall_bad),
        "Outputs": lambda row: Cell(
            text="✓ agrees" if row.within_tolerance else "✕ WRONG OUTPUT", sort=row.within_tolerance
        ),
    }
    if facts.is_own_model:
        columns = {name: cell for name, cell in columns.items() if name not in _OF_INSPECTOR}
    if not facts.decides:
        del columns[changed]
    rows = []
    for row in facts.run.parity:
        scenario = facts.scenarios.get(row.scenario)
        name = (
            scenario_cell(scenario, anchors, facts.mark(scenario))
            if scenario
            else Cell(text=row.scenario)
        )
        cells = (name, *(cell(row) for cell in columns.values()))
        rows.append(Row(cells=cells, **tags(scenario), is_muted=not row.within_tolerance))
    untrained = facts.is_untrained and not facts.is_own_model
    note = " The model is untrained: accuracy and recall mean nothing." if untrained else ""
    return Table(
        name="parity",
        caption=f"Outputs against stock default's on the same {nouns.items}.{note}",
        columns=("Scenario", *columns),
        rows=tuple(rows),
        numeric=tuple(range(1, len(columns))),
        can_filter=True,
    )


def failures(facts: Facts, anchors: Anchors) -> Table:
    """Return the scenarios that could not run or gave no usable times, with their reasons."""
    rows = [
        Row(
            cells=(
                scenario_cell(row, anchors, facts.mark(row)),
                Cell(text=wording.status_words(row.status), sort=row.status),
                Cell(text=row.reason or "no reason was recorded"),
            ),
            **tags(row),
        )
        for row in facts.scenarios.values()
        if row.status != Status.OK
    ]
    late = ("not measured", "the run ended before its turn and left no row")
    rows += [text_row(name, *late) for name in facts.never_measured]
    return Table(
        name="failures",
        caption="Scenarios with a status other than ok.",
        empty=f"{'Every' if facts.scenarios else 'No'} scenario of the run was measured.",
        columns=("Scenario", "Status", "Reason"),
        rows=tuple(rows),
    )


def text_row(*texts: str) -> Row:
    """Return a row of plain texts."""
    return Row(cells=tuple(Cell(text=text) for text in texts))


def exclusions(facts: Facts) -> Table:
    """Return what the matrix leaves out by design."""
    return Table(
        name="exclusions",
        caption="Combinations that were not tried.",
        columns=("What", "Why"),
        rows=tuple(text_row(item.what, item.reason) for item in facts.metadata.matrix.excluded),
    )


def noise(facts: Facts) -> Table:
    """Return how quiet each comparison group was."""
    rows = []
    for group in facts.groups:
        rounds = facts.noise_of(group)
        control = facts.control_of(group)
        p_value = control.ratio.p_value if control and control.ratio else None
        noisy = f"{sum(not row.quiet for row in rounds)} of {len(rounds)}"
        cells = (
            Cell(text=group.label),
            ratio_cell(control),
            quantity(p_value, tiny),
            number(noisy, len(rounds)),
            _highest((row.cpu_pressure for row in rounds), percent),
            _highest((row.steal for row in rounds), percent),
            _highest((row.throttled for row in rounds), percent),
            _highest((row.probe_ratio for row in rounds), wording.times),
        )
        rows.append(Row(cells=cells, task=group.task))
    return Table(
        name="noise",
        caption="Two identical stock workers against each other, and the worst readings of any "
        "round. An empty reading means that the host does not offer it.",
        columns=("Group", "Control", "p-value", "Noisy rounds", "CPU pressure", "Steal",
                 "Throttled", "Slowest probe"),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6, 7),
    )  # fmt: skip


def _highest(values: Iterable[float | None], words: Callable[[float | None], str]) -> Cell:
    return quantity(max((value for value in values if value is not None), default=None), words)
