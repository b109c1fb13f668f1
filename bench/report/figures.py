"""Draw the page's charts: ratios with intervals, grouped and plain bars, lines by batch size.

Each takes plain values and returns a `Drawing`. Backends differ by colour and by marker or
hatching, never by colour alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bench.report.drawing import (
    BAND,
    COLOURS,
    GRID,
    INK,
    MUTED,
    PAPER,
    Canvas,
    Drawing,
    Scale,
    add_element,
    in_two_widths,
    log_ticks,
    ratio_ticks,
    round_ticks,
    shorten,
    spell_ratio,
)
from bench.text.wording import bounds, digits, times

if TYPE_CHECKING:
    from collections.abc import Sequence


_TICKS: Final = 58
"""Where the bars of a grouped chart begin: left of it labels such as 12.5x have room."""
_EDGE: Final = 12
"""Right of the last bars: the label of a narrow cluster is wider than the cluster."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One ratio with its interval, or the reason why there is none."""

    label: str
    kind: str
    """The backend, or `control`."""
    estimate: float | None
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    missing: str = ""
    """Shown in place of the interval where there is none."""

    @property
    def is_valid(self) -> bool:
        """Whether a verdict may rest on it; an invalid one is drawn hollow."""
        return self.verdict != "invalid"

    def in_words(self) -> str:
        """Spell label, ratio, interval and verdict for the drawing's description."""
        if self.estimate is None:
            return f"{self.label}: {self.missing}"
        verdict = f", {self.verdict}" if self.verdict else ""
        return f"{self.label}: {times(self.estimate)} {bounds(self.low, self.high)}{verdict}"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One quantity of one scenario."""

    label: str
    kind: str
    value: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """One kind of bar across the clusters of a grouped bar chart."""

    label: str
    kind: str
    spans: tuple[Span | None, ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One way of running the model over batch sizes."""

    label: str
    kind: str
    points: tuple[tuple[int, float], ...]


# ---- ratios with intervals -----------------------------------------------------------------------

_MARKERS = {"stock": "circle", "ipex": "diamond", "placebo": "up", "control": "square"}
_NEAR = (0.5, 4.0)
"""Ratios beyond become arrows at the edge, so that int8 or an outlier does not squeeze the others.
Native bf16, some 2.5 times as fast, is within."""


def intervals(
    name: str, spans: Sequence[Span], *, title: str, caption: str, margin: float | None, axis: str
) -> Drawing:
    """Draw ratios around 1 on a logarithmic axis, one row each; the margin is a shaded band."""

    def paint(canvas: Canvas) -> None:
        left, right = (18, 18) if canvas.is_narrow else (370, 180)
        top, bottom = 14.0, canvas.height - 44.0
        low, high = _limits(spans)
        x = Scale(low, high, left, canvas.width - right, is_log=True)
        if margin is not None:
            canvas.rectangle(x(1 / (1 + margin)), top, x(1 + margin), bottom, fill=BAND)
        for tick in ratio_ticks(low, high, 4 if canvas.is_narrow else 9):
            canvas.line(x(tick), top, x(tick), bottom, stroke=MUTED if tick == 1 else GRID)
            canvas.text(x(tick), bottom + 13, spell_ratio(tick), text_anchor="middle", fill=MUTED)
        canvas.text((x.start + x.end) / 2, bottom + 32, axis, text_anchor="middle", fill=MUTED)
        row_height = (bottom - top) / len(spans)
        for row, span in enumerate(spans):
            middle = top + (row + 0.5) * row_height
            _paint_span(canvas, x, middle + (9 if canvas.is_narrow else 0), span)
            _label_span(canvas, x, middle, span)

    description = "; ".join(span.in_words() for span in spans)
    heights = (30 * len(spans) + 58, 46 * len(spans) + 58)
    return in_two_widths(name, (title, description, caption), heights, paint)


def _limits(spans: Sequence[Span]) -> tuple[float, float]:
    """Return the ends of an axis that is wide enough for most ratios."""
    least, most = _NEAR
    near = [span.estimate for span in spans if span.estimate and least <= span.estimate <= most]
    shown = [
        value
        for span in spans
        for value in (span.low, span.estimate, span.high)
        if value is not None and math.isfinite(value) and value > 0
        if len(near) < 2 or (span.estimate in near and least <= value <= most)
    ]
    return max(min([*shown, 0.95]) / 1.05, 0.02), min(max([*shown, 1.05]) * 1.05, 50)


def _paint_span(canvas: Canvas, x: Scale, y: float, span: Span) -> None:
    if span.estimate is None:
        return
    colour = COLOURS.get(span.kind, MUTED)
    shape = _MARKERS.get(span.kind, "circle")
    if x.has(span.estimate):
        ends = x(span.low or x.low), x(span.high or x.high)
        dashes = "" if span.is_valid else "6 6"
        canvas.line(ends[0], y, ends[1], y, stroke=colour, stroke_width=3, stroke_dasharray=dashes)
    else:
        shape = "left" if span.estimate < x.low else "right"
    canvas.marker(x(span.estimate), y, shape, colour, hollow=not span.is_valid)


def _label_span(canvas: Canvas, x: Scale, y: float, span: Span) -> None:
    if canvas.is_narrow:
        short = span.missing if span.estimate is None else times(span.estimate)
        canvas.text(x.start, y - 10, shorten(span.label, 44), class_="halo", font_size=10.5)
        canvas.text(x.end, y - 10, short, text_anchor="end", font_size=11, fill=MUTED)
        return
    value = f"{times(span.estimate)} {bounds(span.low, span.high)}"
    _label_row(canvas, x.start - 8, y, span.label)
    canvas.text(x.end + 8, y, span.missing if span.estimate is None else value, fill=MUTED)


def _label_row(canvas: Canvas, x: float, y: float, label: str) -> None:
    """Write a row's label left of its chart; a long one is set smaller."""
    size = 12 if len(label) <= 50 else 10
    canvas.text(x, y, shorten(label, 62), text_anchor="end", font_size=size)


# ---- bars ----------------------------------------------------------------------------------------


def grouped_bars(
    name: str, clusters: Sequence[str], series: Sequence[Series], *, title: str, caption: str
) -> Drawing:
    """Draw speedups with intervals as bars, a cluster a batch size: the tutorial's figure 1."""

    def paint(canvas: Canvas) -> None:
        top = 36 + (26 * len(series) if canvas.is_narrow else 26)
        spans = [span for one in series for span in one.spans if span and span.estimate]
        highest = 1.1 * max([1.0] + [_upper_end(span) for span in spans])
        y = Scale(0, highest, canvas.height - 30, top)
        for tick in round_ticks(highest):
            canvas.line(_TICKS, y(tick), canvas.width - _EDGE, y(tick), stroke=GRID)
            canvas.text(_TICKS - 4, y(tick), spell_ratio(tick), text_anchor="end", fill=MUTED)
        step = (canvas.width - _TICKS - _EDGE) / len(clusters)
        width = 0.8 * step / len(series)
        for number, one in enumerate(series):
            fill = _series_fill(canvas, series, number)
            _paint_key(canvas, series, number, fill)
            for cluster, span in enumerate(one.spans):
                if span is not None:
                    left = _TICKS + (cluster + 0.1) * step + number * width
                    _paint_bar(canvas, y, (left + 0.05 * width, 0.9 * width), span, fill)
        for cluster, label in enumerate(clusters):
            middle = _TICKS + (cluster + 0.5) * step
            place, size = (middle, canvas.height - 14), 9 if canvas.is_narrow else 12
            canvas.text(*place, label, text_anchor="middle", font_size=size, fill=MUTED)
        canvas.line(_TICKS, y(1), canvas.width - _EDGE, y(1), stroke=MUTED)

    description = "; ".join(
        f"{cluster}: "
        + ", ".join(
            replace(span, label=one.label).in_words() for one in series if (span := one.spans[at])
        )
        for at, cluster in enumerate(clusters)
    )
    return in_two_widths(name, (title, description, caption), (360, 400), paint)


def _upper_end(span: Span) -> float:
    has_end = span.high is not None and math.isfinite(span.high)
    return (span.high if has_end else span.estimate) or 0.0


def _series_fill(canvas: Canvas, series: Sequence[Series], number: int) -> str:
    """Return the fill of a series: hatched where an earlier one has the same colour."""
    kind = series[number].kind
    colour = COLOURS.get(kind, MUTED)
    if all(other.kind != kind for other in series[:number]):
        return colour
    pattern = canvas.add(
        "pattern",
        id=f"{canvas.name}-hatch{number}",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    add_element(pattern, "rect", width=6, height=6, fill=PAPER)
    add_element(pattern, "rect", width=1.5, height=6, fill=colour)
    return f"url(#{canvas.name}-hatch{number})"


def _paint_key(canvas: Canvas, series: Sequence[Series], number: int, fill: str) -> None:
    """Paint one entry of the legend: in a row, on a phone in a column."""
    x, y = 2.0, 12.0 + 26 * number
    if not canvas.is_narrow:
        x, y = x + sum(50 + 7 * len(one.label) for one in series[:number]), 12.0
    colour = COLOURS.get(series[number].kind, MUTED)
    canvas.rectangle(x, y - 5, x + 17, y + 5, fill=fill, stroke=colour)
    canvas.text(x + 25, y, series[number].label)


def _paint_bar(canvas: Canvas, y: Scale, place: tuple[float, float], span: Span, fill: str) -> None:
    if span.estimate is None:
        return
    left, width = place
    colour = COLOURS.get(span.kind, MUTED)
    middle = left + width / 2
    canvas.rectangle(left, y(span.estimate), left + width, y(0), fill=fill, stroke=colour)
    if span.low is not None and span.high is not None and math.isfinite(span.high):
        canvas.line(middle, y(span.low), middle, y(span.high), stroke=INK, stroke_width=1.5)
    canvas.text(
        middle,
        y(_upper_end(span)) - 9,
        f"{span.estimate:.2f}" if canvas.is_narrow else times(span.estimate),
        text_anchor="middle",
        font_size=9 if canvas.is_narrow else 12,
    )


def bars(name: str, values: Sequence[Bar], *, title: str, caption: str, log: bool) -> Drawing:
    """Draw one horizontal bar a scenario, its value beside it."""

    def paint(canvas: Canvas) -> None:
        left, right = (6, 80) if canvas.is_narrow else (370, 110)
        smallest = min((bar.value for bar in values if bar.value > 0), default=1.0)
        largest = max([bar.value for bar in values] + [smallest])
        x = Scale(smallest / 3 if log else 0, largest, left, canvas.width - right, is_log=log)
        row_height = (canvas.height - 20) / len(values)
        for row, bar in enumerate(values):
            middle = 10 + (row + 0.5) * row_height
            if canvas.is_narrow:
                canvas.text(left, middle - 10, shorten(bar.label, 44), font_size=11)
                middle += 8
            else:
                _label_row(canvas, left - 8, middle, bar.label)
            end = x(bar.value)
            colour = COLOURS.get(bar.kind, COLOURS["placebo"])
            canvas.rectangle(left, middle - 8, end, middle + 8, fill=colour)
            canvas.text(end + 6, middle, bar.text, fill=MUTED)

    description = "; ".join(f"{bar.label}: {bar.text}" for bar in values)
    heights = (26 * len(values) + 20, 42 * len(values) + 20)
    return in_two_widths(name, (title, description, caption), heights, paint)


# ---- lines over batch size -----------------------------------------------------------------------

_DASHES = ("", "7 3", "7 3 2 3", "2 3")
_STOCK_MARKERS = ("circle", "square", "up", "down")


def lines(
    name: str, curves: Sequence[Curve], *, title: str, caption: str, unit: str, log: bool
) -> Drawing:
    """Draw one line a way of running the model, over batch size."""

    def paint(canvas: Canvas) -> None:
        below = 20 * len(curves) + 12 if canvas.is_narrow else 0
        longest = max(len(curve.label) for curve in curves)
        right = canvas.width - (12 if canvas.is_narrow else 330 if longest <= 40 else 430)
        top, bottom = 28, canvas.height - below - 46
        sizes = sorted({batch for curve in curves for batch, _ in curve.points})
        x = Scale(sizes[0], sizes[-1], 70, right - 18, is_log=True)
        values = [value for curve in curves for _, value in curve.points]
        ticks = log_ticks(min(values), max(values)) if log else round_ticks(max(values))
        highest = max(ticks[-1], 0 if log else 1.04 * max(values))
        y = Scale(ticks[0], highest, bottom, top, is_log=log)
        canvas.text(52, 12, unit, fill=MUTED)
        for tick in ticks:
            canvas.line(52, y(tick), right, y(tick), stroke=GRID)
            canvas.text(47, y(tick), digits(tick, 1), text_anchor="end", fill=MUTED)
        for size in sizes:
            canvas.text(x(size), bottom + 13, str(size), text_anchor="middle", fill=MUTED)
        canvas.text((52 + right) / 2, bottom + 32, "batch size", text_anchor="middle", fill=MUTED)
        for number, curve in enumerate(curves):
            nth = sum(other.kind == curve.kind for other in curves[:number])
            points = [(x(batch), y(value)) for batch, value in curve.points]
            _paint_curve(canvas, points, curve.kind, nth)
            if canvas.is_narrow:
                place = (4.0, canvas.height - below + 10.0 + 20 * number)
            else:
                place = (right + 20.0, (top + bottom) / 2 + 20 * (number - len(curves) / 2))
            _paint_curve(canvas, [place, (place[0] + 36, place[1])], curve.kind, nth)
            size = 12 if len(curve.label) <= 40 else 10
            label = shorten(curve.label, 52 if canvas.is_narrow else 62)
            canvas.text(place[0] + 46, place[1], label, font_size=size)

    description = "; ".join(
        f"{curve.label}: "
        + ", ".join(f"{digits(value)} {unit} at batch {batch}" for batch, value in curve.points)
        for curve in curves
    )
    heights = (max(380, 20 * len(curves) + 60), 296 + 20 * len(curves))
    return in_two_widths(name, (title, description, caption), heights, paint)


def _paint_curve(
    canvas: Canvas, points: Sequence[tuple[float, float]], kind: str, nth: int
) -> None:
    """Paint the line and markers of the `nth` curve of a backend."""
    colour = COLOURS.get(kind, MUTED)
    shape = _STOCK_MARKERS[nth % len(_STOCK_MARKERS)] if kind == "stock" else "diamond"
    canvas.add(
        "polyline",
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        fill="none",
        stroke=colour,
        stroke_width=2,
        stroke_dasharray=_DASHES[nth % len(_DASHES)],
    )
    for x, y in points:
        canvas.marker(x, y, shape, colour, hollow=nth % 2 == 1)
