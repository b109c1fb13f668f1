"""Every kind of page in a real browser: one run, several runs, all runs, a study, a large run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.report import build, build_comparison
from bench.report.index import render_index
from bench.report.table import Cell, Row, Table, number
from bench.store.records import read_run
from bench.studies import page as study
from bench.text.wording import times
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

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.records import Run
    from tests.bench.made_up_runs import MakeRun

pytestmark = pytest.mark.browser

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
MOST_NODES = 60_000
"""Elements of the largest page: reading and laying out take time in proportion to them, so this is
what keeps opening within a second, and no clock has to decide a test."""
FOLD_ALL_BUT_SOME = """document.querySelectorAll('#scenarios > details:nth-of-type(n + 5)')
    .forEach(one => { one.open = false })"""
"""Entries of scenarios have one template, and axe takes time in proportion to what is visible."""


@pytest.fixture(scope="module")
def runs(make_run: MakeRun) -> list[Run]:
    """One machine measured twice, and another machine."""
    return [
        _as(make_run(profile="smoke", rounds=3), "20260101T000000Z-a", "m6i.4xlarge"),
        _as(make_run(profile="smoke", rounds=3, seed=9), "20260201T000000Z-a", "m6i.4xlarge"),
        _as(make_run(profile="smoke", rounds=3, native_bf16=True), "20260301T000000Z-b", "m7i.xl"),
    ]


def _as(run: Run, run_id: str, machine: str) -> Run:
    environment = {
        **run.environment,
        "run_id": run_id,
        "started_utc": f"{run_id[:4]}-{run_id[4:6]}-01T00:00:00Z",
        "machine": {
            **run.environment["machine"],
            "instance_type": machine,
            "fingerprint": machine,
        },
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
    """What `open_page` opens by default."""
    return pages["run"]


@pytest.mark.parametrize("kind", ["run", "several", "index", "study"])
def test_every_page_is_accessible_fits_any_width_and_prints_white(
    open_page: Open, pages: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    """The rules of WCAG 2.1 A and AA as axe-core checks them; on paper there are no controls."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(path=pages[kind], color_scheme="dark")
    unfold(page)
    assert [width for width in (390, 1280) if not fits(page, width)] == []
    assert brightness(page) < 0.05
    assert min(contrasts(page).values()) >= 4.5
    page.emulate_media(color_scheme="light")
    page.evaluate(FOLD_ALL_BUT_SOME)
    levels = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = axe.run(page, options={"runOnly": levels, "resultTypes": ["violations"]})
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []
    page.emulate_media(media="print")
    assert brightness(page) > 0.9
    assert page.locator("form.filter:visible").count() == 0
    assert page.pdf(path=str(tmp_path / "page.pdf"), format="A4").startswith(b"%PDF")


def test_several_runs_show_sort_and_filter_each_machines_own_speedups(
    open_page: Open, pages: dict[str, Path], runs: list[Run]
) -> None:
    """A column a run; its header sorts by it, and the choices are those of one run's page."""
    page = open_page(path=pages["several"])
    table = "speedupsstock_default"
    own = [
        {row.scenario: row.speedup for row in run.speedups if row.baseline_kind == "stock_default"}
        for run in runs
    ]
    shown = cells(page, table, "[cell.dataset.sort, cell.innerText]")
    assert len(shown) > 5
    for (name, _), *columns in shown:
        for speedups, (value, text) in zip(own, columns, strict=True):
            assert float(value) == speedups[name]
            assert text.startswith(times(speedups[name]))
    button = page.locator(f"#table-{table} thead button").nth(1)
    button.click()
    values = column(page, table, 1)
    assert values == sorted(values, reverse=True)
    button.press("Enter")
    assert column(page, table, 1) == sorted(values)
    form = page.locator(f'.table[data-name="{table}"] form')
    form.locator("select[data-filter=dtype]").select_option("bf16")
    visible = page.locator(f"#table-{table} tbody tr:visible")
    names = visible.evaluate_all("rows => rows.map(row => row.cells[0].dataset.sort)")
    assert names
    assert all("/bf16/" in name for name in names)
    form.locator("select[data-filter=task]").select_option("inference")
    assert visible.count() < len(names)


def test_the_index_has_each_machines_history(open_page: Open, pages: dict[str, Path]) -> None:
    """The newest first; by a header in another order; one drawing for each scenario run twice."""
    page = open_page(path=pages["index"])
    started = [row[1] for row in cells(page, "runs", "cell.dataset.sort")]
    assert started == sorted(started, reverse=True)
    page.locator("#table-runs thead button").nth(1).click()
    assert [row[1] for row in cells(page, "runs", "cell.dataset.sort")] == sorted(started)
    assert page.locator("#machine0 svg").count() > 5


COLUMNS = {
    "timings": {1: "batch_size", 2: "median_ms", 3: "p90_ms", 4: "p99_ms", 5: "images_per_s",
                6: "gflop_per_s", 7: "percent_of_peak"},
    "costs": {1: "import_s", 2: "prepare_s", 3: "first_call_ms", 4: "warmup_iterations",
              6: "peak_rss_mb"},
    "money": {1: "images_per_s", 4: "joules_per_image"},
    "parity": {1: "max_abs_error", 2: "tolerance", 3: "max_abs_map_error", 4: "decisions_changed",
               5: "images", 6: "accuracy", 7: "recall_bad"},
}  # fmt: skip
"""Table -> column -> field of scenarios.csv, for `parity` of parity.csv."""


def test_numbers_are_the_csvs(open_page: Open, pages: dict[str, Path], runs: list[Run]) -> None:
    """The run's files are read again and compared with the cells in the browser."""
    run = read_run(pages["run"].parent / "results" / str(runs[0].environment["run_id"]))
    page = open_page()
    for table, columns in COLUMNS.items():
        files: Any = run.parity if table == "parity" else run.scenarios
        rows = {row.scenario: row for row in files}
        shown = cells(page, table, "cell.dataset.sort ?? null")
        assert len(shown) > 5
        for line in shown:
            for place, field in columns.items():
                value = None if line[place] is None else float(line[place])
                assert value == getattr(rows[line[0]], field), (table, line[0], field)


def test_page_of_two_hundred_scenarios_stays_small_enough_to_open_at_once(
    open_page: Open, make_run: MakeRun, tmp_path: Path
) -> None:
    """Bytes to read, elements to lay out, and nothing that a script rebuilds: no clock decides."""
    full = matrix(PROFILES["full"], environments=("torch-latest",))
    only = tuple(dict.fromkeys(scenario.id for scenario in full))[:205]
    run = make_run(
        profile="full",
        int8=True,
        environments=("torch-latest",),
        launches=4,
        rounds=20,
        only=only,
    )
    assert len(run.scenarios) >= 200
    path = tmp_path / "large.html"
    path.write_text(build(run), encoding="utf-8")
    assert path.stat().st_size < 3_000_000
    page = open_page(path=path, java_script_enabled=False)
    assert page.locator("*").count() < MOST_NODES
    assert page.locator("#table-speedups tbody tr").count() > len(run.scenarios)
    assert page.locator("#scenarios > details").count() == len(run.scenarios)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert cut_texts(page) == []
