"""Turn facts into the values that `figures` draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.run_facts import Comparison, Facts, Group, is_stock_default, of_task
from bench.analysis.winners import best_ipex
from bench.plan.scenario import BaselineKind, Task
from bench.report import figures, tables
from bench.report.figures import Bar, Curve, Series, Span
from bench.report.layer_charts import name_of
from bench.text import wording
from bench.text.wording import TIMES, digits, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.report.drawing import Drawing
    from bench.store.records import ScenarioRow


def speedup_bars(facts: Facts) -> Drawing | None:
    """Draw stock tuned and IPEX over stock default for each batch size, the tutorial's figure 1."""
    groups = [
        group
        for group in of_task(facts.groups, Task.INFERENCE)
        if (default := facts.default_of(group)) and facts.is_measured(default)
    ]
    picks: tuple[tuple[str, str, Callable[[Facts, Group], ScenarioRow | None]], ...] = (
        ("Stock tuned", "stock", _tuned),
        ("IPEX, best", "ipex", best_ipex),
        ("IPEX, eager only", "ipex", _eager_ipex),
    )
    series = []
    for label, kind, pick in picks:
        spans = tuple(_bar_span(facts, pick(facts, group)) for group in groups)
        if any(span is not None for span in spans):
            series.append(Series(label=label, kind=kind, spans=spans))
    if not series:
        return None
    return figures.grouped_bars(
        "bars",
        [f"batch {group.batch_size}" for group in groups],
        series,
        title="Speedup over stock default by batch size",
        caption=f"Inference in fp32 over stock default (the line at 1{TIMES}). Stock tuned is the "
        "fastest stock scenario of the same batch size. Whiskers: the interval.",
    )


def _tuned(facts: Facts, group: Group) -> ScenarioRow | None:
    """Return the group's stock tuned in fp32, as its speedup rows name it."""
    for row in facts.groups[group]:
        found = facts.speedup(row.scenario, BaselineKind.STOCK_TUNED)
        if row.dtype == "fp32" and found is not None and found.baseline in facts.scenarios:
            return facts.scenarios[found.baseline]
    return None


def _eager_ipex(facts: Facts, group: Group) -> ScenarioRow | None:
    for row in facts.groups[group]:
        found = facts.against_default(row.scenario)
        kind = (row.backend, row.mode, row.dtype)
        if kind == ("ipex", "eager", "fp32") and found is not None and found.is_valid:
            return row
    return None


def _bar_span(facts: Facts, row: ScenarioRow | None) -> Span | None:
    if row is None:
        return None
    if is_stock_default(row):
        return Span(label="", kind="stock", estimate=1.0)
    comparison = facts.against_default(row.scenario)
    return None if comparison is None else _span("", row.backend, comparison)


def _span(label: str, kind: str, comparison: Comparison) -> Span:
    return Span(
        label=label,
        kind=kind,
        estimate=comparison.estimate,
        low=comparison.low,
        high=comparison.high,
        verdict=comparison.verdict,
    )


def forest(facts: Facts, group: Group, number: int) -> Drawing | None:
    """Draw every scenario of a group over stock default, the control on top, then the fastest."""
    compared, missing = [], []
    for row in facts.groups[group]:
        label, comparison = wording.chart_name(row), facts.against_default(row.scenario)
        if comparison is not None and not is_stock_default(row):
            compared.append(_span(label, row.backend, comparison))
        elif not is_stock_default(row):
            words = "not measured" if row.status == "ok" else wording.status_words(row.status)
            missing.append(Span(label=label, kind=row.backend, estimate=None, missing=words))
    compared.sort(key=lambda span: -(span.estimate or 0.0))
    if control := facts.control_of(group):
        compared.insert(0, _span("Control: stock default against itself", "control", control))
    if not compared:
        return None
    within = facts.policy.verdict.same_within
    return figures.intervals(
        f"forest{number}",
        [*compared, *missing],
        title=f"{group.label}: speedup over stock default",
        caption=f"{group.label}. Shaded: within {percent(within)}, which counts as the same. "
        "Hollow, dashed: invalid. An arrow at the edge: beyond this axis.",
        margin=within,
        axis="speedup over stock default (log scale)",
    )


def over_batch(facts: Facts) -> list[Drawing]:
    """Draw latency and throughput of the fp32 scenarios over batch size."""
    same: dict[str, list[ScenarioRow]] = {}
    for row in facts.scenarios.values():
        wanted = row.task == Task.INFERENCE and row.dtype == "fp32" and row.backend != "placebo"
        if wanted and facts.is_measured(row) and row.median_ms and row.images_per_s:
            same.setdefault(name_of(row).replace(" · fp32", ""), []).append(row)
    if len({row.batch_size for rows in same.values() for row in rows}) < 2:
        return []
    items = facts.nouns.items

    def curves(value: Callable[[ScenarioRow], float | None]) -> list[Curve]:
        return [
            Curve(
                label=name,
                kind=rows[0].backend,
                points=tuple(sorted((row.batch_size, value(row) or 0.0) for row in rows)),
            )
            for name, rows in same.items()
        ]

    return [
        figures.lines(
            "throughput",
            curves(lambda row: row.images_per_s),
            title="Throughput over batch size",
            caption=f"{items.capitalize()} per second over batch size, fp32.",
            unit=f"{items} per second",
            log=False,
        ),
        figures.lines(
            "latency",
            curves(lambda row: row.median_ms),
            title="Latency over batch size",
            caption="Median time of one call over batch size, fp32, both axes logarithmic.",
            unit="milliseconds a call",
            log=True,
        ),
    ]


def pair_chart(
    facts: Facts,
    name: str,
    pairs: Sequence[tuple[ScenarioRow, ScenarioRow]],
    *,
    title: str,
    caption: str,
) -> Drawing | None:
    """Draw the ratio of each pair of scenarios."""
    found = [
        (row, comparison)
        for row, other in pairs
        if (comparison := facts.compare(row.scenario, other.scenario)) is not None
    ]
    if not found:
        return None
    margins = [comparison.margin for _, comparison in found if comparison.margin is not None]
    return figures.intervals(
        name,
        [
            _span(f"{wording.chart_name(row)} · {_where(row)}", row.backend, comparison)
            for row, comparison in found
        ],
        title=title,
        caption=caption,
        margin=max(margins, default=None),
        axis="ratio of speeds (log scale)",
    )


def _where(row: ScenarioRow) -> str:
    words = {"frozen": "frozen blocks", "full": "everything trained"}
    trained = next((words[tag] for tag in wording.option_tags(row) if tag in words), "")
    return trained or f"batch {row.batch_size}"


_AHEAD = " AOTInductor's file was built before: the table has what that took, once."


def start_up(facts: Facts) -> Drawing | None:
    """Draw import, preparation and first call together, at the smallest batch."""
    groups = of_task(facts.groups, Task.INFERENCE)
    totals = [(row, tables.start_up_ms(row)) for row in facts.groups[groups[0]]] if groups else []
    return _bars(
        "startup",
        ((row, total, seconds(total / 1000)) for row, total in totals if total),
        title="Time until the first answer",
        caption="Import, preparation and first call together, inference at the smallest batch, "
        f"logarithmic.{_AHEAD if any(row.load_ms is not None for row, _ in totals) else ''}",
        log=True,
    )


def memory(facts: Facts) -> Drawing | None:
    """Draw peak memory at the largest batch."""
    groups = of_task(facts.groups, Task.INFERENCE)
    largest = max((group.batch_size for group in groups), default=0)
    rows = (row for row in facts.scenarios.values() if row.task == Task.INFERENCE)
    peaks = ((row, row.peak_rss_mb) for row in rows if row.batch_size == largest)
    return _bars(
        "memory",
        ((row, peak, f"{digits(peak)} MB") for row, peak in peaks if peak),
        title="Peak memory",
        caption=f"Peak memory of the worker process, inference at batch {largest}.",
        log=False,
    )


def _bars(
    name: str,
    values: Iterable[tuple[ScenarioRow, float, str]],
    *,
    title: str,
    caption: str,
    log: bool,
) -> Drawing | None:
    bars = [
        Bar(label=name_of(row), kind=row.backend, value=value, text=text)
        for row, value, text in values
    ]
    if not bars:
        return None
    bars.sort(key=lambda bar: bar.value)
    return figures.bars(name, bars, title=title, caption=caption, log=log)
