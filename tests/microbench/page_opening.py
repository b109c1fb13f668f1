"""Time how long a page takes to open in Chromium until it is loaded, drawn and sorts a table.

\b
PYTHONPATH=. python tests/microbench/page_opening.py                    # 252 scenarios, made up
PYTHONPATH=. python tests/microbench/page_opening.py reports/RUN.html

Run nothing else on the machine. Each time is a new browser context that opens the file on disk.
docs/report.md has the figures; `make test` counts elements and bytes instead.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.report import build
from tests.bench.made_up_rows import Plan
from tests.bench.made_up_runs import build_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MARKS = """() => {
    const [opened] = performance.getEntriesByType("navigation");
    const [painted] = performance.getEntriesByName("first-contentful-paint");
    const began = performance.now();
    document.querySelector("#table-speedups thead button")?.click();
    document.body.getBoundingClientRect();
    return {
        "first paint": painted?.startTime ?? NaN,
        "read and laid out": opened.domContentLoadedEventEnd,
        "loaded": opened.loadEventEnd,
        "one sort of the largest table": performance.now() - began,
    };
}"""


def large_page(folder: Path) -> Path:
    """Write the page of the tests' made-up full run."""
    run = build_run(
        Plan(profile="full", int8=True, environments=("torch-latest",), launches=5, rounds=20)
    )
    path = folder / "large.html"
    path.write_text(build(run), encoding="utf-8")
    click.echo(f"{len(run.scenarios)} scenarios, {path.stat().st_size / 1e6:.2f} MB")
    return path


def opened(browser: Browser, path: Path) -> dict[str, float]:
    """Open the page; return milliseconds from the start of the navigation to each mark."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.goto(path.absolute().as_uri(), wait_until="load")
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
        marks: dict[str, float] = page.evaluate(MARKS)
        return marks
    finally:
        context.close()


@click.command()
@click.argument("page", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--times", type=click.IntRange(min=1), default=7, show_default=True)
def main(page: Path | None, times: int) -> None:
    """Print the median and the worst of these openings."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = page or large_page(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        found = [opened(browser, path) for _ in range(times)]
        browser.close()
    for name in found[0]:
        readings = [marks[name] for marks in found]
        click.echo(f"{name:30} {statistics.median(readings):6.0f} ms, worst {max(readings):.0f} ms")


if __name__ == "__main__":
    main()
