"""Turn the parts of an explanation into the values that `layer_figures` draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.layers import LAYER, OUTSIDE, PRIMITIVE, REORDERS
from bench.analysis.run_facts import is_stock_default
from bench.report import layer_figures
from bench.report.layer_figures import Pair, Point, Roof, Side, Time
from bench.text import wording
from bench.text.wording import count, digits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.analysis.layers import Cost, Explanation, Part
    from bench.report.drawing import Drawing
    from bench.store.records import ScenarioRow

OTHERS = "oneDNN's other primitives"
_MOST_BARS = 20
"""A training step has three bars a layer: beyond so many layers the shortest are one bar."""
_WORTH_A_MARK = 0.002
"""Of a call: the mark of a shorter layer would stretch the axes of the roofline."""


def name_of(row: ScenarioRow) -> str:
    """Name a scenario among those of its group."""
    return "Stock default" if is_stock_default(row) else wording.chart_name(row)


def _sides(found: Explanation) -> tuple[Side, Side]:
    first, second = (
        Side(label=name_of(log.row), kind=log.row.backend) for log in (found.first, found.second)
    )
    return first, second


def bars(found: Explanation, place: int) -> Drawing:
    """Draw the time of each part in both scenarios; `place` names the drawing."""
    drawn = found.of_kind(LAYER)
    shortest: list[Part] = []
    if len(drawn) > _MOST_BARS:
        longest = sorted(drawn, key=_longest, reverse=True)[:_MOST_BARS]
        drawn, shortest = longest, [part for part in drawn if part not in longest]
    pairs = [
        *(_pair(part.name, [part]) for part in drawn),
        *([_pair(count(len(shortest), "other layer"), shortest)] if shortest else []),
        *(_pair(part.name, [part]) for part in found.of_kind(REORDERS)),
        *([_pair(OTHERS, parts)] if (parts := found.of_kind(PRIMITIVE)) else []),
        *(_pair(part.name, [part]) for part in found.of_kind(OUTSIDE)),
    ]
    return layer_figures.paired_bars(
        f"why{place}-bars",
        _sides(found),
        pairs,
        title="Time of each part of a call",
        caption="Milliseconds of a call by its parts: medians of the logged calls. Hollow: "
        f"{name_of(found.first.row)}; filled: {name_of(found.second.row)}. Lines: from the lowest "
        "to the highest logged call.",
    )


def _longest(part: Part) -> float:
    return max(cost.ms for cost in (part.first, part.second) if cost)


def _pair(label: str, parts: Sequence[Part]) -> Pair:
    """Return the times of some parts together; a range only for a single one."""

    def together(costs: Sequence[Cost | None]) -> Time | None:
        known = [cost for cost in costs if cost]
        if not known:
            return None
        only = known[0].range_ms if len(parts) == 1 else None
        return Time(ms=sum(cost.ms for cost in known), range_ms=only)

    return Pair(
        label=label,
        times=(
            together([part.first for part in parts]),
            together([part.second for part in parts]),
        ),
    )


def roofline(
    found: Explanation, peaks: Mapping[str, float], gb_per_s: float | None, place: int
) -> Drawing | None:
    """Draw the rate of each layer below the run's peaks; None where no layer was logged."""
    named = {part.name for part in found.causes[:1]}  # labels of more would cover each other
    points = []
    dtypes: dict[str | None, None] = {}
    for part in found.of_kind(LAYER):
        for side, cost in enumerate((part.first, part.second)):
            rate, intensity = (cost.gflop_per_s, cost.flop_per_byte) if cost else (None, None)
            log = (found.first, found.second)[side]
            if cost and rate and intensity and cost.ms >= _WORTH_A_MARK * log.timed_ms:
                dtypes[cost.dtype] = None
                points.append(
                    Point(
                        label=part.name if part.name in named and side else "",
                        name=part.name,
                        side=side,
                        flop_per_byte=intensity,
                        gflop_per_s=rate,
                    )
                )
    if not points:
        return None
    roofs = [
        Roof(label=f"peak in {dtype}", gflop_per_s=peaks[dtype])
        for dtype in dtypes
        if dtype is not None and peaks.get(dtype)
    ]
    slope = (
        f" The slope is the memory's {digits(gb_per_s)} GB/s, by a copy far larger than the "
        "caches: layers whose tensors stay in a cache may lie above it."
        if gb_per_s
        else " The memory's rate was not measured, so the roofs are flat."
    )
    return layer_figures.roofline(
        f"why{place}-roof",
        _sides(found),
        points,
        roofs,
        gb_per_s=gb_per_s,
        title="Roofline of the layers",
        caption="A layer a mark: its GFLOP/s over its operations for each byte of its tensors, "
        "with the peak of each dtype as a large convolution or matrix product reached it in this "
        f"run: a layer may be a little above.{slope} Layers below "
        f"{100 * _WORTH_A_MARK:g} % of a call are left out.",
    )
