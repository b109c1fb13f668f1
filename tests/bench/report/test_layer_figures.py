"""The drawings of an explanation: true to their numbers, whatever a run lacks."""

from __future__ import annotations

import pytest

from bench.report.layer_figures import Pair, Point, Roof, Side, Time, paired_bars, roofline
from bench.text.wording import NOTHING
from tests.bench.report.test_figures import elements, texts

SIDES = (Side(label="A", kind="stock"), Side(label="B", kind="ipex"))
POINTS = (
    Point(label="", name="conv1_1", side=0, flop_per_byte=10.0, gflop_per_s=60.0),
    Point(label="conv1_2", name="conv1_2", side=1, flop_per_byte=140.0, gflop_per_s=210.0),
)


def test_bars_are_as_long_as_their_times() -> None:
    """The first side hollow, the second filled; a missing one leaves its place empty."""
    pairs = [
        Pair(label="conv1_1", times=(Time(ms=4.0, range_ms=(3.0, 5.0)), Time(ms=2.0))),
        Pair(label="reorders", times=(Time(ms=1.0), None)),
    ]
    drawn = paired_bars("t", SIDES, pairs, title="T", caption="C")
    bars = [one for one in elements(drawn.wide, "rect") if one.get("height") == "9"]
    widths = [float(one.get("width") or 0) for one in bars]
    assert [width / widths[2] for width in widths] == pytest.approx([4, 2, 1], rel=0.01)
    assert [one.get("fill") for one in bars] == ["var(--paper)", "var(--ipex)", "var(--paper)"]
    assert {"conv1_1", "4.00 / 2.00 ms", f"1.00 / {NOTHING} ms"} <= set(texts(drawn.wide))
    whiskers = [one for one in elements(drawn.wide, "line") if one.get("stroke") == "var(--ink)"]
    assert len(whiskers) == 1


def test_the_roof_rises_with_the_memory_and_ends_at_the_peak() -> None:
    """Without the memory's rate only the peak is drawn."""
    roofs = [Roof(label="peak in fp32", gflop_per_s=230.0)]

    def slopes(gb_per_s: float | None) -> list[bool]:
        drawn = roofline("t", SIDES, POINTS, roofs, gb_per_s=gb_per_s, title="T", caption="C")
        roof = [one for one in elements(drawn.wide, "line") if one.get("stroke") == "var(--muted)"]
        return [one.get("y1") != one.get("y2") for one in roof]

    assert slopes(30.0) == [True, False]
    assert slopes(None) == [False]
    assert slopes(1.0) == [True]  # the peak is beyond the axis
    assert slopes(0.1) == []  # the slope too


def test_only_named_layers_are_labelled() -> None:
    """All are in the description, for a screen reader."""
    drawn = roofline("t", SIDES, POINTS, [], gb_per_s=None, title="T", caption="C")
    assert "conv1_2" in texts(drawn.wide)
    assert "conv1_1" not in texts(drawn.wide)
    (description,) = elements(drawn.wide, "desc")
    assert "conv1_1 (A): 60.0 GFLOP/s at 10.0 operations a byte" in (description.text or "")
