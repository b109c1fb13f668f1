"""Outputs and decisions, what could not run, what was left out, and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan.scenario import Status
from bench.report.tables.table import (
    NO_TAGS,
    Cell,
    Row,
    Table,
    number,
    scenario_cell,
    tags,
    whole,
)
from bench.text import wording
from bench.text.wording import NOTHING, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.comparison import Comparison
    from bench.analysis.facts import Facts


def parity(facts: Facts, anchors: dict[str, str]) -> Table:
    """Outputs and decisions of every scenario against stock default's."""
    rows = []
    for row in facts.run.parity:
        scenario = facts.scenarios.get(row.scenario)
        name = scenario_cell(scenario, anchors) if scenario else Cell(text=row.scenario)
        rows.append(
            Row(
                cells=(
                    name,
                    number(wording.tiny(row.max_abs_error), row.max_abs_error),
                    number(wording.tiny(row.tolerance), row.tolerance),
                    number(wording.tiny(row.max_abs_map_error), row.max_abs_map_error),
                    number(whole(row.decisions_changed), row.decisions_changed),
                    number(f"{row.images:,}", row.images),
                    number(percent(row.accuracy, 3), row.accuracy),
                    number(percent(row.recall_bad, 3), row.recall_bad),
                    Cell(text="✓ agrees" if row.within_tolerance else "✕ WRONG OUTPUT"),
                ),
                **(tags(scenario) if scenario else NO_TAGS),
                is_muted=not row.within_tolerance,
            )
        )
    untrained = " The model is untrained: accuracy and recall mean nothing."
    return Table(
        name="parity",
        caption="Outputs against stock default's on the same images."
        + (untrained if facts.is_untrained else ""),
        columns=(
            "Scenario",
            "Largest error",
            "Allowed",
            "Largest map error",
            "Decisions changed",
            "Images",
            "Accuracy",
            "Recall (bad)",
            "Outputs",
        ),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6, 7),
        can_filter=True,
    )


def failures(facts: Facts, anchors: dict[str, str]) -> Table:
    """What could not run or gave no usable times, and why."""
    rows = [
        Row(
            cells=(
                scenario_cell(row, anchors),
                Cell(text=wording.status_words(row.status), sort=row.status),
                Cell(text=row.reason or "no reason was recorded"),
            ),
            **tags(row),
        )
        for row in facts.scenarios.values()
        if row.status != Status.OK
    ]
    rows += [
        Row(
            cells=(
                Cell(text=name),
                Cell(text="not measured"),
                Cell(text="the run ended before its turn and left no row"),
            )
        )
        for name in facts.never_measured
    ]
    return Table(
        name="failures",
        caption="Scenarios with a status other than ok.",
        empty="Every scenario of the run was measured.",
        columns=("Scenario", "Status", "Reason"),
        rows=tuple(rows),
    )


def exclusions(facts: Facts) -> Table:
    """What the matrix leaves out by design."""
    rows = [
        Row(cells=(Cell(text=item.what), Cell(text=item.reason)))
        for item in facts.metadata.matrix.excluded
    ]
    return Table(
        name="exclusions",
        caption="Combinations that were not tried.",
        columns=("What", "Why"),
        rows=tuple(rows),
    )


def noise(facts: Facts) -> Table:
    """How quiet each comparison group was."""
    rows = []
    for group in facts.groups:
        rounds = facts.noise_of(group)
        control = facts.control_of(group)
        pressure = [row.cpu_pressure for row in rounds if row.cpu_pressure is not None]
        steal = [row.steal for row in rounds if row.steal is not None]
        throttled = [row.throttled for row in rounds if row.throttled is not None]
        probe = [row.probe_ratio for row in rounds if row.probe_ratio is not None]
        rows.append(
            Row(
                cells=(
                    Cell(text=group.label),
                    number(wording.times(control.estimate), control.estimate,
                           wording.bounds(control.low, control.high))
                    if control
                    else Cell(text=NOTHING, is_number=True),
                    _check(control),
                    number(f"{sum(not row.quiet for row in rounds)} of {len(rounds)}", len(rounds)),
                    _worst(pressure, percent),
                    _worst(steal, percent),
                    _worst(throttled, percent),
                    _worst(probe, wording.times),
                ),
                task=group.task,
            )
        )  # fmt: skip
    return Table(
        name="noise",
        caption="Two identical stock workers against each other, and the worst readings of any "
        "round. An empty reading means that the host does not offer it.",
        columns=(
            "Group",
            "Control",
            "p-value",
            "Noisy rounds",
            "CPU pressure",
            "Steal",
            "Throttled",
            "Slowest probe",
        ),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6, 7),
    )


def _check(control: Comparison | None) -> Cell:
    """How often identical workers differ by as much, if the model is right."""
    p_value = control.ratio.p_value if control and control.ratio else None
    return number(NOTHING if p_value is None else f"{p_value:.2g}", p_value)


def _worst(values: Sequence[float], words: object) -> Cell:
    if not values or not callable(words):
        return Cell(text=NOTHING, is_number=True)
    return number(str(words(max(values))), max(values))
