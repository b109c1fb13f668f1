"""Drawings: true to their numbers, safe whatever their labels hold, and the same every time."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from bench.analysis.comparison import Ratio
from bench.analysis.run_facts import Facts
from bench.report import charts, drawing, figures, sparklines
from bench.report.figures import Bar, Curve, Series, Span
from bench.text.wording import TIMES
from tests.known import known

if TYPE_CHECKING:
    from bench.report.drawing import Drawing
    from tests.bench.made_up_runs import MakeRun

HOSTILE = "<script>&\"' $x^2$ \\frac{1}{2}"


def intervals(*spans: Span) -> Drawing:
    """A drawing of those ratios."""
    return figures.intervals("t", spans, title="T", caption="C", margin=0.03, axis="ratio")


def at(*estimates: float) -> list[Span]:
    """Ratios without spread."""
    return [Span(label="x", kind="ipex", estimate=one, low=one, high=one) for one in estimates]


def elements(markup: str, tag: str) -> list[ET.Element]:
    """The elements of a drawing, which must be well-formed."""
    return list(ET.fromstring(markup).iter(tag))  # noqa: S314 -- our own drawing


def texts(markup: str) -> list[str]:
    """The texts that a reader sees, in the order of drawing."""
    return [element.text or "" for element in elements(markup, "text")]


def shapes(drawn: Drawing) -> list[str]:
    """The data markers of the wide drawing."""
    return re.findall(rf'class="((?:{"|".join(drawing.SHAPES)})(?: hollow)?)"', drawn.wide)


def test_labels_stay_text() -> None:
    """Markup and mathematics in a label are drawn letter by letter, in both widths."""
    drawn = intervals(Span(label=HOSTILE, kind="stock", estimate=1.2, low=1.1, high=1.3))
    for markup in (drawn.wide, drawn.narrow):
        assert "<script" not in markup
        assert HOSTILE in texts(markup)
    assert "<script" not in sparklines.warmup("n", [3.0, 2.0], HOSTILE)


def test_description_spells_every_number() -> None:
    """A screen reader gets what the drawing shows."""
    drawn = intervals(
        Span(label="a", kind="stock", estimate=1.234, low=1.1, high=1.3, verdict="faster"),
        Span(label="b", kind="ipex", estimate=None, missing="crashed"),
    )
    (description,) = elements(drawn.wide, "desc")
    assert description.text == f"a: 1.23{TIMES} [1.10, 1.30], faster; b: crashed"


def test_interval_without_upper_end_is_drawn_to_the_edge() -> None:
    """One paired round has an open interval and must not break the axis."""
    drawn = intervals(Span(label="a", kind="stock", estimate=1.2, low=0.0, high=math.inf))
    whole = next(one for one in elements(drawn.wide, "line") if one.get("stroke-width") == "3")
    assert (whole.get("x1"), whole.get("x2")) == ("370", "800")


@pytest.mark.parametrize(
    ("beyond", "markers"),
    [
        ((), ["diamond", "diamond", "diamond"]),
        ((0.2,), ["diamond", "diamond", "diamond", "left"]),
        ((4.4, 0.2), ["diamond", "diamond", "diamond", "right", "left"]),
    ],
)
def test_an_outlier_is_an_arrow(beyond: tuple[float, ...], markers: list[str]) -> None:
    """Emulated bf16 and int8 leave the axis to the others; native bf16 (2.6) is among those."""
    drawn = intervals(*at(1.0, 1.4, 2.6, *beyond))
    assert shapes(drawn) == markers
    ticks = [one for one in texts(drawn.wide) if re.fullmatch(rf"[\d.]+{TIMES}", one)]
    assert ticks == [f"{tick}{TIMES}" for tick in (1, 1.2, 1.5, 2, 2.5)]


def test_only_outliers_have_an_axis_of_their_own() -> None:
    """Where every ratio is far from 1, all are shown."""
    assert shapes(intervals(*at(0.2, 0.22))) == ["diamond", "diamond"]


def test_invalid_is_hollow_and_dashed() -> None:
    """An invalid comparison is in its place and cannot be taken for a valid one."""
    span = Span(label="x", kind="ipex", estimate=1.2, low=1.1, high=1.3, verdict="invalid")
    drawn = intervals(span)
    assert shapes(drawn) == ["diamond hollow"]
    assert [one for one in elements(drawn.wide, "line") if one.get("stroke-dasharray")]


def test_second_series_of_a_backend_is_hatched() -> None:
    """Colour alone does not distinguish bars; the value is written above each."""
    series = [Series(label=str(n), kind="ipex", spans=(*at(1.5 + n),)) for n in range(2)]
    drawn = figures.grouped_bars("g", ["batch 1"], series, title="T", caption="C")
    fills = [one.get("fill") for one in elements(drawn.wide, "rect")]
    assert fills.count("url(#g-w-hatch1)") == 2  # the bar and its key
    assert {f"1.50{TIMES}", f"2.50{TIMES}", "batch 1"} <= set(texts(drawn.wide))
    assert {"1.50", "2.50", "batch 1"} <= set(texts(drawn.narrow))
    (description,) = elements(drawn.wide, "desc")
    assert description.text == f"batch 1: 0: 1.50{TIMES} [1.50, 1.50], 1: 2.50{TIMES} [2.50, 2.50]"


def test_grouped_bars_always_show_where_1_is() -> None:
    """The line at 1 must not be at the end of a shorter axis."""
    series = [Series(label="x", kind="ipex", spans=(*at(0.5),))]
    drawn = figures.grouped_bars("g", ["batch 1"], series, title="T", caption="C")
    assert f"1{TIMES}" in texts(drawn.wide)


def test_history_draws_a_dot_and_an_interval_a_run() -> None:
    """The oldest is first."""
    known = [Ratio(estimate=value, low=0.9 * value, high=math.inf, launches=1, rounds=9)
             for value in (1.1, 1.2, 1.4)]  # fmt: skip
    markup = sparklines.history("h", known)
    assert markup.count('class="whisker"') == 3
    (description,) = elements(markup, "desc")
    assert (description.text or "").startswith(f"1.10{TIMES} [0.99, ")


@pytest.mark.parametrize("log", [False, True])
def test_bars_are_as_long_as_their_values(log: bool) -> None:
    """A linear bar starts at 0."""
    values = [Bar(label="a", kind="ipex", value=value, text=f"{value} MB") for value in (32, 100)]
    drawn = figures.bars("b", values, title="T", caption="C", log=log)
    first, second = (float(one.get("width", "")) for one in elements(drawn.wide, "rect"))
    assert second == 500
    share = math.log(3) / math.log(100 / (32 / 3)) if log else 0.32
    assert first == pytest.approx(500 * share, abs=0.1)
    assert "32 MB" in texts(drawn.wide)


@pytest.mark.parametrize(
    ("log", "ticks"),
    [(False, ["0", "50", "100", "150", "200", "250"]), (True, ["20", "50", "100", "200", "500"])],
)
def test_lines_have_round_ticks_and_every_batch_size(log: bool, ticks: list[str]) -> None:
    """Both axes can be read off, and each curve is named in the legend."""
    curves = [
        Curve(label="Stock", kind="stock", points=((1, 30.0), (8, 260.0))),
        Curve(label="IPEX", kind="ipex", points=((1, 25.0), (4, 100.0))),
    ]
    drawn = figures.lines("c", curves, title="T", caption="C", unit="ms", log=log)
    assert texts(drawn.wide) == ["ms", *ticks, "1", "4", "8", "batch size", "Stock", "IPEX"]


def test_drawings_use_the_page_colours_only() -> None:
    """Dark mode and print follow from variables: no colour is fixed in a drawing."""
    for drawn in (
        intervals(*at(1.2)),
        figures.bars("b", [Bar(label="a", kind="ipex", value=3, text="3")], title="T", caption="C",
                     log=False),
        figures.lines("c", [Curve(label="a", kind="stock", points=((1, 2.0), (8, 3.0)))],
                      title="T", caption="C", unit="ms", log=True),
    ):  # fmt: skip
        for markup in (drawn.wide, drawn.narrow):
            colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', markup))
            assert {colour for colour in colours if not colour.startswith("var(--")} <= {"none"}


def test_bars_of_the_first_figure_are_the_speedups_of_the_rows(make_run: MakeRun) -> None:
    """Stock tuned at each batch size, as speedups.csv has it."""
    facts = Facts(make_run())
    drawn = known(charts.speedup_bars(facts))
    tuned = next(
        row.baseline
        for row in facts.run.speedups
        if row.baseline_kind == "stock_tuned" and "/fp32/" in row.scenario and "/b8" in row.scenario
    )
    comparison = known(facts.against_default(tuned))
    assert f"{comparison.estimate:.2f}{TIMES}" in texts(drawn.wide)


def test_ratios_in_time_show_every_round_and_divide_launches(make_run: MakeRun) -> None:
    """Drift within a run is drawn in time order."""
    rows = Facts(make_run()).ratios_in_time("inference/ipex/eager/fp32/channels_last/b8")
    assert len(rows) == 24
    markup = sparklines.ratios("n", rows, [], "d")
    dots = known(re.search(r'class="dot" d="([^"]*)"', markup))
    assert dots[1].count("M") == 24
    assert markup.count('class="rule"') == 2
