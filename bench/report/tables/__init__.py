"""The page's tables as plain data: the template only lays them out. Pure.

A cell carries what is shown, what it sorts by, and a note below it. No scenario is ever dropped:
one that could not run keeps its row with its status and its reason.
"""

from __future__ import annotations

from bench.report.tables.comparisons import pairs_table, speedups
from bench.report.tables.quantities import break_even, costs, money, start_up_ms, timings
from bench.report.tables.table import Cell, Row, Table, number, ratio_cell, scenario_cell, tags
from bench.report.tables.trust import exclusions, failures, noise, parity

__all__ = [
    "Cell",
    "Row",
    "Table",
    "break_even",
    "costs",
    "exclusions",
    "failures",
    "money",
    "noise",
    "number",
    "pairs_table",
    "parity",
    "ratio_cell",
    "scenario_cell",
    "speedups",
    "start_up_ms",
    "tags",
    "timings",
]
