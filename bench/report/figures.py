"""The page's drawings by matplotlib. Each takes plain values and gives safe SVG markup.

Four forms serve everything: intervals around 1, grouped bars with intervals, plain bars and lines
over batch size. Backends differ by colour and by marker, never by colour alone.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.report import svg
from bench.report.wording import bounds, digits, times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROW = 330
WIDE = 980
_ROW = 30
_NARROW_ROW = 46

_COLOURS = {"stock": svg.STOCK, "ipex": svg.IPEX, "placebo": svg.PLACEBO}
_MARKERS = {"stock": "o", "ipex": "D", "placebo": "^", "control": "s"}
_HATCHES = ("", "", "//", "")


@dataclass(frozen=True, kw_only=True)
class Span:
    """One ratio with its interval, or the reason why there is none."""

    label: str
    kind: str
    """Backend, or `control`."""
    estimate: float | None
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    missing: str = ""
    """What stands in place of the interval where there is none."""

    @property
    def is_valid(self) -> bool:
        """Whether a verdict may rest on it; invalid ones are drawn hollow."""
        return self.verdict != "invalid"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One quantity."""

    label: str
    kind: str
    value: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One way of running the model over batch sizes."""

    label: str
    kind: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure in two widths: the page shows the one that fits."""

    name: str
    caption: str
    wide: Markup
    narrow: Markup


def intervals(
    name: str, spans: Sequence[Span], *, title: str, caption: str, margin: float | None, axis: str
) -> Drawing:
    """Ratios around 1 on a log axis, one row each; the margin is the shaded band."""
    description = "; ".join(_said(span) for span in spans)

    def at(width: int, row: int) -> Markup:
        narrow = width == NARROW
        return svg.draw(
            f"{name}-{'n' if narrow else 'w'}",
            width=width,
            height=row * len(spans) + 58,
            title=title,
            description=description,
            paint=lambda figure: _paint_intervals(figure, spans, margin, axis, narrow=narrow),
        )

    return Drawing(name=name, caption=caption, wide=at(WIDE, _ROW), narrow=at(NARROW, _NARROW_ROW))


def _said(span: Span) -> str:
    if span.estimate is None:
        return f"{span.label}: {span.missing}"
    verdict = f", {span.verdict}" if span.verdict else ""
    return f"{span.label}: {times(span.estimate)} {bounds(span.low, span.high)}{verdict}"


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


_FAR = 2.0
"""Ratios this many times from the middle of the others are drawn as arrows at the edge."""


def _limits(spans: Sequence[Span]) -> tuple[float, float]:
    """The axis: wide enough for most, so that an outlier does not squeeze what matters."""
    estimates = sorted(span.estimate for span in spans if span.estimate)
    near = [value for value in estimates if 1 / _FAR <= value <= _FAR]
    shown = [
        value
        for span in spans
        for value in (span.low, span.estimate, span.high)
        if value is not None and math.isfinite(value) and value > 0
        if len(near) < 2 or (span.estimate in near and 1 / _FAR <= value <= _FAR)
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
    colour = _COLOURS.get(span.kind, svg.MUTED)
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
        + ", ".join(_said(replace(s, label=one.label)) for one in series if (s := one.spans[at]))
        for at, cluster in enumerate(clusters)
    )

    def at(width: int, height: int) -> Markup:
        return svg.draw(
            f"{name}-{'n' if width == NARROW else 'w'}",
            width=width,
            height=height,
            title=title,
            description=description,
            paint=lambda figure: _paint_groups(figure, clusters, series, narrow=width == NARROW),
        )

    return Drawing(name=name, caption=caption, wide=at(WIDE, 360), narrow=at(NARROW, 400))


_FILLS = {"stock": svg.STOCK, "ipex": svg.IPEX}


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
    colour = _FILLS.get(span.kind, svg.MUTED)
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
        colour = _FILLS.get(one.kind, svg.MUTED)
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

    def at(width: int, row: int) -> Markup:
        return svg.draw(
            f"{name}-{'n' if width == NARROW else 'w'}",
            width=width,
            height=row * len(values) + 20,
            title=title,
            description=description,
            paint=lambda figure: _paint_bars(figure, values, log=log, narrow=width == NARROW),
        )

    return Drawing(name=name, caption=caption, wide=at(WIDE, 26), narrow=at(NARROW, 42))


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
        colour = _FILLS.get(bar.kind, svg.PLACEBO)
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


_LINES = ("-", "--", "-.", ":")


def lines(
    name: str, curves: Sequence[Curve], *, title: str, caption: str, unit: str, log: bool
) -> Drawing:
    """One line a way of running the model, over batch size."""
    description = "; ".join(
        f"{curve.label}: "
        + ", ".join(f"{digits(value)} {unit} at batch {batch}" for batch, value in curve.points)
        for curve in curves
    )

    def at(width: int, height: int) -> Markup:
        return svg.draw(
            f"{name}-{'n' if width == NARROW else 'w'}",
            width=width,
            height=height,
            title=title,
            description=description,
            paint=lambda figure: _paint_lines(
                figure, curves, unit, log=log, narrow=width == NARROW
            ),
        )

    legend = 20 * len(curves) + 16
    return Drawing(name=name, caption=caption, wide=at(WIDE, 380), narrow=at(NARROW, 280 + legend))


def _paint_lines(
    figure: Figure, curves: Sequence[Curve], unit: str, *, log: bool, narrow: bool
) -> None:
    width, height = figure.get_size_inches() * 72
    below = 20 * len(curves) + 12 if narrow else 0
    right = 12 if narrow else 330
    axes = figure.add_axes(
        (
            52 / width,
            (below + 46) / height,
            (width - 52 - right) / width,
            (height - below - 74) / height,
        )
    )
    seen: dict[str, int] = {}
    for curve in curves:
        nth = seen[curve.kind] = seen.get(curve.kind, -1) + 1
        batches, values = zip(*curve.points, strict=True)
        axes.plot(
            batches, values,
            label=curve.label,
            color=_COLOURS.get(curve.kind, svg.MUTED),
            linestyle=_LINES[nth % len(_LINES)],
            marker=("o", "s", "^", "v", "P", "X")[nth % 6] if curve.kind == "stock" else "D",
            markersize=6,
            markerfacecolor=_COLOURS.get(curve.kind, svg.MUTED) if nth % 2 == 0 else svg.PAPER,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    sizes = sorted({batch for curve in curves for batch, _ in curve.points})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: digits(value, 1)))
    else:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, axis="y", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both")
    axes.set_xlabel("batch size")
    axes.set_title(unit, loc="left", size=12, color=svg.MUTED)
    if narrow:
        figure.legend(loc="lower left", bbox_to_anchor=(0, 0), borderaxespad=0.1)
    else:
        figure.legend(
            loc="center left", bbox_to_anchor=((width - right + 20) / width, 0.55),
            borderaxespad=0, handlelength=3,
        )  # fmt: skip
