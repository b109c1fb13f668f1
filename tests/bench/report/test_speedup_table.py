"""The table of speedups: a short remark in each row, and everything else behind it."""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis import judge, model
from bench.analysis.facts import Facts
from bench.plan.scenario import BaselineKind
from bench.report import build, formats
from bench.report.speedup_table import speedups
from bench.store.records import Run
from tests.bench.report.test_varied import with_variable

if TYPE_CHECKING:
    from bench.report.table import Cell

MakeRun = Callable[..., Run]
DEFAULT = "inference/stock/eager/fp32/contiguous/b1"
LAST = "inference/stock/eager/fp32/channels_last/b1"
IPEX = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"
FEW = (DEFAULT, LAST, IPEX)


def remark(run: Run, scenario: str = IPEX) -> Cell:
    """The last cell of a scenario's row."""
    rows = speedups(Facts(run), {}).rows
    return next(row.cells[-1] for row in rows if row.cells[0].sort == scenario)


def changed(run: Run, **fields: Any) -> Run:
    """The run with fields of the IPEX scenario's row changed, to be judged anew."""
    rows = tuple(
        dataclasses.replace(row, **fields) if row.scenario == IPEX else row for row in run.scenarios
    )
    return dataclasses.replace(run, scenarios=rows, speedups=())


def test_a_decided_row_says_only_what_it_rests_on(make_run: MakeRun) -> None:
    """Behind `ok`: rounds, launches and who stock tuned is."""
    cell = remark(make_run(only=FEW))
    assert cell.text == "ok"
    assert "24 rounds in 3 launches" in cell.fold
    assert "stock tuned is" in cell.fold


def test_one_process_is_said(make_run: MakeRun) -> None:
    """What processes differ by is then other scenarios', or assumed where those have one too."""
    run = make_run(only=FEW)
    calls = tuple(row for row in run.iterations if row.scenario != IPEX or row.launch == 0)
    cell = remark(dataclasses.replace(run, iterations=calls, speedups=()))
    assert cell.text == "one process"
    assert "8 rounds in 1 launch;" in cell.fold
    assert "other scenarios" in cell.fold
    cell = remark(make_run(only=FEW, launches=1, rounds=20))
    assert cell.text == "one process"
    assert "assumed" in cell.fold
    assert "other scenarios" not in cell.fold


def test_what_is_open_says_how_long_it_would_take(make_run: MakeRun) -> None:
    """As long as the longer of its two comparisons; the whole sentences are in the fold."""
    run = make_run(only=FEW, slow_ipex=1.085, spread=0.05, rounds=4, launches=2)
    found = [row for row in run.speedups if (row.scenario, row.verdict) == (IPEX, "inconclusive")]
    seconds = [row.seconds_to_decide for row in found if row.seconds_to_decide is not None]
    assert max(seconds) > 120
    cell = remark(run)
    assert cell.text == f"open: {round(max(seconds) / 60)} min more"
    assert all(row.reason and row.reason in cell.fold for row in found)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45.4, "open: 45 s more"), (130.0, "open: 2 min more"), (None, "open")],
)
def test_what_is_open_is_told_in_round_numbers(
    make_run: MakeRun, seconds: float | None, text: str
) -> None:
    """It is a guess; where nobody would wait so long, no time is named."""
    run = make_run(only=FEW)
    rows = tuple(
        dataclasses.replace(
            row, verdict="inconclusive", reason="it is wide", seconds_to_decide=seconds
        )
        if (row.scenario, row.baseline_kind) == (IPEX, "stock_default")
        else row
        for row in run.speedups
    )
    cell = remark(dataclasses.replace(run, speedups=rows))
    assert cell.text == text
    assert "it is wide" in cell.fold


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"percent_of_peak": 300.0}, "refused", "300 % of the peak"),
        ({"checked": False}, "not checked", "before its outputs, conditions and kernels"),
        ({"status": "crashed", "reason": "signal 11", "median_ms": None}, "crashed", "signal 11"),
    ],
)
def test_what_has_no_verdict_says_why(
    make_run: MakeRun, fields: dict[str, Any], text: str, reason: str
) -> None:
    """In a word, and the reason in the fold."""
    run = changed(make_run(only=FEW), **fields)
    cell = remark(run)
    assert cell.text == text
    assert reason in cell.fold
    assert cell.fold.count(reason) == 1
    row = Facts(run).speedup(IPEX, BaselineKind.STOCK_DEFAULT)
    assert row is not None
    assert row.verdict not in ("faster", "slower", "same")


@pytest.mark.parametrize("plan", [{"noisy": True}, {"disturbed": True}])
def test_a_group_that_cannot_be_believed_is_refused_row_by_row(
    make_run: MakeRun, plan: dict[str, Any]
) -> None:
    """Whether identical workers differed or other work left too little; its reason is folded."""
    run = make_run(only=FEW, **plan)
    for scenario in FEW:
        cell = remark(run, scenario)
        assert cell.text == "refused"
        own = {row.reason for row in run.speedups if row.scenario == scenario}
        assert any(reason and reason in cell.fold for reason in own)


def test_a_scenario_of_which_nothing_is_known_has_nothing_folded(make_run: MakeRun) -> None:
    """A fold that opens on a full stop would be a riddle."""
    run = changed(make_run(only=FEW), status="unavailable", rounds=0, launches=0)
    cell = remark(dataclasses.replace(run, iterations=()))
    assert (cell.text, cell.fold) == ("unavailable", "")


def test_reasons_in_the_fold_are_whole_and_escaped(make_run: MakeRun) -> None:
    """A reason comes from a worker, which runs anybody's model."""
    hostile = '<script>alert(1)</script> and "more" of it, to the end.'
    run = changed(make_run(only=FEW), status="crashed", reason=hostile, median_ms=None)
    page = build(run)
    assert page.count("<script") == 1
    table = page[page.index('id="table-speedups"') :]
    table = table[: table.index("</table>")]
    folds = re.findall(r'<details class="why"><summary>(.*?)</summary>(.*?)</details>', table)
    assert len(folds) == len(speedups(Facts(run), {}).rows)
    (fold,) = [text for name, text in folds if name == "crashed"]
    assert hostile.rstrip(".") in html.unescape(fold)
    assert "<" not in fold
    assert ".;" not in fold


def test_markdown_says_what_the_page_folds(make_run: MakeRun) -> None:
    """It has nothing to open."""
    run = changed(make_run(only=FEW), percent_of_peak=300.0)
    text = formats.markdown(Facts(run))
    (line,) = [one for one in text.splitlines() if one.startswith("|") and "refused" in one]
    assert "300 % of the peak" in line


def test_the_intervals_are_drawn_before_the_table(make_run: MakeRun) -> None:
    """A reader sees them first."""
    page = build(make_run(only=FEW))
    assert page.index("speedup over stock default (log scale)") < page.index('id="table-speedups"')


def test_a_page_fits_the_model_once(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many comparisons stand on it: that is what makes a page quick."""
    run = make_run(profile="standard", native_bf16=True, int8=True)
    assert len(run.scenarios) > 50
    run, _ = with_variable(run)  # what is varied is judged by the same model
    fits: list[int] = []
    fit = model.fit

    def counted(*arguments: Any) -> Any:
        fits.append(1)
        return fit(*arguments)

    monkeypatch.setattr(judge, "fit", counted)
    build(run)
    assert len(fits) == 1
