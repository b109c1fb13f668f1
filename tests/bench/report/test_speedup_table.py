"""The table of speedups: a short remark in each row, and all else folded behind it."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis import judge, noise_model
from bench.analysis.run_facts import Facts
from bench.plan.scenario import BaselineKind
from bench.report import build, formats
from bench.report.speedup_table import speedups
from tests.bench.calls import with_rows
from tests.bench.made_up_runs import DEFAULT_1, IPEX_1, THREE, MakeRun
from tests.bench.report.test_varied import with_variable
from tests.known import known

if TYPE_CHECKING:
    from bench.report.table import Cell
    from bench.store.records import Run


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Run:
    """Stock default, stock channels_last and IPEX_1, in which every question is decided."""
    return make_run(only=THREE)


def remark(run: Run, scenario: str = IPEX_1) -> Cell:
    """The last cell of a scenario's row."""
    rows = speedups(Facts(run), {}).rows
    return next(row.cells[-1] for row in rows if row.cells[0].sort == scenario)


def changed(run: Run, **fields: Any) -> Run:
    """The run with fields of the IPEX_1 scenario's row changed, to be judged anew."""
    return dataclasses.replace(with_rows(run, "scenarios", IPEX_1, **fields), speedups=())


def test_a_decided_row_folds_its_rounds_and_stock_tuned(run: Run) -> None:
    """The remark itself is `ok`."""
    cell = remark(run)
    assert cell.text == "ok"
    assert "24 rounds" in cell.fold
    assert "stock tuned is" in cell.fold


def test_stock_tuned_of_another_dtype_has_its_dtype(make_run: MakeRun) -> None:
    """Emulated bf16 is measured against stock default, which is fp32."""
    bf16 = DEFAULT_1.replace("fp32/contiguous", "bf16/channels_last")
    found = remark(make_run(only=(DEFAULT_1, bf16), native_bf16=False), bf16)
    assert "stock tuned is stock PyTorch eager (contiguous), in fp32" in found.fold
    assert ", in fp32" not in remark(make_run(only=THREE)).fold


def test_a_single_process_has_the_source_of_its_variance(run: Run, make_run: MakeRun) -> None:
    """How processes differ is taken from other scenarios, or assumed where those have one too."""
    calls = tuple(row for row in run.iterations if row.scenario != IPEX_1 or row.launch == 0)
    cell = remark(dataclasses.replace(run, iterations=calls, speedups=()))
    assert cell.text == "one process"
    assert "8 rounds" in cell.fold
    assert "other scenarios" in cell.fold
    cell = remark(make_run(only=THREE, launches=1, rounds=20))
    assert cell.text == "one process"
    assert "assumed" in cell.fold


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((45.4, None), "open: 45 s more"),
        ((130.0, 300.0), "open: 5 min more"),
        ((None, None), "open"),
    ],
)
def test_an_open_row_says_how_long_deciding_it_would_take(
    run: Run, seconds: tuple[float | None, ...], text: str
) -> None:
    """The longer of its two comparisons, in round numbers; nothing where it would take too long."""
    rows = [row for row in run.speedups if row.scenario != IPEX_1]
    mine = [row for row in run.speedups if row.scenario == IPEX_1]
    assert len(mine) == 2
    rows += [
        dataclasses.replace(row, verdict="inconclusive", reason=f"wide {n}", seconds_to_decide=one)
        for n, (row, one) in enumerate(zip(mine, seconds, strict=True))
    ]
    cell = remark(dataclasses.replace(run, speedups=tuple(rows)))
    assert cell.text == text
    assert "wide 0; wide 1" in cell.fold


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"percent_of_peak": 300.0}, "refused", "300 %"),
        ({"checked": False}, "not checked", "kernels"),
        ({"status": "crashed", "reason": "signal 11", "median_ms": None}, "crashed", "signal 11"),
    ],
)
def test_no_verdict_has_its_reason(
    run: Run, fields: dict[str, Any], text: str, reason: str
) -> None:
    """In a word, and the reason in the fold; Markdown, which cannot fold, has both."""
    run = changed(run, **fields)
    cell = remark(run)
    assert cell.text == text
    assert cell.fold.count(reason) == 1
    row = known(Facts(run).speedup(IPEX_1, BaselineKind.STOCK_DEFAULT))
    assert row.verdict not in ("faster", "slower", "same")
    lines = formats.markdown(Facts(run)).splitlines()
    assert [one for one in lines if one.startswith("|") and text in one and reason in one]


@pytest.mark.parametrize("plan", [{"noisy": True}, {"disturbed": True}])
def test_every_row_of_an_invalid_group_is_refused(make_run: MakeRun, plan: dict[str, Any]) -> None:
    """Whether identical workers differed or other work left too little."""
    run = make_run(only=THREE, **plan)
    for scenario in THREE:
        cell = remark(run, scenario)
        assert cell.text == "refused"
        own = {row.reason for row in run.speedups if row.scenario == scenario}
        assert any(reason and reason in cell.fold for reason in own)


def test_a_scenario_of_which_nothing_is_known_folds_nothing(run: Run) -> None:
    """A fold with only a full stop would be useless."""
    unknown = changed(run, status="unavailable", rounds=0, launches=0)
    cell = remark(dataclasses.replace(unknown, iterations=()))
    assert (cell.text, cell.fold) == ("unavailable", "")


def test_reasons_in_the_fold_are_whole_and_escaped(run: Run) -> None:
    """A reason comes from a worker, which runs any model."""
    hostile = '<script>alert(1)</script> and "more" of it, to the end.'
    page = build(changed(run, status="crashed", reason=hostile, median_ms=None))
    assert page.count("<script") == 1
    chart, table = page[: page.index("</table>")].split('id="table-speedups"')
    assert "speedup over stock default (log scale)" in chart  # a reader sees it first
    folds = re.findall(r'<details class="why"><summary>(.*?)</summary>(.*?)</details>', table)
    assert len(folds) == len(THREE) + 1
    (fold,) = [text for name, text in folds if name == "crashed"]
    assert hostile.rstrip(".") in html.unescape(fold)
    assert "<" not in fold
    assert ".;" not in fold


def test_a_page_fits_the_model_once(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many comparisons are on it, varied scenarios included: that makes a page quick."""
    run, _ = with_variable(make_run(profile="standard", native_bf16=True, int8=True))
    assert len(run.scenarios) > 50
    fits: list[int] = []
    fit = noise_model.fit

    def counted(*arguments: Any) -> Any:
        fits.append(1)
        return fit(*arguments)

    monkeypatch.setattr(judge, "fit", counted)
    build(run)
    assert len(fits) == 1
