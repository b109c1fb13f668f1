"""One line a way of running the model, over batch size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.report import svg
from bench.report.figures.drawing import COLOURS, Drawing, Text, in_two_widths
from bench.text.wording import digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One way of running the model over batch sizes."""

    label: str
    kind: str
    points: tuple[tuple[int, float], ...]


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

    return in_two_widths(
        name,
        Text(title=title, description=description, caption=caption),
        heights=(380, 280 + 20 * len(curves) + 16),
        paint=lambda figure, narrow: _paint_lines(figure, curves, unit, log=log, narrow=narrow),
    )


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
            color=COLOURS.get(curve.kind, svg.MUTED),
            linestyle=_LINES[nth % len(_LINES)],
            marker=("o", "s", "^", "v", "P", "X")[nth % 6] if curve.kind == "stock" else "D",
            markersize=6,
            markerfacecolor=COLOURS.get(curve.kind, svg.MUTED) if nth % 2 == 0 else svg.PAPER,
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
