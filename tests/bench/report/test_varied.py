"""Varied scenarios stand in their own table and in no headline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench import records, report
from bench.report import varied
from bench.report.facts import Facts
from bench.summary import summary

if TYPE_CHECKING:
    from collections.abc import Callable

TAG = "allocator=tcmalloc"


@pytest.fixture(scope="module")
def standard(make_run: Callable[..., records.Run]) -> records.Run:
    """A whole run without variables."""
    return make_run()


def with_variable(run: records.Run) -> tuple[records.Run, str]:
    """The run with its stock default under tcmalloc too, ten times as fast as all others."""
    row = next(
        one
        for one in run.scenarios
        if (one.backend, one.mode, one.layout, one.dtype)
        == ("stock", "eager", "contiguous", "fp32")
        and one.task == "inference"
    )
    name = f"{row.scenario}/{TAG}"
    fast = replace(row, scenario=name, options=TAG, median_ms=1.0, images_per_s=1000.0)
    over = records.SpeedupRow(
        run_id=row.run_id,
        scenario=name,
        baseline_kind="unvaried",
        baseline=row.scenario,
        speedup=10.0,
        speedup_low=9.5,
        speedup_high=10.5,
        margin=0.03,
        launches=3,
        rounds=30,
        verdict="faster",
        reason=None,
    )
    against = replace(over, baseline_kind="stock_default")
    changed = replace(
        run, scenarios=(*run.scenarios, fast), speedups=(*run.speedups, over, against)
    )
    return changed, name


def test_headlines_are_the_same_with_and_without_a_varied_scenario(
    standard: records.Run,
) -> None:
    """The fastest of all under another allocator leads nothing: no other ran under it."""
    changed, _ = with_variable(standard)
    assert summary(changed) == summary(standard)


def test_the_table_says_what_the_variable_is_worth(standard: records.Run) -> None:
    """With its interval and verdict, beside the way of running that it was applied to."""
    changed, name = with_variable(standard)
    table = varied.table(Facts(changed))
    (row,) = table.rows
    texts = [cell.text for cell in row.cells]
    assert texts[0] == "allocator tcmalloc"
    assert "10" in texts[2]
    assert row.verdict == "faster"
    page = report.build(changed)
    assert "allocator tcmalloc" in page
    assert page.count(name) == 1  # by which the table sorts: it has no place among the others


def test_an_ordinary_run_is_left_as_it_is(standard: records.Run) -> None:
    """And its page says how to vary."""
    assert varied.ordinary(standard) is standard
    assert "bench run --vary allocator" in report.build(standard)
