"""A study's page and text: escaped, self-contained, and the same for the same files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.table import Cell, Row, Table, number
from bench.studies import page as pages
from bench.studies.page import Page

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "<script>alert(1)</script>"
PAGE = Page(
    title="A study",
    lead=(f"Answer {EVIL}",),
    tables=(
        Table(
            name="t",
            caption="Numbers",
            columns=("What", "Value", "Verdict"),
            rows=(Row(cells=(Cell(text=EVIL), number("2", 2.0), Cell(text="", verdict="faster"))),),
            numeric=(1,),
        ),
    ),
    remarks=("A remark.",),
)
ENVIRONMENT = {
    "run_id": EVIL,
    "notes": [EVIL],
    "command": ["bench", "stages", EVIL],
    "complete": False,
    "noisy_share": 0.25,
}


def test_whatever_a_file_holds_stays_text(tmp_path: Path) -> None:
    """In every place of the page."""
    html = pages.render(PAGE, tmp_path, ENVIRONMENT)
    assert EVIL not in html
    assert html.count("&lt;script&gt;") >= 4
    assert "http://" not in html
    assert "https://" not in html


def test_what_makes_figures_less_comes_first(tmp_path: Path) -> None:
    """A study that was cut, and rounds that were not quiet."""
    text = pages.text(PAGE, ENVIRONMENT)
    assert text.startswith("! The study was cut")
    assert "25 % of the rounds were not quiet." in text
    assert "25 % of the rounds were not quiet." in pages.render(PAGE, tmp_path, ENVIRONMENT)
    assert pages.warnings({"complete": True, "noisy_share": 0.0}) == []


def test_the_terminal_shows_the_same_table() -> None:
    """Numbers under their column, the verdict as a word."""
    lines = pages.text(PAGE, {"complete": True}).splitlines()
    assert any("What" in line and "Value" in line for line in lines)
    assert any(line.rstrip().endswith("faster") for line in lines)
