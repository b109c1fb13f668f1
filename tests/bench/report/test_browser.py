"""The page in a real browser: what people see and do, at phone and desktop width."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import write_report
from bench.text.wording import times
from tests.bench.report.test_varied import renamed, with_variable

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from bench.store.records import Run

pytestmark = pytest.mark.browser

WIDTHS = (360, 390, 1280)
ASKED = ("latency", "throughput", "ipex", "training", "bf16", "int8", "decisions", "noise")
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Run], mishaps: Any) -> Run:
    """A run with something of everything."""
    return make_run(faults=mishaps, int8=True, notes=("The budget allowed 2 of 3 launches.",))


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page on disk."""
    path = tmp_path_factory.mktemp("report") / "page.html"
    write_report(run, path)
    return path


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_never_scrolls_sideways(open_page: Open, width: int, scheme: str) -> None:
    """At any width, with everything opened; wide tables scroll within themselves."""
    page = open_page(width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("native_bf16", [False, True])
def test_first_screen_holds_question_machine_warnings_and_every_answer(
    open_page: Open,
    make_run: Callable[..., Run],
    mishaps: Any,
    tmp_path: Path,
    native_bf16: bool,
) -> None:
    """A busy reader need not scroll to decide, even where there is much to warn of."""
    path = tmp_path / "page.html"
    note = (
        "The budget of 19 min allowed fewer than 3 launches of every group: less is seen of how "
        "processes differ; about 43 min should do (BUDGET=2580)."
    )
    run = make_run(faults=mishaps, int8=True, native_bf16=native_bf16, notes=(note,))
    varied, name = with_variable(run)
    write_report(renamed(varied, name, "heap=glibc", verdict="slower"), path)
    page = open_page(path=path)
    asked = (f"#answer-{key}" for key in (*ASKED, "surroundings"))
    for selector in ("h1", ".machine", ".warnings", ".lead", *asked):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, selector


def test_phone_shows_the_first_answer_without_scrolling(open_page: Open) -> None:
    """Warnings come first, and leave room for what they warn of."""
    page = open_page(390)
    box = page.locator("#answer-latency").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 844


def test_speedup_cells_hold_what_the_rows_hold(open_page: Open, run: Run) -> None:
    """Each scenario's line in the table shows its two speedups and its status."""
    page = open_page()
    cells = page.locator("#table-speedups tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => [cell.dataset.sort, cell.textContent]))"
    )
    shown = {row[0][0]: row for row in cells}
    rows = {(row.scenario, row.baseline_kind): row for row in run.speedups}
    for scenario in run.scenarios:
        line = shown[scenario.scenario]
        for kind, column in (("stock_default", 1), ("stock_tuned", 3)):
            row = rows.get((scenario.scenario, kind))
            if row is not None and row.speedup is not None:
                assert float(line[column][0]) == row.speedup
                assert line[column][1].startswith(times(row.speedup))
                assert row.verdict in line[column + 1][1]
        assert scenario.reason is None or scenario.reason in line[-1][1]


def _column(page: Page, table: str, column: int) -> list[float]:
    values = page.locator(f"#table-{table} tbody tr").evaluate_all(
        f"rows => rows.map(row => row.cells[{column}].dataset.sort ?? '')"
    )
    return [float(value) for value in values if value]


def test_header_sorts_largest_first_then_smallest_by_keyboard(open_page: Open) -> None:
    """A header is a button: Enter sorts, and the order is announced."""
    page = open_page()
    button = page.locator("#table-speedups thead button").nth(1)
    button.focus()
    button.press("Enter")
    values = _column(page, "speedups", 1)
    assert values == sorted(values, reverse=True)
    header = page.locator("#table-speedups thead th").nth(1)
    assert header.get_attribute("aria-sort") == "descending"
    button.press("Enter")
    values = _column(page, "speedups", 1)
    assert values == sorted(values)
    assert header.get_attribute("aria-sort") == "ascending"


def test_empty_cells_sort_last_both_ways(open_page: Open, run: Run) -> None:
    """What could not be measured never stands on top."""
    page = open_page()
    button = page.locator("#table-speedups thead button").nth(1)
    for _ in range(2):
        button.click()
        last = page.locator("#table-speedups tbody tr").last
        assert last.locator("td").first.get_attribute("data-sort") is None


def test_filter_shows_what_fits_and_counts_it(open_page: Open, run: Run) -> None:
    """Words and choices narrow the table together."""
    page = open_page()
    form = page.locator('.table[data-name="speedups"] form')
    form.locator("input").fill("ipex bf16")
    form.locator("select[data-filter=task]").select_option("training")
    visible = page.locator("#table-speedups tbody tr:visible")
    expected = [
        row
        for row in run.scenarios
        if (row.backend, row.dtype, row.task) == ("ipex", "bf16", "training")
    ]
    assert visible.count() == len(expected)
    assert form.locator("output").inner_text().startswith(f"{len(expected)} of ")


def test_choices_of_dtype_batch_and_backend_narrow_the_table(open_page: Open, run: Run) -> None:
    """By task, dtype and batch, each as a choice, and all together."""
    page = open_page()
    form = page.locator('.table[data-name="speedups"] form')
    rows = page.locator("#table-speedups tbody tr:visible")
    wanted = {"dtype": "bf16", "batch": "8", "backend": "ipex"}
    for name, value in wanted.items():
        form.locator(f"select[data-filter={name}]").select_option(value)
    expected = {
        row.scenario
        for row in run.scenarios
        if (row.dtype, row.batch_size, row.backend) == ("bf16", 8, "ipex")
    }
    shown = rows.evaluate_all("rows => rows.map(row => row.cells[0].dataset.sort)")
    assert set(shown) == expected
    assert len(shown) == len(expected) > 1
    for name in wanted:
        form.locator(f"select[data-filter={name}]").select_option("")
    assert rows.count() > len(run.scenarios)


def test_more_unfolds_what_an_answer_rests_on(open_page: Open) -> None:
    """The first screen is short because the rest is one key away."""
    page = open_page()
    fold = page.locator("#answer-bf16 details")
    assert not fold.locator("table").is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.locator("table").is_visible()


def test_link_of_a_scenario_opens_its_entry(open_page: Open) -> None:
    """From the table to the ratios in time order in one click."""
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


def _luminance(colour: str) -> float:
    channels = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


_COLOURS = """() => {
  const solid = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(colour) && colour !== 'transparent') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = {};
  for (const element of document.querySelectorAll('body *:not(script):not(svg *)')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const pair = getComputedStyle(element).color + '|' + solid(element);
    found[pair] = element.className || element.tagName;
  }
  for (const text of document.querySelectorAll('svg text')) {
    found[getComputedStyle(text).fill + '|' + solid(text.closest('div, figure'))] = 'svg text';
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_what_lies_behind_it(open_page: Open, scheme: str) -> None:
    """At least 4.5 to 1 (WCAG AA), in both schemes, drawings included."""
    page = open_page(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    pairs = page.evaluate(_COLOURS)
    assert len(pairs) > 5
    for pair, where in pairs.items():
        light, dark = sorted((_luminance(part) for part in pair.split("|")), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (pair, where)


def test_dark_scheme_is_dark(open_page: Open) -> None:
    """The page follows the reader's setting."""
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    light = open_page(color_scheme="light").evaluate(colour)
    dark = open_page(color_scheme="dark").evaluate(colour)
    assert _luminance(light) > 0.8
    assert _luminance(dark) < 0.05


def test_print_is_black_on_white_with_all_tables_and_no_controls(
    open_page: Open, tmp_path: Path
) -> None:
    """Paper has no dark mode, no buttons to press and nothing to unfold."""
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert _luminance(background) > 0.95
    assert not page.locator("form.filter").first.is_visible()
    assert page.locator("#table-timings").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#table-timings").is_visible()
    pdf = page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
    assert pdf.startswith(b"%PDF")


def test_focus_is_visible(open_page: Open) -> None:
    """Whoever moves by keyboard sees where they are; the first stop skips to the answer."""
    page = open_page()
    page.keyboard.press("Tab")
    focused = "document.activeElement"
    assert page.evaluate(f"{focused}.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"


def test_hostile_run_runs_nothing(
    make_run: Callable[..., Run], tmp_path: Path, open_page: Open
) -> None:
    """Script in names, reasons and machine stays text: no dialog, no error, no request."""
    import dataclasses

    script = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>"
    run = make_run(only=("inference/stock/eager/fp32/contiguous/b1",))
    rows = tuple(
        dataclasses.replace(row, scenario=row.scenario + script, status="crashed", reason=script)
        for row in run.scenarios
    )
    environment = {**run.environment, "machine": {"cpu_model": script}, "notes": [script]}
    path = tmp_path / "hostile.html"
    write_report(
        dataclasses.replace(
            run, scenarios=rows, environment=environment, speedups=(), iterations=()
        ),
        path,
    )
    page = open_page(path=path)
    assert page.title() != "owned"
    assert script in page.locator("body").inner_text()
