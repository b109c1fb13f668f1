"""The page's tables as plain data: the template only lays them out. Pure.

A cell carries what is shown, what it sorts by, and a note below it. No scenario is ever dropped:
one that could not run keeps its row with its status and its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report import wording
from bench.report.facts import Facts, Group, comparison_of, is_stock_default
from bench.report.wording import NOTHING, TIMES, digits, milliseconds, percent, seconds
from bench.scenarios import BaselineKind, Status, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.records import ScenarioRow, SpeedupRow


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell. `sort` is what the column sorts by; empty cells sort last."""

    text: str
    sort: float | str | None = None
    note: str = ""
    verdict: str = ""
    """Shown as a badge with its glyph in place of plain text."""
    is_number: bool = False
    link: str = ""
    """Id of the element on this page that the cell leads to."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row; `tags` are what the filter looks at beside the text."""

    cells: tuple[Cell, ...]
    task: str = ""
    verdict: str = ""
    is_muted: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its caption; the first cell of each row is its header."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: tuple[int, ...] = ()
    can_filter: bool = False
    empty: str = "Nothing was recorded for this table."
    """What stands in its place without rows."""


def number(text: str, value: float | None, note: str = "") -> Cell:
    """A right-aligned cell that sorts by its value."""
    return Cell(text=text, sort=wording.finite(value), note=note, is_number=True)


def scenario_cell(row: ScenarioRow, anchors: dict[str, str]) -> Cell:
    """The scenario's name, its particulars below, leading to its details."""
    name = "Stock default" if is_stock_default(row) else wording.way_name(row)
    return Cell(
        text=name,
        sort=row.scenario,
        note=wording.detail_name(row),
        link=anchors.get(row.scenario, ""),
    )


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
            "Margin",
            "Median",
            "Status and reason",
        ),
        rows=tuple(rows),
        numeric=(1, 3, 5, 6),
        can_filter=True,
    )


def _rank(facts: Facts, row: ScenarioRow) -> tuple[bool, float]:
    comparison = facts.against_default(row.scenario)
    if is_stock_default(row):
        return (False, -1e9)
    return (comparison is None, -(comparison.estimate if comparison else 0.0))


def ratio_cell(row: SpeedupRow | None, absent: str = NOTHING) -> Cell:
    """`1.32x` with its interval below."""
    comparison = comparison_of(row)
    if comparison is None:
        return Cell(text=absent, is_number=True)
    return Cell(
        text=wording.times(comparison.estimate),
        sort=comparison.estimate,
        note=wording.bounds(comparison.low, comparison.high),
        is_number=True,
    )


def _verdict_cell(row: SpeedupRow | None) -> Cell:
    if row is None:
        return Cell(text=NOTHING)
    return Cell(text=wording.verdict_words(row.verdict), sort=row.verdict, verdict=row.verdict)


def _speedup_row(facts: Facts, row: ScenarioRow, anchors: dict[str, str]) -> Row:
    first = facts.speedup(row.scenario, BaselineKind.STOCK_DEFAULT)
    tuned = facts.speedup(row.scenario, BaselineKind.STOCK_TUNED)
    default = is_stock_default(row)
    reasons = [row.reason, *(item.reason for item in (first, tuned) if item is not None)]
    opponent = facts.scenarios.get(tuned.baseline) if tuned else None
    is_tuned = not default and first is not None and first.speedup is not None and tuned is None
    tuned_cell = ratio_cell(tuned, "is stock tuned" if is_tuned else NOTHING)
    rounds = first or tuned
    return Row(
        cells=(
            scenario_cell(row, anchors),
            Cell(text="baseline", sort=1.0, is_number=True) if default else ratio_cell(first),
            _verdict_cell(first),
            tuned_cell,
            _verdict_cell(tuned),
            _margin_cell(rounds, row.launches, row.rounds),
            number(milliseconds(row.median_ms), row.median_ms),
            Cell(
                text=wording.status_words(row.status),
                sort=row.status,
                note="; ".join(
                    [*dict.fromkeys(reason for reason in reasons if reason)]
                    + ([f"stock tuned is {wording.spoken(opponent)}"] if opponent else [])
                ),
            ),
        ),
        task=row.task,
        verdict=_filter_word(first, row),
        is_muted=row.status not in (Status.OK, Status.NO_STEADY_STATE),
    )


def _margin_cell(row: SpeedupRow | None, launches: int, rounds: int) -> Cell:
    """The margin of the verdict, and what the verdict rests on."""
    margin = row.margin if row else None
    rests_on = f"{wording.count(rounds, 'round')}, {wording.count(launches, 'launch', 'launches')}"
    return number(percent(margin), margin, rests_on if rounds else "")


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
            _verdict_cell(row),
            Cell(text=NOTHING, is_number=True),
            Cell(text=NOTHING),
            _margin_cell(row, row.launches if row else 0, row.rounds if row else 0),
            Cell(text=NOTHING, is_number=True),
            Cell(text="control", note=(row.reason or "") if row else ""),
        ),
        task=group.task,
        verdict=row.verdict if row else "",
    )


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
            task=row.task,
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
                number(_plain(row.warmup_iterations), row.warmup_iterations),
                _break_even_cell(facts, row),
                number(_mb(row.peak_rss_mb), row.peak_rss_mb),
            ),
            task=row.task,
        )
        for row in facts.scenarios.values()
        if row.prepare_s is not None or row.first_call_ms is not None
    ]
    return Table(
        name="costs",
        caption="Start-up cost and peak memory of the worker process (the kernel's high-water "
        "mark). Break-even: calls after which the faster scenario has earned its longer start "
        "back.",
        columns=(
            "Scenario",
            "Import",
            "Prepare",
            "First call",
            "Warm-up calls",
            "Break-even",
            "Peak memory",
        ),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6),
        can_filter=True,
    )


def _plain(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _mb(value: float | None) -> str:
    return NOTHING if wording.finite(value) is None else f"{digits(value)} MB"


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
                    number(_plain(row.decisions_changed), row.decisions_changed),
                    number(f"{row.images:,}", row.images),
                    number(percent(row.accuracy, 3), row.accuracy),
                    number(percent(row.recall_bad, 3), row.recall_bad),
                    Cell(text="✓ agrees" if row.within_tolerance else "✕ WRONG OUTPUT"),
                ),
                task=scenario.task if scenario else "",
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
            task=row.task,
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
    rows = []
    for item in facts.environment.items("matrix", "excluded"):
        if isinstance(item, dict):
            what, reason = str(item.get("what", "")), str(item.get("reason", ""))
            rows.append(Row(cells=(Cell(text=what), Cell(text=reason))))
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
        probe = [row.probe_ratio for row in rounds if row.probe_ratio is not None]
        rows.append(
            Row(
                cells=(
                    Cell(text=group.label),
                    number(wording.times(control.estimate), control.estimate,
                           wording.bounds(control.low, control.high))
                    if control
                    else Cell(text=NOTHING, is_number=True),
                    number(percent(control.margin if control else None),
                           control.margin if control else None),
                    number(f"{sum(not row.quiet for row in rounds)} of {len(rounds)}", len(rounds)),
                    _worst(pressure, percent),
                    _worst(steal, percent),
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
            "Margin",
            "Noisy rounds",
            "CPU pressure",
            "Steal",
            "Slowest probe",
        ),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6),
    )


def _worst(values: Sequence[float], words: object) -> Cell:
    if not values or not callable(words):
        return Cell(text=NOTHING, is_number=True)
    return number(str(words(max(values))), max(values))


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
                    text=wording.verdict_words(found.verdict),
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
                task=row.task,
            )

    return Table(
        name=name,
        caption=caption,
        columns=("Scenario", *columns, "Ratio", "Verdict", "Remark"),
        rows=tuple(rows()),
        numeric=(1, 2, 3),
    )
