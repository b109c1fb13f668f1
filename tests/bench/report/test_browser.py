"""The page of one run in a real browser: what people see and do, at phone and desktop width."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import build
from bench.report.figures import Series, Span, grouped_bars, intervals
from bench.text.wording import times
from tests.bench.made_up_runs import DEFAULT_1
from tests.bench.report.browsing import (
    Open,
    brightness,
    cells,
    column,
    contrasts,
    cut_texts,
    fits,
    unfold,
)
from tests.bench.report.test_varied import renamed, with_variable

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from bench.store.records import Run
    from tests.bench.made_up_runs import MakeRun

pytestmark = pytest.mark.browser

ANSWERS = (
    "latency", "throughput", "ipex", "training", "bf16", "int8", "decisions", "noise",
    "surroundings",
)  # fmt: skip
NOTE = (
    "The budget of 19 min allowed fewer than 3 launches of every group: less is seen of how "
    "processes differ; about 43 min should do (BUDGET=2580)."
)


def eventful(make_run: MakeRun, mishaps: Any, **choices: Any) -> Run:
    """A run with something of everything: failures, warnings, int8 and a varied scenario."""
    run, name = with_variable(make_run(faults=mishaps, int8=True, notes=(NOTE,), **choices))
    return renamed(run, name, "heap=glibc", verdict="slower")


@pytest.fixture(scope="module")
def run(make_run: MakeRun, mishaps: Any) -> Run:
    """The run that the tests look at."""
    return eventful(make_run, mishaps)


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page on disk."""
    path = tmp_path_factory.mktemp("report") / "page.html"
    path.write_text(build(run), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_any_width_and_its_text_contrasts(open_page: Open, scheme: str) -> None:
    """With everything unfolded: no sideways scrolling, and 4.5 to 1 (WCAG AA) in both schemes."""
    page = open_page(color_scheme=scheme)
    assert brightness(page) > 0.8 if scheme == "light" else brightness(page) < 0.05
    unfold(page)
    found = contrasts(page)
    assert len(found) > 5
    assert {where: ratio for where, ratio in found.items() if ratio < 4.5} == {}
    assert [width for width in (360, 390, 1280) if not fits(page, width)] == []


def test_no_text_of_a_drawing_is_cut_off(open_page: Open) -> None:
    """At phone and desktop width, with everything unfolded."""
    page = open_page()
    unfold(page)
    assert page.locator("svg text").count() > 50
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert cut_texts(page) == []


@pytest.mark.parametrize("highest", [1.05, 1.6, 8.4, 11.9, 40.0])
def test_labels_of_the_first_figure_have_room(
    browser: Browser, tmp_path: Path, highest: float
) -> None:
    """In steps of a quarter its axis has labels of five characters."""
    span = Span(label="", kind="stock", estimate=highest, low=highest / 1.01, high=highest * 1.01)
    series = [Series(label="Stock tuned", kind="stock", spans=(span,))]
    drawn = [
        grouped_bars("bars", ["batch 1"], series, title="T", caption="C"),
        intervals("forest", [span], title="T", caption="C", margin=0.03, axis="speedup"),
    ]
    path = tmp_path / "drawings.html"
    path.write_text("".join(one.wide + one.narrow for one in drawn), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.locator("svg text").count() > 10
    assert cut_texts(page) == []
    page.close()


@pytest.mark.parametrize("native_bf16", [False, True])
def test_first_screen_shows_question_machine_warnings_and_every_answer(
    open_page: Open,
    make_run: MakeRun,
    mishaps: Any,
    report: Path,
    tmp_path: Path,
    native_bf16: bool,
) -> None:
    """A busy reader need not scroll to decide; on a phone the first answer is in view."""
    path = report
    if native_bf16:
        path = tmp_path / "page.html"
        run = eventful(make_run, mishaps, native_bf16=True)
        path.write_text(build(run), encoding="utf-8")
    page = open_page(path=path)

    def lower_edge(selector: str) -> float:
        box = page.locator(selector).bounding_box()
        assert box is not None, selector
        return box["y"] + box["height"]

    answers = [f"#answer-{key}" for key in ANSWERS]
    for selector in ("h1", ".machine", ".warnings", ".lead", *answers):
        assert lower_edge(selector) <= 900, selector
    page.set_viewport_size({"width": 390, "height": 844})
    assert lower_edge("#answer-latency") <= 844


def test_speedup_table_shows_the_rows_and_sorts_them_by_keyboard(open_page: Open, run: Run) -> None:
    """A header is a button; the order is announced; empty cells are last both ways."""
    page = open_page()
    shown = {
        row[0][0]: row for row in cells(page, "speedups", "[cell.dataset.sort, cell.textContent]")
    }
    rows = {(row.scenario, row.baseline_kind): row for row in run.speedups}
    for scenario in run.scenarios:
        if scenario.options == "heap=glibc":
            continue  # in a table of its own
        line = shown[scenario.scenario]
        for kind, place in (("stock_default", 1), ("stock_tuned", 3)):
            row = rows.get((scenario.scenario, kind))
            if row is not None and row.speedup is not None:
                assert float(line[place][0]) == row.speedup
                assert line[place][1].startswith(times(row.speedup))
                assert row.verdict in line[place + 1][1]
        assert scenario.reason is None or scenario.reason in line[-1][1]
    header = page.locator("#table-speedups thead th").nth(1)
    for order in ("descending", "ascending"):
        header.locator("button").press("Enter")
        assert header.get_attribute("aria-sort") == order
        values = column(page, "speedups", 1)
        assert values == sorted(values, reverse=order == "descending")
        assert cells(page, "speedups", "cell.dataset.sort ?? null")[-1][1] is None


def test_filters_narrow_the_table_together_and_count_its_rows(open_page: Open, run: Run) -> None:
    """Words, and the choices of task, backend, dtype and batch size."""
    page = open_page()
    form = page.locator('.table[data-name="speedups"] form')

    def visible() -> set[str]:
        rows = page.locator("#table-speedups tbody tr:visible")
        return set(rows.evaluate_all("rows => rows.map(row => row.cells[0].dataset.sort)"))

    def choose(**values: str) -> None:
        for name, value in values.items():
            form.locator(f"select[data-filter={name}]").select_option(value)

    every = visible()
    form.locator("input").fill("ipex bf16")
    choose(task="training")
    expected = {
        row.scenario
        for row in run.scenarios
        if (row.backend, row.dtype, row.task) == ("ipex", "bf16", "training")
    }
    assert visible() == expected
    assert form.locator("output").inner_text().startswith(f"{len(expected)} of ")
    form.locator("input").fill("")
    choose(task="", dtype="bf16", batch="8", backend="ipex")
    expected = {
        row.scenario
        for row in run.scenarios
        if (row.dtype, row.batch_size, row.backend) == ("bf16", 8, "ipex")
    }
    assert visible() == expected
    choose(dtype="", batch="", backend="")
    assert visible() == every


def test_page_works_by_keyboard(open_page: Open) -> None:
    """The first stop skips to the answer, focus is visible, and an answer unfolds."""
    page = open_page()
    focused = "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
    fold = page.locator("#answer-bf16 details")
    assert not fold.locator("table").is_visible()
    fold.locator("summary").press("Enter")
    assert fold.locator("table").is_visible()


def test_link_of_a_scenario_opens_its_entry(open_page: Open) -> None:
    """The table leads to the ratios in time order in one click."""
    page = open_page()
    link = page.locator("#table-speedups tbody a").nth(2)
    target = page.locator(str(link.get_attribute("href")))
    assert target.get_attribute("open") is None
    link.click()
    page.wait_for_function("element => element.open", arg=target.element_handle())
    assert target.locator("svg").first.is_visible()


def test_page_is_readable_without_script(open_page: Open) -> None:
    """Numbers, reasons and entries are there; only the filter is not shown."""
    page = open_page(java_script_enabled=False)
    assert page.locator("#table-speedups tbody tr").count() > 40
    assert not page.locator("form.filter").first.is_visible()
    page.locator("#scenarios summary").first.click()
    assert page.locator("#scenarios details[open] svg").first.is_visible()


def test_printing_unfolds_all_tables_and_folds_them_again(open_page: Open) -> None:
    """Paper has nothing to unfold."""
    page = open_page()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#table-timings").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#table-timings").is_visible()


def test_a_hostile_run_is_inert(make_run: MakeRun, tmp_path: Path, open_page: Open) -> None:
    """Script in names, reasons and machine stays text: no dialog, no error, no request."""
    script = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>"
    run = make_run(only=(DEFAULT_1,))
    rows = tuple(
        dataclasses.replace(row, scenario=row.scenario + script, status="crashed", reason=script)
        for row in run.scenarios
    )
    environment = {**run.environment, "machine": {"cpu_model": script}, "notes": [script]}
    path = tmp_path / "hostile.html"
    changes: Any = {"scenarios": rows, "environment": environment, "speedups": (), "iterations": ()}
    path.write_text(build(dataclasses.replace(run, **changes)), encoding="utf-8")
    page = open_page(path=path)
    assert page.title() != "owned"
    assert script in page.locator("body").inner_text()
