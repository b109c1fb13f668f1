"""Draw what explains a difference: bars for each part of a call, and the roofline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.drawing import (
    COLOURS,
    GRID,
    INK,
    MUTED,
    PAPER,
    Canvas,
    Drawing,
    Scale,
    in_two_widths,
    log_ticks,
    round_ticks,
    shorten,
)
from bench.text.wording import NOTHING, digits

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two scenarios: its name, and the backend that gives the colour."""

    label: str
    kind: str

    @property
    def colour(self) -> str:
        """The colour of its backend."""
        return COLOURS.get(self.kind, MUTED)


@dataclass(frozen=True, kw_only=True)
class Time:
    """The time of a part in one scenario: the median of the logged calls, and their range."""

    ms: float
    range_ms: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The time of one part in both scenarios; None where it was not logged."""

    label: str
    times: tuple[Time | None, Time | None]

    @property
    def words(self) -> str:
        """Both times: `16.3 / 15.9 ms`."""
        return f"{' / '.join(digits(one.ms) if one else NOTHING for one in self.times)} ms"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One layer of one scenario in the roofline."""

    label: str
    """Written beside it; empty for most, or they would cover each other."""
    name: str
    side: int
    """0 for the first scenario, 1 for the second."""
    flop_per_byte: float
    gflop_per_s: float


@dataclass(frozen=True, kw_only=True)
class Roof:
    """The measured peak of one dtype."""

    label: str
    gflop_per_s: float

    @property
    def words(self) -> str:
        """Its label with its rate."""
        return f"{self.label}: {digits(self.gflop_per_s)}"


def paired_bars(
    name: str, sides: Sequence[Side], pairs: Sequence[Pair], *, title: str, caption: str
) -> Drawing:
    """Draw two bars a part: the first scenario's is hollow, the second's is filled."""

    def paint(canvas: Canvas) -> None:
        left, right = (6, 12) if canvas.is_narrow else (270, 130)
        top = _paint_key(canvas, sides)
        times = [one for pair in pairs for one in pair.times if one]
        highest = max(ms for one in times for ms in (one.ms, *(one.range_ms or ())))
        x = Scale(0, highest or 1.0, left, canvas.width - right)
        bottom = canvas.height - 24
        for tick in round_ticks(x.high, 4 if canvas.is_narrow else 8):
            canvas.line(x(tick), top, x(tick), bottom, stroke=GRID)
            canvas.text(x(tick), bottom + 12, digits(tick), text_anchor="middle", fill=MUTED)
        height = (bottom - top) / len(pairs)
        for row, pair in enumerate(pairs):
            middle = top + (row + 0.5) * height
            if canvas.is_narrow:
                canvas.text(left, middle - 15, shorten(pair.label, 34), font_size=11)
                canvas.text(x.end, middle - 15, pair.words, text_anchor="end", fill=MUTED)
                middle += 5
            else:
                canvas.text(left - 8, middle, shorten(pair.label, 44), text_anchor="end")
                canvas.text(x.end + 8, middle, pair.words, fill=MUTED)
            for side, time in enumerate(pair.times):
                if time is not None:
                    _paint_time(canvas, x, middle + (1 if side else -10), time, sides[side], side)

    description = "; ".join(f"{pair.label}: {pair.words}" for pair in pairs)
    heights = (30 * len(pairs) + 62, 48 * len(pairs) + 88)
    return in_two_widths(name, (title, description, caption), heights, paint)


def _paint_time(canvas: Canvas, x: Scale, y: float, time: Time, side: Side, number: int) -> None:
    """Paint one bar of nine pixels, with a whisker over the range of the logged calls."""
    fill = side.colour if number else PAPER
    canvas.rectangle(x(0), y, x(time.ms), y + 9, fill=fill, stroke=side.colour)
    if time.range_ms:
        low, high = time.range_ms
        canvas.line(x(low), y + 4.5, x(high), y + 4.5, stroke=INK, stroke_width=1.5)


def _paint_key(canvas: Canvas, sides: Sequence[Side]) -> float:
    """Paint the legend, an entry a line on a phone; return where the drawing begins."""
    x, y = 2.0, 12.0
    for number, side in enumerate(sides):
        fill = side.colour if number else PAPER
        canvas.rectangle(x, y - 5, x + 17, y + 5, fill=fill, stroke=side.colour)
        canvas.text(x + 25, y, shorten(side.label, 46 if canvas.is_narrow else 70), font_size=11)
        if canvas.is_narrow:
            y += 20
        else:
            x += 60 + 6.5 * min(len(side.label), 70)
    return 52.0 if canvas.is_narrow else 32.0


def roofline(
    name: str,
    sides: Sequence[Side],
    points: Sequence[Point],
    roofs: Sequence[Roof],
    *,
    gb_per_s: float | None,
    title: str,
    caption: str,
) -> Drawing:
    """Draw each layer's rate over its operations a byte, below the measured peaks.

    Without the memory's rate `gb_per_s` the roofs are flat.
    """

    def paint(canvas: Canvas) -> None:
        top, bottom = _paint_key(canvas, sides) + 18, canvas.height - 44.0
        left, right = 46.0, canvas.width - (22.0 if canvas.is_narrow else 150.0)
        across = [point.flop_per_byte for point in points]
        up = [*(point.gflop_per_s for point in points), *(roof.gflop_per_s for roof in roofs)]
        ridges = [roof.gflop_per_s / gb_per_s for roof in roofs] if gb_per_s else []
        ticks = log_ticks(min([*across, *ridges]) / 1.2, max(across) * 1.2)
        x = Scale(ticks[0], ticks[-1], left, right, is_log=True)
        rates = log_ticks(min(up) / 1.2, max(up) * 1.1)
        y = Scale(rates[0], rates[-1], bottom, top, is_log=True)
        canvas.text(left, bottom + 32, "operations a byte (log scale)", fill=MUTED)
        canvas.text(2, top - 16, "GFLOP/s", fill=MUTED)
        for tick in _thinned(ticks, 5 if canvas.is_narrow else 10):
            canvas.line(x(tick), top, x(tick), bottom, stroke=GRID)
            canvas.text(x(tick), bottom + 13, digits(tick, 1), text_anchor="middle", fill=MUTED)
        for tick in _thinned(rates, 8):
            canvas.line(left, y(tick), right, y(tick), stroke=GRID)
            canvas.text(left - 5, y(tick), digits(tick, 1), text_anchor="end", fill=MUTED)
        for roof in roofs:
            _paint_roof(canvas, x, y, roof, gb_per_s)
        if canvas.is_narrow:  # beside its line a label would lie below the marks
            words = ", ".join(roof.words for roof in roofs)
            canvas.text(right, top - 16, words, text_anchor="end", font_size=10.5, fill=MUTED)
        for point in points:
            _paint_point(canvas, x, y, point, sides[point.side])

    description = "; ".join(
        f"{point.name} ({sides[point.side].label}): {digits(point.gflop_per_s)} GFLOP/s at "
        f"{digits(point.flop_per_byte)} operations a byte"
        for point in points
    )
    return in_two_widths(name, (title, description, caption), (396, 416), paint)


def _thinned(ticks: Sequence[float], most: int) -> Sequence[float]:
    return ticks[:: -(-len(ticks) // most)]


def _paint_roof(canvas: Canvas, x: Scale, y: Scale, roof: Roof, gb_per_s: float | None) -> None:
    peak = roof.gflop_per_s
    ridge = min(max(peak / gb_per_s, x.low), x.high) if gb_per_s else x.low
    if gb_per_s:
        start = min(max(y.low / gb_per_s, x.low), ridge)
        ends = (min(gb_per_s * start, peak), min(gb_per_s * ridge, peak))
        if start < ridge:
            canvas.line(x(start), y(ends[0]), x(ridge), y(ends[1]), stroke=MUTED, stroke_width=1.5)
    if not gb_per_s or gb_per_s * ridge >= peak * 0.999:
        canvas.line(x(ridge), y(peak), x.end, y(peak), stroke=MUTED, stroke_width=1.5)
    if not canvas.is_narrow:
        canvas.text(x.end + 8, y(peak), roof.words, fill=MUTED)


def _paint_point(canvas: Canvas, x: Scale, y: Scale, point: Point, side: Side) -> None:
    across, up = x(point.flop_per_byte), y(point.gflop_per_s)
    shape = "diamond" if point.side else "circle"
    canvas.marker(across, up, shape, side.colour, hollow=not point.side)
    if point.label and not canvas.is_narrow:
        canvas.text(across + 8, up + 10, point.label, class_="halo", font_size=10.5)
