"""Ratios around 1 with their intervals, one row each."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from bench.report import svg
from bench.report.figures.drawing import COLOURS, Drawing, Text, in_two_widths, said
from bench.text.wording import bounds, times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.report.figures.drawing import Span

_ROW = 30
_NARROW_ROW = 46
_MARKERS = {"stock": "o", "ipex": "D", "placebo": "^", "control": "s"}


def intervals(
    name: str, spans: Sequence[Span], *, title: str, caption: str, margin: float | None, axis: str
) -> Drawing:
    """Ratios around 1 on a log axis, one row each; the margin is the shaded band."""
    description = "; ".join(said(span) for span in spans)

    return in_two_widths(
        name,
        Text(title=title, description=description, caption=caption),
        heights=(_ROW * len(spans) + 58, _NARROW_ROW * len(spans) + 58),
        paint=lambda figure, narrow: _paint_intervals(figure, spans, margin, axis, narrow=narrow),
    )


def _paint_intervals(
    figure: Figure, spans: Sequence[Span], margin: float | None, axis: str, *, narrow: bool
) -> None:
    width, height = figure.get_size_inches() * 72
    left, right = (12, 12) if narrow else (370, 150)
    axes = figure.add_axes(
        (left / width, 44 / height, (width - left - right) / width, (height - 58) / height)
    )
    low, high = _limits(spans)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(len(spans) - 0.5, -0.5)
    if margin is not None:
        axes.axvspan(1 / (1 + margin), 1 + margin, color=svg.BAND, linewidth=0)
    _ratio_ticks(axes, low, high, 4 if narrow else 9)
    axes.axvline(1, color=svg.MUTED, linewidth=1)
    for row, span in enumerate(spans):
        centre = row + (0.2 if narrow else 0)
        _paint_span(axes, span, centre)
        _label_span(axes, span, row, narrow=narrow)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis)


_NEAR = (0.5, 4.0)
"""Ratios beyond are arrows at the edge: what is several times slower is no choice, and int8 or an
outlier must not squeeze the others. Native bf16, some 2.5 times as fast, is within."""


def _limits(spans: Sequence[Span]) -> tuple[float, float]:
    """The axis: wide enough for most, so that an outlier does not squeeze what matters."""
    estimates = sorted(span.estimate for span in spans if span.estimate)
    least, most = _NEAR
    near = [value for value in estimates if least <= value <= most]
    shown = [
        value
        for span in spans
        for value in (span.low, span.estimate, span.high)
        if value is not None and math.isfinite(value) and value > 0
        if len(near) < 2 or (span.estimate in near and least <= value <= most)
    ]
    low, high = min([*shown, 0.95]), max([*shown, 1.05])
    return max(low / 1.05, 0.02), min(high * 1.05, 50)


_NICE = (
    *(0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5),
    *(1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0),
)
_SPARSE = (0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)


def _ratio_ticks(axes: Axes, low: float, high: float, most: int) -> None:
    """Round ratios as ticks, 1 always among them, none nearer to another than a label is wide."""
    gap = math.log(high / low) / most
    ticks = [1.0]
    for value in sorted((*_NICE, *_SPARSE), key=lambda item: (item not in _SPARSE, item)):
        far = all(abs(math.log(value / tick)) >= gap for tick in ticks)
        if low <= value <= high and far:
            ticks.append(value)
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}\N{MULTIPLICATION SIGN}")
    )
    axes.grid(visible=True, axis="x", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _paint_span(axes: Axes, span: Span, row: float) -> None:
    if span.estimate is None:
        return
    low, high = axes.get_xlim()
    colour = COLOURS.get(span.kind, svg.MUTED)
    marker = _MARKERS.get(span.kind, "o")
    place = min(max(span.estimate, low), high)
    if place == span.estimate:
        left, right = max(span.low or low, low), min(span.high or high, high)
        style = "-" if span.is_valid else (0, (2, 2))
        axes.plot([left, right], [row, row], color=colour, linewidth=3, linestyle=style)
    else:
        marker = "<" if place == low else ">"
    axes.plot(
        [place],
        [row],
        marker=marker,
        markersize=8,
        color=colour,
        markerfacecolor=colour if span.is_valid else svg.PAPER,
        markeredgewidth=1.5,
        linestyle="none",
        clip_on=False,
    )


def _label_span(axes: Axes, span: Span, row: int, *, narrow: bool) -> None:
    value = f"{times(span.estimate)} {bounds(span.low, span.high)}"
    if span.estimate is None:
        value = span.missing
    if narrow:
        label = textwrap.shorten(span.label, 44, placeholder="…")
        behind = {"facecolor": svg.PAPER, "edgecolor": "none", "pad": 1}
        place = axes.get_yaxis_transform()
        axes.text(0, row - 0.22, label, transform=place, va="center", size=10.5, bbox=behind)
        short = times(span.estimate) if span.estimate is not None else span.missing
        axes.text(
            1, row - 0.22, short, transform=axes.get_yaxis_transform(), ha="right", va="center",
            size=11, color=svg.MUTED,
        )  # fmt: skip
        return
    label = textwrap.shorten(span.label, 60, placeholder="…")
    place = axes.get_yaxis_transform()
    axes.text(-0.015, row, label, transform=place, ha="right", va="center")
    axes.text(1.015, row, value, transform=place, va="center", color=svg.MUTED)
