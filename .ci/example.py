"""Make docs/example/report.html and docs/images/report.png from one run: `make example RUN=...`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Copy the run's page, take the picture of its first screen, print the terminal's text."""
    run = (
        Path(sys.argv[1])
        if len(sys.argv) > 1
        else max((ROOT / "results").glob("*/environment.json")).parent
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench", "report", str(run), "--reports", folder]
        subprocess.run(command, cwd=ROOT, check=True)
        page = next(path for path in Path(folder).glob("*.html") if path.name != "index.html")
        shutil.copy(page, ROOT / "docs" / "example" / "report.html")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
            shown = browser.new_page(viewport={"width": 1280, "height": 900})
            shown.goto(page.as_uri())
            shown.screenshot(path=ROOT / "docs" / "images" / "report.png")
            browser.close()


main()
