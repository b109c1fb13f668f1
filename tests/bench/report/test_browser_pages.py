"""Every kind of page in a real browser: one run, several runs, all runs, a very large run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import build, build_comparison
from bench.report.index import render_index
from bench.report.table import Cell, Row, Table, number
from bench.store.records import read_run
from bench.studies import page as study
from bench.text.wording import times

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from bench.store.records import Run

pytestmark = pytest.mark.browser

KINDS = ("run", "several", "index", "study")
STUDY = study.Page(
    title="Where the time goes",
    lead=("The model takes 98 % of the way from disk to a decision.",),
    tables=(
        Table(
            name="stages",
            caption="One image, from disk to its decision",
            columns=("Stage", "Stock", "IPEX", "Over stock", "Verdict"),
            rows=tuple(
                Row(
                    cells=(
                        Cell(text=f"a stage with a rather long name, number {place}"),
                        number("1,234.5 ms", 1234.5),
                        number("1,001.0 ms", 1001.0),
                        number(times(1.23), 1.23),
                        Cell(text="", verdict=verdict),
                    )
                )
                for place, verdict in enumerate(("faster", "slower", "same", "inconclusive"))
            ),
            numeric=(1, 2, 3),
        ),
    ),
    remarks=("A remark on how to read this.",),
)
Open = Callable[..., "Page"]

MOST_NODES = 60_000
"""Elements of the largest page: reading and laying out take time in proportion to them, so this is
what keeps opening within a second, and no clock has to decide a test."""


@pytest.fixture(scope="module")
def runs(make_run: Callable[..., Run]) -> list[Run]:
    """One machine measured twice, and another machine."""
    first = make_run(profile="smoke", rounds=3)
    return [
        _as(first, "20260101T000000Z-a", "m6i.4xlarge"),
        _as(make_run(profile="smoke", rounds=3, seed=9), "20260201T000000Z-a", "m6i.4xlarge"),
        _as(
            make_run(profile="smoke", rounds=3, native_bf16=True),
            "20260301T000000Z-b",
            "m7i.xlarge",
        ),
    ]


def _as(run: Run, run_id: str, machine: str) -> Run:
    described = {**run.environment["machine"], "instance_type": machine, "fingerprint": machine}
    environment = {
        **run.environment,
        "run_id": run_id,
        "started_utc": f"{run_id[:4]}-{run_id[4:6]}-01T00:00:00Z",
        "machine": described,
    }
    return dataclasses.replace(run, environment=environment)


@pytest.fixture(scope="module")
def pages(runs: list[Run], save: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind on disk."""
    folder = tmp_path_factory.mktemp("pages")
    for run in runs:
        save(run, folder / "results" / str(run.environment["run_id"]))
    made = {
        "run": build(runs[0]),
        "several": build_comparison(runs),
        "index": render_index(folder / "results", folder),
        "study": study.render(STUDY, folder, runs[0].environment),
    }
    for kind, content in made.items():
        (folder / f"{kind}.html").write_text(content, encoding="utf-8")
    return {kind: folder / f"{kind}.html" for kind in made}


@pytest.fixture(scope="module")
def report(pages: dict[str, Path]) -> Path:
    """What `open_page` opens unless told."""
    return pages["run"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "light")])
def test_no_page_scrolls_sideways(
    open_page: Open, pages: dict[str, Path], kind: str, width: int, scheme: str
) -> None:
    """On a phone as on a desk, with everything opened; no error, no request (`open_page`)."""
    page = open_page(width, path=pages[kind], color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_follows_the_readers_scheme_and_prints_white(
    open_page: Open, pages: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    """Dark where that is the setting; paper is white all the same and has no controls."""
    page = open_page(path=pages[kind], color_scheme="dark")
    assert max(_background(page)) < 60
    page.emulate_media(media="print")
    assert min(_background(page)) > 240
    assert page.locator("form.filter:visible").count() == 0
    assert page.pdf(path=str(tmp_path / "page.pdf"), format="A4").startswith(b"%PDF")


def _background(page: Page) -> list[int]:
    colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return [int(part) for part in re.findall(r"\d+", colour)[:3]]


def _column(page: Page, selector: str, column: int) -> list[float]:
    values = page.locator(f"{selector} tbody tr").evaluate_all(
        f"rows => rows.map(row => row.cells[{column}].dataset.sort ?? '')"
    )
    return [float(value) for value in values if value]


def test_several_runs_sort_by_any_machine(open_page: Open, pages: dict[str, Path]) -> None:
    """A header of a machine sorts by its own speedups."""
    page = open_page(path=pages["several"])
    button = page.locator("#table-speedupsstock_default thead button").nth(1)
    button.click()
    values = _column(page, "#table-speedupsstock_default", 1)
    assert len(values) > 5
    assert values == sorted(values, reverse=True)
    button.press("Enter")
    assert _column(page, "#table-speedupsstock_default", 1) == sorted(values)


def test_several_runs_filter_by_dtype_and_batch(open_page: Open, pages: dict[str, Path]) -> None:
    """The same choices as on the page of one run."""
    page = open_page(path=pages["several"])
    form = page.locator('.table[data-name="speedupsstock_default"] form')
    form.locator("select[data-filter=dtype]").select_option("bf16")
    shown = page.locator("#table-speedupsstock_default tbody tr:visible")
    names = shown.evaluate_all("rows => rows.map(row => row.cells[0].dataset.sort)")
    assert names
    assert all("/bf16/" in name for name in names)
    form.locator("select[data-filter=task]").select_option("inference")
    assert shown.count() < len(names)


def test_several_runs_show_what_the_rows_hold(
    open_page: Open, pages: dict[str, Path], runs: list[Run]
) -> None:
    """Each machine's column holds that run's own speedup of the scenario."""
    page = open_page(path=pages["several"])
    cells = page.locator("#table-speedupsstock_default tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => [cell.dataset.sort, cell.innerText]))"
    )
    assert cells
    for name, *columns in cells:
        for run, (value, text) in zip(runs, columns, strict=True):
            row = next(
                row
                for row in run.speedups
                if (row.scenario, row.baseline_kind) == (name[0], "stock_default")
            )
            assert row.speedup is not None
            assert float(value) == row.speedup
            assert text.startswith(times(row.speedup))


def test_index_sorts_runs_and_shows_the_history_of_each_machine(
    open_page: Open, pages: dict[str, Path]
) -> None:
    """The newest first; by a header in another order; one drawing for each scenario run twice."""
    page = open_page(path=pages["index"])
    started = "rows => rows.map(row => row.cells[1].dataset.sort)"
    rows = page.locator("#table-runs tbody tr")
    times_ = rows.evaluate_all(started)
    assert times_ == sorted(times_, reverse=True)
    page.locator("#table-runs thead button").nth(1).click()
    assert rows.evaluate_all(started) == sorted(times_)
    assert page.locator("#machine0 svg").count() > 5


@pytest.mark.parametrize(
    ("table", "file", "columns"),
    [
        (
            "timings",
            "scenarios",
            {
                1: "batch_size",
                2: "median_ms",
                3: "p90_ms",
                4: "p99_ms",
                5: "images_per_s",
                6: "gflop_per_s",
                7: "percent_of_peak",
            },
        ),
        (
            "costs",
            "scenarios",
            {
                1: "import_s",
                2: "prepare_s",
                3: "first_call_ms",
                4: "warmup_iterations",
                6: "peak_rss_mb",
            },
        ),
        ("money", "scenarios", {1: "images_per_s", 4: "joules_per_image"}),
        (
            "parity",
            "parity",
            {
                1: "max_abs_error",
                2: "tolerance",
                3: "max_abs_map_error",
                4: "decisions_changed",
                5: "images",
                6: "accuracy",
                7: "recall_bad",
            },
        ),
    ],
)
def test_numbers_of_every_table_are_those_of_the_csv(
    open_page: Open,
    pages: dict[str, Path],
    runs: list[Run],
    table: str,
    file: str,
    columns: dict[int, str],
) -> None:
    """Read from the run's files again and held against the cells in the browser."""
    folder = pages["run"].parent / "results" / str(runs[0].environment["run_id"])
    rows = {row.scenario: row for row in getattr(read_run(folder), file)}
    page = open_page()
    cells = page.locator(f"#table-{table} tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.dataset.sort ?? null))"
    )
    assert len(cells) > 5
    for line in cells:
        for column, field in columns.items():
            value = getattr(rows[line[0]], field)
            shown = None if line[column] is None else float(line[column])
            assert shown == value, (line[0], field)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_against_any_page(
    open_page: Open, pages: dict[str, Path], kind: str, scheme: str
) -> None:
    """The rules of WCAG 2.1 A and AA as axe-core checks them, with everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(path=pages[kind], color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    only = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = axe.Axe().run(page, options={"runOnly": only})
    problems = [
        (item["id"], item["nodes"][0]["html"][:200]) for item in found.response["violations"]
    ]
    assert problems == []


def test_page_of_two_hundred_scenarios_stays_small_enough_to_open_at_once(
    open_page: Open, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    """Bytes to read, elements to lay out, and nothing that a script rebuilds: no clock decides."""
    run = make_run(profile="full", int8=True, environments=("torch-latest",), launches=5, rounds=20)
    assert len(run.scenarios) >= 200
    path = tmp_path / "large.html"
    path.write_text(build(run), encoding="utf-8")
    assert path.stat().st_size < 3_000_000
    page = open_page(path=path)
    assert page.evaluate("document.querySelectorAll('*').length") < MOST_NODES
    assert page.locator("#table-speedups tbody tr").count() > len(run.scenarios)
    plain = open_page(path=path, java_script_enabled=False)
    assert plain.locator("#scenarios > details").count() == len(run.scenarios)
