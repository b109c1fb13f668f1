"""Which figures a run gives: from facts to the values that `figures` draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.facts import Comparison, Facts, Group, is_stock_default, of_task
from bench.analysis.winners import best_ipex
from bench.plan.scenario import BaselineKind, Task
from bench.report import figures, tables
from bench.report.figures import Bar, Curve, Drawing, Series, Span
from bench.text import wording
from bench.text.numbers import percent
from bench.text.wording import TIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.store.records import ScenarioRow


def speedup_bars(facts: Facts) -> Drawing | None:
    """Stock tuned and IPEX over stock default, per batch size: the tutorial's figure 1."""
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
    """The fp32 baseline that the speedup rows of this group call stock tuned."""
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
    """Every scenario of a group over stock default, the control on top."""
    spans = []
    control = facts.control_of(group)
    if control is not None:
        spans.append(_span("Control: stock default against itself", "control", control))
    rows = [row for row in facts.groups[group] if not is_stock_default(row)]
    ranked = sorted(rows, key=lambda row: _rank(facts, row))
    for row in ranked:
        label = wording.chart_name(row)
        comparison = facts.against_default(row.scenario)
        if comparison is None:
            words = wording.status_words(row.status)
            missing = "not measured" if row.status == "ok" else words
            spans.append(Span(label=label, kind=row.backend, estimate=None, missing=missing))
        else:
            spans.append(_span(label, row.backend, comparison))
    if all(span.estimate is None for span in spans):
        return None
    return figures.intervals(
        f"forest{number}",
        spans,
        title=f"{group.label}: speedup over stock default",
        caption=f"{group.label}. Shaded: within {percent(facts.policy.verdict.same_within)}, which "
        "counts as the same. Hollow, dashed: invalid. An arrow at the edge: beyond this axis.",
        margin=facts.policy.verdict.same_within,
        axis="speedup over stock default (log scale)",
    )


def _rank(facts: Facts, row: ScenarioRow) -> tuple[bool, float]:
    comparison = facts.against_default(row.scenario)
    return (comparison is None, -(comparison.estimate if comparison else 0.0))


def over_batch(facts: Facts) -> list[Drawing]:
    """Latency and throughput of the fp32 scenarios over batch size."""
    latency, throughput = [], []
    ways: dict[str, list[ScenarioRow]] = {}
    for row in facts.scenarios.values():
        wanted = row.task == Task.INFERENCE and row.dtype == "fp32" and row.backend != "placebo"
        if wanted and facts.is_measured(row) and row.median_ms and row.images_per_s:
            name = "Stock default" if is_stock_default(row) else wording.chart_name(row)
            ways.setdefault(name, []).append(row)
    for name, rows in ways.items():
        ordered = sorted(rows, key=lambda row: row.batch_size)
        kind = rows[0].backend
        latency.append(
            Curve(
                label=name,
                kind=kind,
                points=tuple((row.batch_size, row.median_ms or 0.0) for row in ordered),
            )
        )
        throughput.append(
            Curve(
                label=name,
                kind=kind,
                points=tuple((row.batch_size, row.images_per_s or 0.0) for row in ordered),
            )
        )
    if not latency or len({batch for curve in latency for batch, _ in curve.points}) < 2:
        return []
    return [
        figures.lines(
            "throughput",
            throughput,
            title="Throughput over batch size",
            caption="Images per second over batch size, fp32.",
            unit="images per second",
            log=False,
        ),
        figures.lines(
            "latency",
            latency,
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
    """Ratios between two scenarios, one row a pair."""
    spans, margins = [], []
    for row, other in pairs:
        found = facts.compare(row.scenario, other.scenario)
        if found is None:
            continue
        label = f"{wording.chart_name(row)} · {_where(row)}"
        spans.append(_span(label, row.backend, found))
        if found.margin is not None:
            margins.append(found.margin)
    if not spans:
        return None
    return figures.intervals(
        name,
        spans,
        title=title,
        caption=caption,
        margin=max(margins) if margins else None,
        axis="ratio of speeds (log scale)",
    )


def _where(row: ScenarioRow) -> str:
    trained = next((tag for tag in wording.option_tags(row) if tag in ("frozen", "full")), "")
    words = {"frozen": "frozen blocks", "full": "everything trained"}
    return words.get(trained, f"batch {row.batch_size}")


def start_up(facts: Facts) -> Drawing | None:
    """Import, prepare and first call together, at the smallest batch."""
    values = []
    for row in _smallest(facts):
        total = tables.start_up_ms(row)
        if total:
            values.append(
                Bar(
                    label=_bar_label(row),
                    kind=row.backend,
                    value=total,
                    text=wording.seconds(total / 1000),
                )
            )
    if not values:
        return None
    return figures.bars(
        "startup",
        sorted(values, key=lambda bar: bar.value),
        title="Time until the first answer",
        caption="Import, preparation and first call together, inference at the smallest batch, "
        "logarithmic.",
        log=True,
    )


def memory(facts: Facts) -> Drawing | None:
    """Peak memory at the largest batch."""
    sizes = [group.batch_size for group in of_task(facts.groups, Task.INFERENCE)]
    rows = [
        row
        for row in facts.scenarios.values()
        if row.task == Task.INFERENCE and sizes and row.batch_size == max(sizes)
    ]
    values = [
        Bar(
            label=_bar_label(row),
            kind=row.backend,
            value=row.peak_rss_mb,
            text=f"{wording.digits(row.peak_rss_mb)} MB",
        )
        for row in rows
        if row.peak_rss_mb
    ]
    if not values:
        return None
    return figures.bars(
        "memory",
        sorted(values, key=lambda bar: bar.value),
        title="Peak memory",
        caption=f"Peak memory of the worker process, inference at batch {max(sizes)}.",
        log=False,
    )


def _smallest(facts: Facts) -> list[ScenarioRow]:
    groups = of_task(facts.groups, Task.INFERENCE)
    return facts.groups[groups[0]] if groups else []


def _bar_label(row: ScenarioRow) -> str:
    return "Stock default" if is_stock_default(row) else wording.chart_name(row)
