"""Varied scenarios stand in their own table and in no headline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench import report
from bench.analysis.facts import Facts
from bench.report import varied
from bench.report.answers import answers
from bench.report.answers.surroundings import surroundings
from bench.store import records
from bench.text.wording import TIMES

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


def renamed(run: records.Run, name: str, tag: str, **speedup: Any) -> records.Run:
    """The run with another variable, and what it is worth, in the place of that scenario's."""
    other = name.replace(TAG, tag)
    return replace(
        run,
        scenarios=tuple(
            replace(row, scenario=other, options=tag) if row.scenario == name else row
            for row in run.scenarios
        ),
        speedups=tuple(
            replace(row, scenario=other, **speedup) if row.scenario == name else row
            for row in run.speedups
        ),
    )


def test_the_other_headlines_are_the_same_with_and_without_a_varied_scenario(
    standard: records.Run,
) -> None:
    """The fastest of all under another allocator leads nothing: no other ran under it."""
    changed, _ = with_variable(standard)
    said, before = report.summary(changed), report.summary(standard)
    assert "Before any backend" in said
    assert "Before any backend" not in before
    start = said.index("- Before any backend")
    assert said[:start] + said[said.index("\n- ", start) + 1 :] == before


def test_what_a_variable_is_worth_is_an_answer_of_its_own(standard: records.Run) -> None:
    """With its interval, and only where the verdict allows it."""
    changed, _ = with_variable(standard)
    answer = surroundings(Facts(changed))
    assert answer is not None
    assert answer.tone == "good"
    assert answer.headline.startswith("Tcmalloc as allocator makes stock default, batch 1,")
    assert answer.number.startswith("10")
    assert answer.headline.split("[")[1].startswith("9.50, 10.50]")
    assert not any("GLIBC_TUNABLES" in sentence for sentence in answer.details)
    (line,) = answer.lines
    assert line.cells[0] is not None
    doubted = replace(
        changed,
        speedups=tuple(
            replace(row, verdict="inconclusive") if row.baseline_kind == "unvaried" else row
            for row in changed.speedups
        ),
    )
    silent = surroundings(Facts(doubted))
    assert silent is not None
    assert (silent.tone, silent.details, silent.number) == ("level", (), "")
    assert "10" not in silent.headline
    assert surroundings(Facts(standard)) is None


def test_a_heap_as_shipped_is_read_as_what_keeping_it_gains(standard: records.Run) -> None:
    """All workers keep theirs: measured is what it costs not to."""
    changed, name = with_variable(standard)
    costs = {"speedup": 0.8, "speedup_low": 0.75, "speedup_high": 0.9, "verdict": "slower"}
    shipped = renamed(changed, name, "heap=glibc", **costs)
    answer = surroundings(Facts(shipped))
    assert answer is not None
    assert (answer.tone, answer.number) == ("good", f"1.25{TIMES}")
    assert answer.headline == (
        f"A kept heap makes stock default, batch 1, 1.25{TIMES} [1.11, 1.33] as fast."
    )
    assert answer.lines[0].label == "The heap as glibc ships it: stock default, batch 1"
    assert answer.lines[0].cells[0] is not None
    assert answer.lines[0].cells[0].estimate == 0.8
    assert any("GLIBC_TUNABLES" in sentence for sentence in answer.details)


@pytest.mark.parametrize("tag", ["threads=1", "isa=avx2"])
def test_what_costs_something_is_not_offered_as_free(standard: records.Run, tag: str) -> None:
    """Fewer threads or older instructions are questions of another kind."""
    changed, name = with_variable(standard)
    assert surroundings(Facts(renamed(changed, name, tag))) is None


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


def twice_as_fast(run: records.Run) -> tuple[records.Run, str]:
    """The run with calls of its stock default under tcmalloc too, each half as long."""
    name = f"inference/stock/eager/fp32/contiguous/b1/{TAG}"
    default = name.removesuffix(f"/{TAG}")
    calls = tuple(
        replace(row, scenario=name, wall_ns=row.wall_ns // 2)
        for row in run.iterations
        if row.scenario == default
    )
    return replace(run, iterations=(*run.iterations, *calls)), name


def test_a_kill_before_any_row_mixes_no_varied_scenario_among_the_others(
    standard: records.Run,
) -> None:
    """What was varied is known by its id, as long as scenarios.csv has nothing."""
    run, name = twice_as_fast(standard)
    facts = varied.page_facts(replace(run, scenarios=(), speedups=(), parity=()))
    assert facts.whole is not None
    assert name in facts.whole.scenarios
    assert name not in facts.scenarios
    assert set(facts.scenarios) == {row.scenario for row in standard.scenarios}
    assert not any(row.scenario == name for row in facts.speedup_rows)


def test_disturbed_blocks_are_counted_among_those_of_the_whole_run(
    standard: records.Run,
) -> None:
    """Of a varied scenario too: one model judges them all."""
    run, name = twice_as_fast(standard)
    calls = tuple(
        replace(row, disturbed=True) if row.scenario == name and row.round is not None else row
        for row in run.iterations
    )
    row = replace(standard.scenarios[0], scenario=name, options=TAG)
    facts = varied.page_facts(
        replace(run, iterations=calls, scenarios=(*run.scenarios, row), speedups=())
    )
    blocks = {(one.scenario, one.launch, one.round) for one in calls if one.round is not None}
    answer = next(one for one in answers(facts) if one.key == "noise")
    assert f"of 24 of {len(blocks):,} blocks nothing is left" in answer.details[0]


def test_an_ordinary_run_is_left_as_it_is(standard: records.Run) -> None:
    """And its page says how to vary."""
    assert varied.ordinary(standard) is standard
    assert "bench run --vary allocator" in report.build(standard)
