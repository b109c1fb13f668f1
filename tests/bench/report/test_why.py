"""The section on why one scenario is faster says what the logged calls show, and no more."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING

import pytest

from bench.analysis.run_facts import Facts
from bench.errors import UsageError
from bench.report import build, explanation, in_format, why
from tests.bench.calls import with_rows
from tests.bench.command import bench
from tests.bench.made_up_runs import BATCH_1, DEFAULT_1, IPEX_1, LAST_1, THREE, save_run
from tests.known import known

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.records import KernelRow, Run
    from tests.bench.made_up_runs import MakeRun

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Run:
    """Stock default, stock channels_last and the best of IPEX, at batch 1."""
    return make_run(only=THREE)


def section_of(page: str) -> str:
    """The section of the page, unescaped."""
    found = re.search(r'<section id="why">(.*?)</section>', page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def changed(run: Run, scenario: str, problem: str, factor: float) -> Run:
    """The run with one layer of a scenario that takes longer, in every logged call and call."""
    (kernel,) = (k for k in run.kernels if k.scenario == scenario and problem in k.problem)
    more = (factor - 1) * kernel.ms

    def slower(row: KernelRow) -> KernelRow:
        return dataclasses.replace(row, ms=row.ms + more) if row is kernel else row

    calls = []
    for call in run.logged_calls:
        times = [float(part) for part in call.kernels_ms.split()]
        if call.scenario == scenario:
            times[kernel.position] += more
            call = dataclasses.replace(  # noqa: PLW2901 - the changed call takes its place
                call,
                wall_ms=call.wall_ms + more,
                unlogged_ms=(call.unlogged_ms or 0) + more,
                kernels_ms=" ".join(map(str, times)),
            )
        calls.append(call)
    iterations = [
        dataclasses.replace(one, wall_ns=one.wall_ns + int(1e6 * more))
        if one.scenario.partition("#")[0] == scenario
        else one
        for one in run.iterations
    ]
    median_ms = known(Facts(run).scenarios[scenario].median_ms) + more
    return dataclasses.replace(
        with_rows(run, "scenarios", scenario, median_ms=median_ms),
        kernels=tuple(slower(row) for row in run.kernels),
        logged_calls=tuple(calls),
        iterations=tuple(iterations),
        speedups=(),
    )


def test_headlines_are_explained_slower_first(run: Run) -> None:
    """Stock default and the fastest; then the best of the other library and the fastest."""
    pairs = why.headline_pairs(Facts(run))
    assert pairs == [(DEFAULT_1, IPEX_1), (LAST_1, IPEX_1)]


def test_a_slowed_layer_is_in_the_sentence(run: Run) -> None:
    """Its name, its share, and the whole difference."""
    slow = changed(run, DEFAULT_1, "ic128oc256", 5.0)
    found = why.why(Facts(slow), (DEFAULT_1, IPEX_1))
    assert re.search(
        r"IPEX with TorchScript \(fusion on\) takes [\d.]+ ms a call less than stock default: "
        r"[\d.]+ ms against [\d.]+ ms\. The largest part of that is conv3_1, with 4\d %\. "
        r"By kind, \d+ % lies in ",
        found.sentence,
    )


def test_the_order_of_the_names_does_not_change_what_is_faster(run: Run) -> None:
    """`--explain` may name the faster one first."""
    slow = changed(run, DEFAULT_1, "ic128oc256", 5.0)
    one, other = (
        why.why(Facts(slow), pair).sentence for pair in ((DEFAULT_1, IPEX_1), (IPEX_1, DEFAULT_1))
    )
    assert one == other


def test_what_was_not_shown_to_differ_is_not_explained(make_run: MakeRun) -> None:
    """Two ways that are level have no cause to name."""
    level = make_run(only=THREE, slow_ipex=1.085)
    found = why.why(Facts(level), (LAST_1, IPEX_1))
    assert "no difference was shown" in found.sentence
    assert "lies in" not in found.sentence
    assert "same" in found.sentence or "inconclusive" in found.sentence
    assert found.table is not None


def test_medians_that_contradict_the_paired_rounds_are_not_explained(run: Run) -> None:
    """The machine drifted between the two."""
    ms = known(Facts(run).scenarios[IPEX_1].median_ms)
    drifted = with_rows(run, "scenarios", IPEX_1, median_ms=10 * ms)
    found = why.why(Facts(drifted), (DEFAULT_1, IPEX_1))
    assert "the other way round" in found.sentence


def test_the_table_adds_up_to_the_timed_medians(run: Run) -> None:
    """All rows but the last are parts; the last is the median."""
    table = why.why(Facts(run), (DEFAULT_1, IPEX_1)).table
    assert table is not None
    for column in (1, 2, 3, 4):
        *parts, total = [row.cells[column].sort for row in table.rows]
        assert sum(float(part) for part in parts if part is not None) == pytest.approx(total)


def test_time_that_is_not_accounted_for_is_said(run: Run) -> None:
    """Logged calls of another speed explain nothing, whatever they show."""
    good = why.why(Facts(run), (DEFAULT_1, IPEX_1))
    assert re.match(r"The parts account for (99\.\d|100) % of", good.remarks[0])
    calls = tuple(
        dataclasses.replace(call, wall_ms=1.2 * call.wall_ms) for call in run.logged_calls
    )
    bad = why.why(Facts(dataclasses.replace(run, logged_calls=calls)), (DEFAULT_1, IPEX_1))
    assert "do NOT account" in bad.remarks[0]
    assert "do not account" in bad.sentence


def test_the_state_of_the_machine_is_said(run: Run) -> None:
    """Unlogged calls beside the logged ones were slower than the timed median."""
    calls = tuple(
        dataclasses.replace(
            call, wall_ms=1.3 * call.wall_ms, unlogged_ms=1.3 * (call.unlogged_ms or 0)
        )
        for call in run.logged_calls
    )
    usual = why.why(Facts(run), (DEFAULT_1, IPEX_1))
    found = why.why(Facts(dataclasses.replace(run, logged_calls=calls)), (DEFAULT_1, IPEX_1))
    pattern = r"beside the logged ones took ([\d.]+) % of the timed median of stock default"
    before, after = (re.search(pattern, one.remarks[1]) for one in (usual, found))
    assert before
    assert after
    assert float(after[1]) == pytest.approx(1.3 * float(before[1]), rel=0.01)


def test_what_the_logged_calls_show_too_much_of_is_no_part(run: Run) -> None:
    """It is said as their difference from the timed calls, not as time of the faster one."""
    calls = tuple(
        dataclasses.replace(
            call, wall_ms=call.wall_ms * (1.04 if call.scenario == DEFAULT_1 else 1)
        )
        for call in run.logged_calls
    )
    found = why.why(Facts(dataclasses.replace(run, logged_calls=calls)), (DEFAULT_1, IPEX_1))
    assert re.search(r"The logged calls differ by 1\d % more than the timed ones", found.sentence)
    assert "not in the logged calls" not in found.sentence


def test_a_run_of_an_earlier_version_is_explained_from_its_one_call(run: Run) -> None:
    """Without ranges, and it says what it does not know."""
    old = dataclasses.replace(run, logged_calls=())
    found = why.why(Facts(old), (DEFAULT_1, IPEX_1))
    assert "was not kept" in found.remarks[0]
    assert "one logged call of each" in found.remarks[1]
    assert "was not measured" in found.remarks[2]
    assert found.table is not None
    assert all(row.cells[1].note == "" for row in found.table.rows)
    assert [cell.text for cell in found.table.rows[-2].cells[1:5]] == ["0 ms"] * 3 + ["0 %"]


def test_a_backend_without_a_log_cannot_be_explained(run: Run) -> None:
    """It says so in place of a table."""
    bare = dataclasses.replace(
        run, kernels=tuple(k for k in run.kernels if k.scenario != IPEX_1), logged_calls=()
    )
    found = why.why(Facts(bare), (DEFAULT_1, IPEX_1))
    assert found.sentence.startswith("It cannot be explained: oneDNN logged nothing")
    assert found.table is None
    assert "It cannot be explained" in section_of(build(bare))


def test_the_page_draws_the_first_group_and_folds_the_others(make_run: MakeRun) -> None:
    """Bars and a roofline for batch 1; every other group has its table."""
    section = section_of(build(make_run()))
    assert section.count("<svg") == 8  # two pairs, two drawings, two widths
    assert section.count('<details class="more"><summary>Stock default and ') >= 3
    assert "conv5_3" in section


def test_hostile_names_of_kernels_stay_text(run: Run) -> None:
    """They come from a file."""
    bad = tuple(
        dataclasses.replace(
            row, isa=HOSTILE, post_ops=HOSTILE, kind=HOSTILE, primitive=row.primitive + HOSTILE
        )
        for row in run.kernels
    )
    page = build(dataclasses.replace(run, kernels=bad))
    assert HOSTILE not in page
    assert html.escape(HOSTILE)[:20] in page


def test_a_run_without_a_winner_says_that_nothing_is_explained(make_run: MakeRun) -> None:
    """Stock default alone has no headline."""
    assert "No two scenarios" in section_of(build(make_run(only=(DEFAULT_1,))))


def test_any_two_are_explained_in_the_terminal_and_on_the_page(run: Run, tmp_path: Path) -> None:
    """The pair that was asked for comes first, and once."""
    words = explanation(run, DEFAULT_1, LAST_1)
    assert "conv1_1" in words
    assert "Timed median" in words
    assert max(len(line) for line in words.splitlines()[:6]) < 100
    section = section_of(in_format(run, "html", explain=(LAST_1, IPEX_1)))
    titles = re.findall(r"<h3>(.*?)</h3>", section)
    assert titles[0].startswith("Stock · eager · fp32 and IPEX")
    assert len(titles) == len(set(titles)) == 2
    folder = save_run(run, tmp_path / "results" / "run")
    result = bench("report", folder, "--explain", DEFAULT_1, IPEX_1, "--reports", tmp_path)
    assert result.exit_code == 0, result.output
    assert "conv1_1" in result.output
    assert "conv1_1" in (tmp_path / "run.html").read_text()


def test_a_name_that_the_run_does_not_have_is_wrong_usage(run: Run) -> None:
    """The line says where the names are."""
    with pytest.raises(UsageError, match=r"has no scenario nothing: its scenarios\.csv"):
        explanation(run, DEFAULT_1, "nothing")


def test_other_formats_have_the_sentences(run: Run) -> None:
    """A pull request and a script read them too."""
    sentence = why.section(Facts(run))[0].sentence
    assert BATCH_1.label.lower() in why.section(Facts(run))[0].title
    assert sentence.split(":")[0] in in_format(run, "json")
    assert "## Why it is faster" in in_format(run, "markdown")
