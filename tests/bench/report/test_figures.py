"""Drawings: true to their numbers, safe whatever their labels hold, and the same every time."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from bench.analysis.facts import Facts
from bench.report import charts, figures, sparklines, svg
from bench.report.figures import Bar, Curve, Span, interval_charts
from bench.store.records import Run

HOSTILE = "<script>&\"' $x^2$ \\frac{1}{2}"
MakeRun = Callable[..., Run]


def intervals(*spans: Span) -> figures.Drawing:
    """A drawing of those spans."""
    return figures.intervals("t", spans, title="T", caption="C", margin=0.03, axis="ratio")


def text_of(drawing: str) -> str:
    """Everything a reader sees."""
    root = ET.fromstring(drawing)  # noqa: S314 -- our own drawing
    return " ".join("".join(element.itertext()) for element in root.iter("text"))


@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_labels_stay_text(width: str) -> None:
    """Markup and mathematics in a label are drawn letter by letter."""
    drawing = intervals(Span(label=HOSTILE, kind="stock", estimate=1.2, low=1.1, high=1.3))
    markup = str(getattr(drawing, width))
    assert "<script" not in markup
    assert "<script>&" in text_of(markup)
    assert "$x^2$" in text_of(markup)


def test_description_says_every_number() -> None:
    """Who cannot see the drawing hears the same."""
    drawing = intervals(
        Span(label="a", kind="stock", estimate=1.234, low=1.1, high=1.3, verdict="faster"),
        Span(label="b", kind="ipex", estimate=None, missing="crashed"),
    )
    description = re.search(r"<desc[^>]*>(.*?)</desc>", drawing.wide)
    assert description is not None
    assert "a: 1.23\N{MULTIPLICATION SIGN} [1.10, 1.30], faster" in description[1]
    assert "b: crashed" in description[1]


def test_interval_without_upper_end_is_drawn_to_the_edge() -> None:
    """One paired round has an open interval and must not break the axis."""
    drawing = intervals(Span(label="a", kind="stock", estimate=1.2, low=0.0, high=math.inf))
    assert "nan" not in drawing.wide.lower()
    assert "inf" not in re.sub(r"<(title|desc).*?</\1>", "", drawing.wide).lower()


def test_outlier_does_not_squeeze_the_others() -> None:
    """Emulated bf16 at a fifth of the speed leaves the axis to what matters."""
    spans = [Span(label=str(value), kind="stock", estimate=value, low=value, high=value)
             for value in (1.0, 1.3, 1.4)]  # fmt: skip
    axis = Figure().add_subplot()
    low, high = interval_charts._limits(
        [*spans, Span(label="x", kind="ipex", estimate=0.2, low=0.2)]
    )
    assert (low, high) == interval_charts._limits(spans)
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    interval_charts._paint_span(
        axis, Span(label="x", kind="ipex", estimate=0.2, low=0.2, high=0.21), 0
    )
    assert axis.lines[-1].get_marker() == "<"


def test_native_bf16_is_within_the_axis() -> None:
    """Two and a half times as fast is what people came to see, and no outlier."""
    spans = [Span(label=str(value), kind="stock", estimate=value, low=value, high=value)
             for value in (1.0, 1.4, 2.6)]  # fmt: skip
    _, high = interval_charts._limits(spans)
    assert high > 2.6


def test_only_outliers_have_an_axis_of_their_own() -> None:
    """Where everything is far from 1, everything is shown."""
    spans = [Span(label="x", kind="ipex", estimate=value, low=value, high=value)
             for value in (0.2, 0.22)]  # fmt: skip
    low, _ = interval_charts._limits(spans)
    assert low < 0.2


def test_invalid_is_hollow() -> None:
    """An invalid comparison is in its place and cannot be taken for a valid one."""
    axes = Figure().add_subplot()
    axes.set_xlim(0.5, 2)
    span = Span(label="x", kind="ipex", estimate=1.2, low=1.1, high=1.3, verdict="invalid")
    interval_charts._paint_span(axes, span, 0)
    assert axes.lines[-1].get_markerfacecolor() == svg.PAPER
    assert axes.lines[0].get_linestyle() == "--"


def test_drawings_use_the_page_colours_only() -> None:
    """Dark mode and print follow from variables: no colour is fixed in a drawing."""
    for drawing in (
        intervals(Span(label="a", kind="stock", estimate=1.2, low=1.1, high=1.3)),
        figures.bars("b", [Bar(label="a", kind="ipex", value=3, text="3")], title="T", caption="C",
                     log=False),
        figures.lines("c", [Curve(label="a", kind="stock", points=((1, 2.0), (8, 3.0)))],
                      title="T", caption="C", unit="ms", log=True),
    ):  # fmt: skip
        for markup in (drawing.wide, drawing.narrow):
            assert not re.search(r"#[0-9a-f]{6}", re.sub(r'"#[^"]*"', "", markup))
            assert "var(--" in markup


def test_same_numbers_give_the_same_drawing() -> None:
    """No date, no random id."""
    span = Span(label="a", kind="stock", estimate=1.2, low=1.1, high=1.3)
    assert intervals(span) == intervals(span)


def test_bars_of_the_first_figure_are_the_speedups_of_the_rows(make_run: MakeRun) -> None:
    """Stock tuned and the best IPEX scenario at each batch size, as speedups.csv has them."""
    facts = Facts(make_run())
    drawing = charts.speedup_bars(facts)
    assert drawing is not None
    tuned = next(
        row.baseline
        for row in facts.run.speedups
        if row.baseline_kind == "stock_tuned" and "/fp32/" in row.scenario and "/b8" in row.scenario
    )
    comparison = facts.against_default(tuned)
    assert comparison is not None
    assert f"{comparison.estimate:.2f}" in text_of(str(drawing.wide))


def test_ratios_in_time_show_every_round_and_part_launches(make_run: MakeRun) -> None:
    """Drift within a run shows here and nowhere else."""
    facts = Facts(make_run())
    scenario = "inference/ipex/eager/fp32/channels_last/b8"
    rows = facts.ratios_in_time(scenario)
    assert len(rows) == 24
    markup = sparklines.ratios("n", rows, [], "d")
    dots = re.search(r'class="dot" d="([^"]*)"', markup)
    assert dots is not None
    assert dots[1].count("m") == 24
    assert markup.count('class="rule"') == 2


def test_sparkline_description_is_escaped() -> None:
    """The only text in it that could come from a file."""
    assert "<script" not in sparklines.warmup("n", [3.0, 2.0], HOSTILE)
