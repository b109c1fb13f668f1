"""The page in a real browser: what people see and do, at phone and desktop width."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import build, build_comparison, write_report
from bench.report.index import render_index
from bench.report.wording import times

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from bench.records import Run

pytestmark = pytest.mark.browser

WIDTHS = (360, 390, 1280)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; without it these tests skip, and fail where CI must have it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is not installed, and CI must have it (apt install chromium)")
        pytest.skip("Chromium is not installed")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Run], mishaps: Any) -> Run:
    """A run with something of everything."""
    return make_run(faults=mishaps, notes=("The budget allowed 2 of 3 launches.",))


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page on disk."""
    path = tmp_path_factory.mktemp("report") / "page.html"
    write_report(run, path)
    return path


@pytest.fixture
def open_page(browser: Browser, report: Path) -> Iterator[Open]:
    """Opens the report, and fails the test if the page asks for, logs or throws anything."""
    contexts = []
    trouble: list[str] = []

    def open_it(width: int = 1280, path: Path = report, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("request", lambda request: requests.append(request.url))
        requests: list[str] = []
        page.goto(path.as_uri())
        trouble.extend(url for url in requests if url != path.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_never_scrolls_sideways(open_page: Open, width: int, scheme: str) -> None:
    """At any width, with everything opened; wide tables scroll within themselves."""
    page = open_page(width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_first_screen_holds_question_machine_and_answer(open_page: Open) -> None:
    """A busy reader need not scroll to decide."""
    page = open_page()
    for selector in ("h1", ".machine", ".lead", "#answer-latency", "#answer-throughput"):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, selector


def test_speedup_cells_hold_what_the_rows_hold(open_page: Open, run: Run) -> None:
    """Each scenario's line in the table shows its two speedups and its status."""
    page = open_page()
    cells = page.locator("#table-speedups tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => [cell.dataset.sort, cell.innerText]))"
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
    form.locator("select").first.select_option("training")
    visible = page.locator("#table-speedups tbody tr:visible")
    expected = [
        row
        for row in run.scenarios
        if (row.backend, row.dtype, row.task) == ("ipex", "bf16", "training")
    ]
    assert visible.count() == len(expected)
    assert form.locator("output").inner_text().startswith(f"{len(expected)} of ")


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
    browser: Browser, make_run: Callable[..., Run], tmp_path: Path, open_page: Open
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["run", "several", "index"])
def test_axe_finds_nothing_against_any_page(
    open_page: Open,
    make_run: Callable[..., Run],
    save: Any,
    tmp_path: Path,
    kind: str,
    scheme: str,
) -> None:
    """The rules of WCAG 2.1 A and AA as axe-core checks them, with everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    run = make_run(profile="smoke", rounds=3)
    save(run, tmp_path / "results" / "a")
    path = tmp_path / "page.html"
    path.write_text(
        {
            "run": lambda: build(run),
            "several": lambda: build_comparison([run, run]),
            "index": lambda: render_index(tmp_path / "results", tmp_path),
        }[kind]()
    )
    page = open_page(path=path, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    only = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = axe.Axe().run(page, options={"runOnly": only})
    problems = [
        (item["id"], item["nodes"][0]["html"][:200]) for item in found.response["violations"]
    ]
    assert problems == []
