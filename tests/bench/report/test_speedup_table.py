"""The table of speedups: a short remark in each row, and everything else behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis import judge, model
from bench.records import Run
from bench.report import build, tables
from bench.report.facts import Facts

if TYPE_CHECKING:
    from bench.report.tables import Cell

MakeRun = Callable[..., Run]
DEFAULT = "inference/stock/eager/fp32/contiguous/b1"
LAST = "inference/stock/eager/fp32/channels_last/b1"
IPEX = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"
FEW = (DEFAULT, LAST, IPEX)


def remark(run: Run, scenario: str = IPEX) -> Cell:
    """The last cell of a scenario's row."""
    rows = tables.speedups(Facts(run), {}).rows
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
    """What processes differ by is then other scenarios'."""
    cell = remark(make_run(only=FEW, launches=1, rounds=20))
    assert cell.text == "one process"
    assert "other scenarios" in cell.fold


def test_what_is_open_says_how_long_it_would_take(make_run: MakeRun) -> None:
    """The whole sentence is in the fold."""
    cell = remark(make_run(only=FEW, slow_ipex=1.085, spread=0.05, rounds=4, launches=2))
    assert cell.text.startswith("open: ")
    assert cell.text.endswith(" more")
    assert "would tell" in cell.fold


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"percent_of_peak": 300.0}, "refused"),
        ({"checked": False}, "not checked"),
        ({"status": "crashed", "reason": "signal 11", "median_ms": None}, "crashed"),
    ],
)
def test_what_has_no_verdict_says_why(make_run: MakeRun, fields: dict[str, Any], text: str) -> None:
    """In a word, and the reason in the fold."""
    cell = remark(changed(make_run(only=FEW), **fields))
    assert cell.text == text
    assert len(cell.fold) > len(text)


def test_reasons_in_the_fold_are_escaped(make_run: MakeRun) -> None:
    """A reason comes from a worker, which runs anybody's model."""
    hostile = "<script>alert(1)</script>"
    page = build(changed(make_run(only=FEW), status="crashed", reason=hostile, median_ms=None))
    assert hostile not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_intervals_are_drawn_before_the_table(make_run: MakeRun) -> None:
    """A reader sees them first."""
    page = build(make_run(only=FEW))
    assert page.index("speedup over stock default (log scale)") < page.index('id="table-speedups"')


def test_a_page_fits_the_model_once(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many comparisons stand on it: that is what makes a page quick."""
    run = make_run(profile="standard", native_bf16=True, int8=True)
    fits: list[int] = []
    fit = model.fit

    def counted(*arguments: Any) -> Any:
        fits.append(1)
        return fit(*arguments)

    monkeypatch.setattr(judge, "fit", counted)
    build(run)
    assert len(fits) == 1
