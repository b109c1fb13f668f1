"""Every scenario against both baselines, and pairs of scenarios against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.facts import Facts, Group, is_stock_default
from bench.plan.scenario import MEASURED, BaselineKind, Status, Verdict
from bench.report.tables.table import (
    Cell,
    Row,
    Table,
    number,
    ratio_cell,
    scenario_cell,
    tags,
    verdict_cell,
)
from bench.text import wording
from bench.text.numbers import spell_seconds
from bench.text.wording import NOTHING, TIMES, milliseconds, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.store.records import ScenarioRow, SpeedupRow


def speedups(facts: Facts, anchors: dict[str, str]) -> Table:
    """Every scenario against both baselines, group by group."""
    rows = []
    for group, members in facts.groups.items():
        rows += [_control_row(facts, group)] if facts.control_of(group) else []
        ordered = sorted(members, key=lambda row: _rank(facts, row))
        rows += [_speedup_row(facts, row, anchors) for row in ordered]
    return Table(
        name="speedups",
        caption=f"Every scenario against both baselines. Above 1{TIMES} is faster; brackets hold "
        f"the {percent(facts.policy.verdict.confidence)} interval.",
        columns=(
            "Scenario",
            "Over stock default",
            "Verdict",
            "Over stock tuned",
            "Verdict",
            "Median",
            "Remark",
        ),
        rows=tuple(rows),
        numeric=(1, 3, 5),
        can_filter=True,
    )


def _rank(facts: Facts, row: ScenarioRow) -> tuple[bool, float]:
    comparison = facts.against_default(row.scenario)
    if is_stock_default(row):
        return (False, -1e9)
    return (comparison is None, -(comparison.estimate if comparison else 0.0))


def _speedup_row(facts: Facts, row: ScenarioRow, anchors: dict[str, str]) -> Row:
    first = facts.speedup(row.scenario, BaselineKind.STOCK_DEFAULT)
    tuned = facts.speedup(row.scenario, BaselineKind.STOCK_TUNED)
    default = is_stock_default(row)
    opponent = facts.scenarios.get(tuned.baseline) if tuned else None
    is_tuned = not default and first is not None and first.speedup is not None and tuned is None
    tuned_cell = ratio_cell(tuned, "is stock tuned" if is_tuned else NOTHING)
    return Row(
        cells=(
            scenario_cell(row, anchors),
            Cell(text="baseline", sort=1.0, is_number=True) if default else ratio_cell(first),
            verdict_cell(first),
            tuned_cell,
            verdict_cell(tuned),
            number(milliseconds(row.median_ms), row.median_ms),
            _remark(facts, row, [one for one in (first, tuned) if one is not None], opponent),
        ),
        **tags(row),
        verdict=_filter_word(first, row),
        is_muted=row.status not in (Status.OK, Status.NO_STEADY_STATE),
    )


def _remark(
    facts: Facts, row: ScenarioRow, judged: Sequence[SpeedupRow], opponent: ScenarioRow | None
) -> Cell:
    """A short phrase, and behind it what the verdicts rest on and every reason."""
    own = row.reason or ""
    # a comparison that failed for the scenario's own reason says it again
    against = [one.reason for one in judged if one.reason and not (own and own in one.reason)]
    rounds = wording.count(row.rounds, "round")
    rests_on = f"{rounds} in {wording.count(row.launches, 'launch', 'launches')}"
    parts = [rests_on if row.rounds else "", own, *dict.fromkeys(against)]
    if any(one.borrowed for one in judged):
        source = "assumed" if facts.assumes_processes else "taken from other scenarios"
        parts.append(f"one process: how processes differ is {source}")
    if opponent is not None:
        parts.append(f"stock tuned is {wording.spoken(opponent)}")
    told = [part.rstrip(".") for part in parts if part]
    return Cell(
        text=_phrase(row, judged),
        sort=row.status,
        fold=f"{'; '.join(told)}." if told else "",
    )


def _phrase(row: ScenarioRow, judged: Sequence[SpeedupRow]) -> str:
    """What a reader must know of the row at a glance."""
    if row.status not in MEASURED:
        return wording.status_words(row.status)
    if row.checked is False:
        return "not checked"
    if any(one.verdict == Verdict.INVALID for one in judged):
        return "refused"
    more = [one.seconds_to_decide for one in judged if one.verdict == Verdict.INCONCLUSIVE]
    if more:
        known = [seconds for seconds in more if seconds is not None]
        return f"open: {_about(max(known))} more" if known else "open"
    if any(one.borrowed for one in judged):
        return "one process"
    return wording.status_words(row.status)


def _about(seconds: float) -> str:
    """Whole minutes from two on: it is a guess."""
    return spell_seconds(seconds if seconds < 120 else 60 * round(seconds / 60))


def _filter_word(row: SpeedupRow | None, scenario: ScenarioRow) -> str:
    if row is None:
        return "baseline" if is_stock_default(scenario) else "invalid"
    return row.verdict


def _control_row(facts: Facts, group: Group) -> Row:
    default = facts.default_of(group)
    row = facts.speedup(default.scenario, BaselineKind.CONTROL) if default else None
    return Row(
        cells=(
            Cell(
                text="Control: stock default against itself",
                sort=f"{group.task}/{group.batch_size}",
                note=f"{group.label}; must come out as 1",
            ),
            ratio_cell(row),
            verdict_cell(row),
            Cell(text=NOTHING, is_number=True),
            Cell(text=NOTHING),
            Cell(text=NOTHING, is_number=True),
            Cell(text="checks the model", fold=_check_words(row)),
        ),
        task=group.task,
        backend="stock",
        dtype="fp32",
        batch=str(group.batch_size),
        verdict=row.verdict if row else "",
    )


def _check_words(row: SpeedupRow | None) -> str:
    if row is None:
        return ""
    p_value = (
        ""
        if row.p_value is None
        else f"Identical workers differ as much with p = {row.p_value:.2g}."
    )
    return " ".join(part for part in (p_value, row.reason or "") if part)


def pairs_table(
    facts: Facts,
    name: str,
    caption: str,
    columns: tuple[str, str],
    pairs: Sequence[tuple[ScenarioRow, ScenarioRow]],
    anchors: dict[str, str],
) -> Table:
    """Ratios between two scenarios that are both no baseline, paired within rounds."""

    def rows() -> Iterator[Row]:
        for row, other in pairs:
            found = facts.compare(row.scenario, other.scenario)
            ratio = Cell(text=NOTHING, is_number=True)
            verdict = Cell(text=NOTHING)
            reason = "no paired rounds with usable times"
            if found is not None:
                ratio = number(
                    wording.times(found.estimate),
                    found.estimate,
                    wording.bounds(found.low, found.high),
                )
                verdict = Cell(
                    text=str(found.verdict),
                    sort=found.verdict,
                    verdict=found.verdict,
                )
                reason = found.reason or ""
            yield Row(
                cells=(
                    scenario_cell(row, anchors),
                    number(milliseconds(row.median_ms), row.median_ms),
                    number(milliseconds(other.median_ms), other.median_ms),
                    ratio,
                    verdict,
                    Cell(text=reason),
                ),
                **tags(row),
                verdict=found.verdict if found else "",
            )

    return Table(
        name=name,
        caption=caption,
        columns=("Scenario", *columns, "Ratio", "Verdict", "Remark"),
        rows=tuple(rows()),
        numeric=(1, 2, 3),
    )
