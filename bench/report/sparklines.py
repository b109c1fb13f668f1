"""Draw small charts for a scenario's details and for histories. A page may hold hundreds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.report.drawing import Canvas, Scale
from bench.text.wording import TIMES, digits, times, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from bench.text.wording import Interval

_WIDTH, _HEIGHT = 320, 96
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, 272.0, 8.0, 88.0
"""Where the data are drawn; the axis is labelled right of it."""
_MOST_POINTS = 80


def ratios(
    name: str,
    scenario: Sequence[tuple[int, int, float]],
    control: Sequence[tuple[int, int, float]],
    description: str,
) -> Markup:
    """Draw ratios to stock default in time order beside the control's; dashes divide launches.

    Each ratio is (launch, round, ratio).
    """
    keys = sorted({(launch, round_) for launch, round_, _ in (*scenario, *control)})
    places = {key: place for place, key in enumerate(keys)}
    x = _x_scale(len(keys))
    y = _ratio_scale([ratio for *_, ratio in (*scenario, *control)])
    canvas = _canvas(name, "Ratios in time order", description)
    for place, key in enumerate(keys):
        if place and key[0] != keys[place - 1][0]:
            canvas.line(x(place - 0.5), 2, x(place - 0.5), _HEIGHT - 2, class_="rule")
    _draw_one(canvas, y)
    for end in (y.low, y.high):
        if abs(y(end) - y(1)) >= 14:  # else it would run into the label of 1
            canvas.text(_WIDTH, y(end), times(end), text_anchor="end")
    for kind, rows in (("quiet", control), ("dot", scenario)):
        shown = rows[:: max(1, math.ceil(len(rows) / _MOST_POINTS))]
        points = [(x(places[launch, round_]), y(ratio)) for launch, round_, ratio in shown]
        _draw_dots(canvas, kind, points)
    return canvas.markup()


def warmup(name: str, calls_ms: Sequence[float], description: str) -> Markup:
    """Draw the first call and the warm-up calls in order, in ms on a logarithmic axis."""
    shown = [value for value in calls_ms[:_MOST_POINTS] if value > 0] or [1.0]
    spare = 1.05 if max(shown) < 1.1 * min(shown) else 1.0
    y = Scale(min(shown) / spare, max(shown) * spare, _BOTTOM, _TOP, is_log=True)
    x = _x_scale(len(shown))
    points = [(x(place), y(value)) for place, value in enumerate(shown)]
    canvas = _canvas(name, "Warm-up", description)
    canvas.add("polyline", points=" ".join(f"{left:.1f},{top:.1f}" for left, top in points))
    _draw_dots(canvas, "dot", points)
    for end in (y.low, y.high):
        words = f"{digits(end / 1000)} s" if end >= 1000 else f"{digits(end)} ms"
        canvas.text(_WIDTH, y(end), words, text_anchor="end")
    return canvas.markup()


def history(name: str, points: Sequence[Interval]) -> Markup:
    """Draw one ratio with its interval a run, oldest first, on a logarithmic axis."""
    ends = [
        (max(point.low, point.estimate / 4), min(point.high, point.estimate * 4))
        for point in points
    ]
    x = _x_scale(len(points))
    y = _ratio_scale([end for pair in ends for end in pair])
    spelled = ", ".join(with_interval(point) for point in points)
    canvas = _canvas(name, "Speedup in each run, oldest first", spelled)
    _draw_one(canvas, y)
    for place, (low, high) in enumerate(ends):
        canvas.line(x(place), y(low), x(place), y(high), class_="whisker")
    dots = [(x(place), y(point.estimate)) for place, point in enumerate(points)]
    _draw_dots(canvas, "dot", dots)
    return canvas.markup()


def _canvas(name: str, title: str, description: str) -> Canvas:
    return Canvas(name, (_WIDTH, _HEIGHT), title, description, "spark")


def _x_scale(places: int) -> Scale:
    return Scale(0, max(places - 1, 1), _LEFT, _RIGHT)


def _ratio_scale(ratios: Sequence[float]) -> Scale:
    """Return a logarithmic scale for ratios, always with room around 1."""
    known = [ratio for ratio in ratios if ratio > 0]
    low, high = min([*known, 0.95]), max([*known, 1.05])
    return Scale(low / 1.01, high * 1.01, _BOTTOM, _TOP, is_log=True)


def _draw_one(canvas: Canvas, y: Scale) -> None:
    canvas.line(0, y(1), _WIDTH - 34, y(1), class_="one")
    canvas.text(_WIDTH, y(1), f"1{TIMES}", text_anchor="end")


def _draw_dots(canvas: Canvas, kind: str, points: Sequence[tuple[float, float]]) -> None:
    """Draw all dots as one path of round caps: a tenth of the size of circles."""
    path = "".join(f"M{x:.1f} {y:.0f}h0" for x, y in points)
    canvas.add("path", class_=kind, d=path)
