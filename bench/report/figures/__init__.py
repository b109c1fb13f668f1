"""The page's drawings by matplotlib. Each takes plain values and gives safe SVG markup.

Four forms serve everything: intervals around 1, grouped bars with intervals, plain bars and lines
over batch size. Backends differ by colour and by marker, never by colour alone.
"""

from __future__ import annotations

from bench.report.figures.bar_charts import Bar, Series, bars, grouped_bars
from bench.report.figures.drawing import Drawing, Span
from bench.report.figures.interval_charts import intervals
from bench.report.figures.line_charts import Curve, lines

__all__ = [
    "Bar",
    "Curve",
    "Drawing",
    "Series",
    "Span",
    "bars",
    "grouped_bars",
    "intervals",
    "lines",
]
