"""Varied scenarios are in their own table and in no headline but their own."""

from __future__ import annotations

import html
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench import report
from bench.analysis.run_facts import Facts
from bench.report import varied
from bench.report.answers import answers
from bench.report.answers.variables import surroundings
from bench.store import records
from bench.text.wording import TIMES
from tests.bench.made_up_runs import DEFAULT_1
from tests.known import known

if TYPE_CHECKING:
    from tests.bench.made_up_runs import MakeRun

TAG = "allocator=tcmalloc"


@pytest.fixture(scope="module")
def standard(make_run: MakeRun) -> records.Run:
    """A whole run without variables."""
    return make_run()


def with_variable(run: records.Run) -> tuple[records.Run, str]:
    """The run with its stock default under tcmalloc too, ten times as fast, and its id."""
    row = next(
        one for one in run.scenarios if one.scenario.startswith("inference/stock/eager/fp32/contig")
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
    speedups = (*run.speedups, over, replace(over, baseline_kind="stock_default"))
    return replace(run, scenarios=(*run.scenarios, fast), speedups=speedups), name


def renamed(run: records.Run, name: str, tag: str, **speedup: Any) -> records.Run:
    """The run with another variable, and what it gains, in the place of that scenario's."""
    other = name.replace(TAG, tag)

    def rename(rows: Any, **fields: Any) -> Any:
        return tuple(
            replace(row, scenario=other, **fields) if row.scenario == name else row for row in rows
        )

    scenarios = rename(run.scenarios, options=tag)
    return replace(run, scenarios=scenarios, speedups=rename(run.speedups, **speedup))


def test_a_varied_scenario_changes_no_other_headline(
    standard: records.Run,
) -> None:
    """The fastest of all under another allocator leads nothing: no other ran under it."""
    facts = varied.page_facts(with_variable(standard)[0])
    others = [answer for answer in answers(facts) if answer.key != "surroundings"]
    assert len(answers(facts)) == len(others) + 1
    assert others == answers(varied.page_facts(standard))
    assert varied.ordinary(standard) is standard


def test_what_a_variable_gains_is_an_answer_of_its_own(standard: records.Run) -> None:
    """With its interval, and only where the verdict allows it."""
    changed, name = with_variable(standard)
    answer = known(surroundings(Facts(changed)))
    assert answer.tone == "good"
    assert answer.number.startswith("10")
    assert "[9.50, 10.50]" in answer.headline
    assert not any("GLIBC_TUNABLES" in sentence for sentence in answer.details)
    (line,) = answer.lines
    assert line.cells[0] is not None
    doubtful = known(surroundings(Facts(renamed(changed, name, TAG, verdict="inconclusive"))))
    assert (doubtful.tone, doubtful.details, doubtful.number) == ("level", (), "")
    assert "10" not in doubtful.headline
    assert surroundings(Facts(standard)) is None


def test_a_heap_as_shipped_is_read_as_what_keeping_it_gains(standard: records.Run) -> None:
    """All workers keep theirs, so what was measured is the cost of not keeping it."""
    changed, name = with_variable(standard)
    costs = {"speedup": 0.8, "speedup_low": 0.75, "speedup_high": 0.9, "verdict": "slower"}
    answer = known(surroundings(Facts(renamed(changed, name, "heap=glibc", **costs))))
    assert (answer.tone, answer.number) == ("good", f"1.25{TIMES}")
    assert f"1.25{TIMES} [1.11, 1.33]" in answer.headline
    assert known(answer.lines[0].cells[0]).estimate == 0.8
    assert any("GLIBC_TUNABLES" in sentence for sentence in answer.details)


@pytest.mark.parametrize("tag", ["threads=1", "isa=avx2", "fpmath=bf16"])
def test_what_costs_something_is_not_offered_as_free(standard: records.Run, tag: str) -> None:
    """Fewer threads, older instructions and less precision are questions of another kind."""
    changed, name = with_variable(standard)
    assert surroundings(Facts(renamed(changed, name, tag))) is None


def test_the_table_shows_what_the_variable_gains(standard: records.Run) -> None:
    """With its interval and verdict; without any, the page says how to vary."""
    changed, name = with_variable(standard)
    (row,) = varied.table(Facts(changed)).rows
    assert row.cells[0].text == "allocator tcmalloc"
    assert (row.cells[2].text, row.cells[2].note) == (f"10.0{TIMES}", "[9.50, 10.50]")
    assert row.verdict == "faster"
    page = report.build(changed)
    assert "allocator tcmalloc" in page
    assert name not in page.replace(f'data-sort="{name}"', "")  # in no other table
    assert "bench run --vary allocator" in report.build(standard)


def twice_as_fast(run: records.Run, *, disturbed: bool = False) -> tuple[records.Run, str]:
    """The run with calls of its stock default under tcmalloc too, each half as long."""
    name = f"{DEFAULT_1}/{TAG}"
    calls = tuple(
        replace(
            row,
            scenario=name,
            wall_ns=row.wall_ns // 2,
            disturbed=(disturbed or row.disturbed) if row.round is not None else None,
        )
        for row in run.iterations
        if row.scenario == DEFAULT_1
    )
    return replace(run, iterations=(*run.iterations, *calls), speedups=()), name


def test_a_kill_before_any_row_mixes_no_varied_scenario_in(
    standard: records.Run,
) -> None:
    """As long as scenarios.csv is empty, varied scenarios are known by their ids."""
    run, name = twice_as_fast(standard)
    facts = varied.page_facts(replace(run, scenarios=(), parity=()))
    assert name in known(facts.whole).scenarios
    assert set(facts.scenarios) == {row.scenario for row in standard.scenarios}
    assert not any(row.scenario == name for row in facts.speedup_rows)


def test_disturbed_blocks_are_counted_among_those_of_the_whole_run(standard: records.Run) -> None:
    """Varied scenarios included: one model judges all."""
    run, name = twice_as_fast(standard, disturbed=True)
    row = replace(standard.scenarios[0], scenario=name, options=TAG)
    facts = varied.page_facts(replace(run, scenarios=(*run.scenarios, row)))
    blocks = {(one.scenario, one.launch, one.round) for one in run.iterations}
    timed = sum(round_ is not None for *_, round_ in blocks)
    answer = next(one for one in answers(facts) if one.key == "noise")
    assert f"24 of {timed:,} blocks" in answer.details[0]


def test_reduced_arithmetic_is_said_beside_its_effect(standard: records.Run) -> None:
    """With the error that it was allowed; an allocator changes no result."""
    run, name = with_variable(standard)
    plain = replace(standard.parity[0], scenario=name)
    (row,) = varied.table(Facts(replace(run, parity=(*run.parity, plain)))).rows
    assert row.cells[0].note == ""
    other = name.replace(TAG, "fpmath=bf16")
    reduced = renamed(run, name, "fpmath=bf16")
    error = replace(plain, scenario=other, max_abs_error=0.004, tolerance=0.02)
    (row,) = varied.table(Facts(replace(reduced, parity=(*run.parity, error)))).rows
    assert row.cells[0].text == "fpmath bf16"
    assert row.cells[0].note.startswith("reduced arithmetic under an fp32 label")
    assert row.cells[0].note.endswith("largest error 0.004 of 0.02")
    page = report.build(replace(reduced, parity=(*run.parity, error)))
    assert row.cells[0].note in html.unescape(page)
