"""Speedups as grouped bars in the manner of the tutorial, and plain quantities as bars."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter

from bench.report import svg
from bench.report.figures.drawing import FILLS, Drawing, Text, in_two_widths, said
from bench.text.wording import times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.report.figures.drawing import Span


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One quantity."""

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


def grouped_bars(
    name: str, clusters: Sequence[str], series: Sequence[Series], *, title: str, caption: str
) -> Drawing:
    """Speedup bars per batch size in the manner of the tutorial's figure 1, with intervals."""
    description = "; ".join(
        f"{cluster}: "
        + ", ".join(said(replace(s, label=one.label)) for one in series if (s := one.spans[at]))
        for at, cluster in enumerate(clusters)
    )

    return in_two_widths(
        name,
        Text(title=title, description=description, caption=caption),
        heights=(360, 400),
        paint=lambda figure, narrow: _paint_groups(figure, clusters, series, narrow=narrow),
    )


def _paint_groups(
    figure: Figure, clusters: Sequence[str], series: Sequence[Series], *, narrow: bool
) -> None:
    width, height = figure.get_size_inches() * 72
    top = 26 * len(series) + 14 if narrow else 46
    axes = figure.add_axes(
        (34 / width, 30 / height, (width - 40) / width, (height - 34 - top) / height)
    )
    bar = 0.8 / max(len(series), 1)
    for number, one in enumerate(series):
        # The second bar of a backend is lighter and hatched: told apart without colour.
        second = any(other.kind == one.kind for other in series[:number])
        for cluster, span in enumerate(one.spans):
            if span is None or span.estimate is None:
                continue
            place = cluster - 0.4 + bar * (number + 0.5)
            _paint_bar(axes, place, bar * 0.9, span, second=second)
            size = 9 if narrow else 12
            axes.annotate(
                f"{span.estimate:.2f}" if narrow else times(span.estimate),
                (place, span.high or span.estimate),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                size=size,
            )
    axes.axhline(1, color=svg.MUTED, linewidth=1)
    axes.set_xticks(range(len(clusters)), clusters)
    axes.set_xlim(-0.5, len(clusters) - 0.5)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}\N{MULTIPLICATION SIGN}")
    )
    axes.grid(visible=True, axis="y", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    _bar_legend(figure, series, narrow=narrow)


def _paint_bar(axes: Axes, place: float, width: float, span: Span, *, second: bool) -> None:
    if span.estimate is None:
        return
    colour = FILLS.get(span.kind, svg.MUTED)
    axes.bar(
        [place], [span.estimate], width,
        color=svg.PAPER if second else colour,
        edgecolor=colour,
        hatch="///" if second else "",
        linewidth=1.5,
    )  # fmt: skip
    if span.low is not None and span.high is not None and math.isfinite(span.high):
        axes.plot([place, place], [span.low, span.high], color=svg.INK, linewidth=1.5)


def _bar_legend(figure: Figure, series: Sequence[Series], *, narrow: bool) -> None:
    from matplotlib.patches import Patch

    handles = []
    for number, one in enumerate(series):
        second = any(other.kind == one.kind for other in series[:number])
        colour = FILLS.get(one.kind, svg.MUTED)
        handles.append(
            Patch(
                facecolor=svg.PAPER if second else colour,
                edgecolor=colour,
                hatch="///" if second else "",
                label=one.label,
            )
        )
    figure.legend(
        handles=handles,
        loc="upper left",
        ncols=1 if narrow else len(series),
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=2.2,
    )


def bars(name: str, values: Sequence[Bar], *, title: str, caption: str, log: bool) -> Drawing:
    """One horizontal bar a scenario, its value beside it."""
    description = "; ".join(f"{bar.label}: {bar.text}" for bar in values)

    return in_two_widths(
        name,
        Text(title=title, description=description, caption=caption),
        heights=(26 * len(values) + 20, 42 * len(values) + 20),
        paint=lambda figure, narrow: _paint_bars(figure, values, log=log, narrow=narrow),
    )


def _paint_bars(figure: Figure, values: Sequence[Bar], *, log: bool, narrow: bool) -> None:
    width = figure.get_size_inches()[0] * 72
    left, right = (6, 80) if narrow else (370, 110)
    axes = figure.add_axes((left / width, 0.02, (width - left - right) / width, 0.96))
    axes.set_ylim(len(values) - 0.5, -0.5)
    smallest = min((bar.value for bar in values if bar.value > 0), default=1.0)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(smallest / 3, max(bar.value for bar in values) * 1.02)
    place = axes.get_yaxis_transform()
    for row, bar in enumerate(values):
        colour = FILLS.get(bar.kind, svg.PLACEBO)
        centre = row + (0.2 if narrow else 0)
        axes.barh([centre], [max(bar.value, smallest / 3)], 0.42 if narrow else 0.56, color=colour)
        axes.annotate(
            bar.text, (max(bar.value, smallest / 3), centre), xytext=(6, 0),
            textcoords="offset points", va="center", color=svg.MUTED,
        )  # fmt: skip
        label = textwrap.shorten(bar.label, 44 if narrow else 60, placeholder="…")
        if narrow:
            axes.text(0, row - 0.25, label, transform=place, va="center", size=11)
        else:
            axes.text(-0.015, row, label, transform=place, ha="right", va="center")
    axes.axis("off")
