"""Make the table of speedups, and tables of pairs of scenarios. Pure.

`anchors` maps scenario ids to the elements of the page that hold their details.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.run_facts import Facts, Group, comparison_of, is_stock_default
from bench.plan.scenario import MEASURED, BaselineKind, Verdict
from bench.report.table import (
    Cell,
    Row,
    Table,
    quantity,
    ratio_cell,
    scenario_cell,
    tags,
    verdict_cell,
)
from bench.text import wording
from bench.text.numbers import spell_seconds
from bench.text.wording import NOTHING, TIMES, milliseconds, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.records import ScenarioRow, SpeedupRow

    Anchors = dict[str, str]


def speedups(facts: Facts, anchors: Anchors) -> Table:
    """Return every scenario against both baselines, group by group, the fastest first."""
    rows = []
    for group, members in facts.groups.items():
        if facts.control_of(group):
            rows.append(_control_row(facts, group))
        ordered = sorted(members, key=lambda row: _rank(facts, row))
        rows += [_speedup_row(facts, row, anchors) for row in ordered]
    return Table(
        name="speedups",
        caption=f"Every scenario against both baselines. Above 1{TIMES} is faster; brackets hold "
        f"the {percent(facts.policy.verdict.confidence)} interval.",
        columns=("Scenario", "Over stock default", "Verdict", "Over stock tuned", "Verdict",
                 "Median", "Remark"),
        rows=tuple(rows),
        numeric=(1, 3, 5),
        can_filter=True,
    )  # fmt: skip


def _rank(facts: Facts, row: ScenarioRow) -> tuple[bool, bool, float]:
    """Order stock default first and scenarios without a ratio last."""
    comparison = facts.against_default(row.scenario)
    speedup = comparison.estimate if comparison else 0.0
    return (not is_stock_default(row), comparison is None, -speedup)


def _speedup_row(facts: Facts, row: ScenarioRow, anchors: Anchors) -> Row:
    first = facts.speedup(row.scenario, BaselineKind.STOCK_DEFAULT)
    tuned = facts.speedup(row.scenario, BaselineKind.STOCK_TUNED)
    if is_stock_default(row):
        default_cell, absent = Cell(text="baseline", sort=1.0, is_number=True), NOTHING
    else:
        default_cell = ratio_cell(comparison_of(first))
        is_tuned = first is not None and first.speedup is not None and tuned is None
        absent = "is stock tuned" if is_tuned else NOTHING
    word = "baseline" if is_stock_default(row) else "invalid"
    return Row(
        cells=(
            scenario_cell(row, anchors, facts.mark(row)),
            default_cell,
            _judged(first),
            ratio_cell(comparison_of(tuned), absent),
            _judged(tuned),
            quantity(row.median_ms, milliseconds),
            _remark(facts, row, [one for one in (first, tuned) if one is not None]),
        ),
        **tags(row),
        verdict=first.verdict if first else word,
        is_muted=row.status not in MEASURED,
    )


def _judged(row: SpeedupRow | None) -> Cell:
    """Return the row's verdict, and by how much at least where a difference was shown."""
    comparison = comparison_of(row)
    note = wording.at_least(comparison) if comparison else ""
    return verdict_cell(row.verdict if row else None, note)


def _remark(facts: Facts, row: ScenarioRow, judged: Sequence[SpeedupRow]) -> Cell:
    """Return a short phrase that folds what the verdicts rest on and every reason."""
    own = row.reason or ""
    # a comparison that failed for the scenario's own reason repeats it
    reasons = [one.reason for one in judged if one.reason and not (own and own in one.reason)]
    parts = [own, *dict.fromkeys(reasons)]
    if row.rounds:
        parts.insert(0, wording.rounds_in_launches(row.rounds, row.launches))
    if any(one.borrowed for one in judged):
        source = "assumed" if facts.assumes_processes else "taken from other scenarios"
        parts.append(f"one process: how processes differ is {source}")
    parts += [
        _tuned(facts.scenarios[one.baseline], row)
        for one in judged
        if one.baseline_kind == BaselineKind.STOCK_TUNED and one.baseline in facts.scenarios
    ]
    known = [part.rstrip(".") for part in parts if part]
    return Cell(
        text=_phrase(row, judged),
        sort=row.status,
        fold=f"{'; '.join(known)}." if known else "",
    )


def _tuned(baseline: ScenarioRow, row: ScenarioRow) -> str:
    dtype = "" if baseline.dtype == row.dtype else f", in {baseline.dtype}"
    return f"stock tuned is {wording.spoken(baseline)}{dtype}"


def _phrase(row: ScenarioRow, judged: Sequence[SpeedupRow]) -> str:
    """Return what a reader must know of the row at a glance."""
    if row.status not in MEASURED:
        return wording.status_words(row.status)
    if row.checked is False:
        return "not checked"
    if any(one.verdict == Verdict.INVALID for one in judged):
        return "refused"
    still_open = [one for one in judged if one.verdict == Verdict.INCONCLUSIVE]
    needed = max((one.seconds_to_decide or 0 for one in still_open), default=0)
    if needed:  # an estimate: whole minutes from two on
        rounded = needed if needed < 120 else 60 * round(needed / 60)
        return f"open: {spell_seconds(rounded)} more"
    if still_open:
        return "open"
    if any(one.borrowed for one in judged):
        return "one process"
    return wording.status_words(row.status)


def _control_row(facts: Facts, group: Group) -> Row:
    default = facts.default_of(group)
    row = facts.speedup(default.scenario, BaselineKind.CONTROL) if default else None
    reasons = []
    if row and row.p_value is not None:
        reasons.append(f"Identical workers differ as much with p = {row.p_value:.2g}.")
    if row and row.reason:
        reasons.append(row.reason)
    return Row(
        cells=(
            Cell(
                text="Control: stock default against itself",
                sort=f"{group.task}/{group.batch_size}",
                note=f"{group.label}; must come out as 1",
            ),
            ratio_cell(comparison_of(row)),
            _judged(row),
            Cell(text=NOTHING, is_number=True),
            Cell(text=NOTHING),
            Cell(text=NOTHING, is_number=True),
            Cell(text="checks the model", fold=" ".join(reasons)),
        ),
        task=group.task,
        backend="stock",
        dtype="fp32",
        batch=str(group.batch_size),
        verdict=row.verdict if row else "",
    )


def pairs_table(
    facts: Facts,
    name: str,
    caption: str,
    columns: tuple[str, str],
    pairs: Sequence[tuple[ScenarioRow, ScenarioRow]],
    anchors: Anchors,
) -> Table:
    """Return ratios between two scenarios of which neither is a baseline."""
    rows = []
    for row, other in pairs:
        found = facts.compare(row.scenario, other.scenario)
        reason = "no paired rounds with usable times" if found is None else found.reason or ""
        cells = (
            scenario_cell(row, anchors, facts.mark(row)),
            quantity(row.median_ms, milliseconds),
            quantity(other.median_ms, milliseconds),
            ratio_cell(found),
            verdict_cell(found.verdict if found else None),
            Cell(text=reason),
        )
        rows.append(Row(cells=cells, **tags(row), verdict=found.verdict if found else ""))
    return Table(
        name=name,
        caption=caption,
        columns=("Scenario", *columns, "Ratio", "Verdict", "Remark"),
        rows=tuple(rows),
        numeric=(1, 2, 3),
    )
