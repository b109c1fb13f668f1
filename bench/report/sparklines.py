"""Small drawings for the details of a scenario, written directly: a page may hold hundreds.

matplotlib draws the figures; at ten kilobytes each it would make a page of 200 scenarios too large.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from markupsafe import Markup

from bench.text.wording import times, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.text.wording import Interval

_WIDTH, _HEIGHT, _PAD = 320, 96, 8
_MOST_POINTS = 80


def ratios(
    name: str,
    scenario: Sequence[tuple[int, int, float]],
    control: Sequence[tuple[int, int, float]],
    description: str,
) -> Markup:
    """Ratios against stock default in time order, the control's beside them; launches are ruled."""
    keys = sorted({(launch, round_) for launch, round_, _ in (*scenario, *control)})
    place = {key: number for number, key in enumerate(keys)}
    values = [ratio for *_, ratio in (*scenario, *control)]
    low, high = _log_limits(values)

    def dots(rows: Sequence[tuple[int, int, float]], kind: str) -> str:
        step = max(1, math.ceil(len(rows) / _MOST_POINTS))
        return _dots(
            kind,
            [
                (_x(place[launch, round_], len(keys)), _y(math.log(ratio), low, high))
                for launch, round_, ratio in rows[::step]
            ],
        )

    rules = "".join(
        f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{_HEIGHT - 2}"/>'
        for number, key in enumerate(keys)
        if number and key[0] != keys[number - 1][0]
        for x in [_x(number - 0.5, len(keys))]
    )
    one = _y(0.0, low, high)
    body = (
        f'{rules}<line class="one" x1="0" x2="{_WIDTH - 34}" y1="{one:.1f}" y2="{one:.1f}"/>'
        f'<text x="{_WIDTH}" y="{one + 4:.1f}" text-anchor="end">1\N{MULTIPLICATION SIGN}</text>'
        f"{_edge(math.exp(high), high, low, high, one)}{_edge(math.exp(low), low, low, high, one)}"
        f"{dots(control, 'quiet')}{dots(scenario, 'dot')}"
    )
    return _frame(name, "Ratios in time order", description, body)


def _dots(kind: str, points: Sequence[tuple[float, float]]) -> str:
    """All dots as one path of round caps, each from the one before: a tenth of circles' size."""
    whole = [(round(x * 10), round(y)) for x, y in points]
    before = [(0, 0), *whole]
    steps = "".join(
        f"m{(x - left) / 10:g} {y - above}h0"
        for (x, y), (left, above) in zip(whole, before, strict=False)
    )
    return f'<path class="{kind}" d="{steps}"/>'


def _edge(value: float, at: float, low: float, high: float, one: float) -> str:
    """The axis end's label, where it does not run into that of 1."""
    y = _y(at, low, high)
    if abs(y - one) < 14:
        return ""
    return f'<text x="{_WIDTH}" y="{y + 4:.1f}" text-anchor="end">{times(value)}</text>'


def warmup(name: str, calls_ms: Sequence[float], description: str) -> Markup:
    """The first call and the warm-up calls, in order, on a log axis."""
    shown = list(calls_ms[:_MOST_POINTS])
    logs = [math.log(value) for value in shown if value > 0]
    low, high = (min(logs), max(logs)) if logs else (0.0, 1.0)
    if high - low < 0.1:
        low, high = low - 0.05, high + 0.05
    points = [(_x(n, len(logs)), _y(value, low, high)) for n, value in enumerate(logs)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = _dots("dot", points)
    ends = "".join(
        f'<text x="{_WIDTH}" y="{_y(at, low, high) + 4:.1f}" text-anchor="end">'
        f"{_short(math.exp(at))}</text>"
        for at in (low, high)
    )
    return _frame(name, "Warm-up", description, f'<polyline points="{path}"/>{dots}{ends}')


def history(name: str, points: Sequence[Interval]) -> Markup:
    """One ratio a run with its interval, oldest first, on a log axis; 1 is ruled."""
    finite = [(max(p.low, p.estimate / 4), min(p.high, p.estimate * 4)) for p in points]
    low, high = _log_limits([value for pair in finite for value in pair])
    one = _y(0.0, low, high)
    body = f'<line class="one" x1="0" x2="{_WIDTH - 34}" y1="{one:.1f}" y2="{one:.1f}"/>'
    for at, (point, (lower, upper)) in enumerate(zip(points, finite, strict=True)):
        x = _x(at, len(points))
        bottom, top = (_y(math.log(value), low, high) for value in (lower, upper))
        body += f'<path class="whisker" d="M{x:.1f},{bottom:.1f}V{top:.1f}"/>'
        body += _dots("dot", [(x, _y(math.log(point.estimate), low, high))])
    body += (
        f'<text x="{_WIDTH}" y="{one + 4:.1f}" text-anchor="end">1\N{MULTIPLICATION SIGN}</text>'
    )
    said = ", ".join(with_interval(point) for point in points)
    return _frame(name, "Speedup in each run, oldest first", said, body)


def _log_limits(values: Sequence[float]) -> tuple[float, float]:
    logs = [math.log(value) for value in values if value > 0] or [0.0]
    low, high = min([*logs, -0.05]), max([*logs, 0.05])
    return low - 0.01, high + 0.01


def _x(number: float, total: int) -> float:
    return _PAD + number * (_WIDTH - 40 - 2 * _PAD) / max(total - 1, 1)


def _y(value: float, low: float, high: float) -> float:
    return _HEIGHT - _PAD - (value - low) * (_HEIGHT - 2 * _PAD) / ((high - low) or 1)


def _short(milliseconds: float) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def _frame(name: str, title: str, description: str, body: str) -> Markup:
    return Markup(  # noqa: S704 -- numbers, our own names, and one escaped description
        f'<svg class="spark" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{title}</title>'
        f'<desc id="{name}-d">{escape(description)}</desc>{body}</svg>'
    )
