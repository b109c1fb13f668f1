"""The page of an inspection: counts, the worst first, reasons, and nothing that is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pillqc.data.marker import RESULTS, own_output
from pillqc.errors import PillqcError
from pillqc.inspection.boxes import Box
from pillqc.inspection.inspector import Inspection
from pillqc.inspection.tray_page import TrayPage
from tests.pillqc.command import run

if TYPE_CHECKING:
    from click.testing import Result

pytestmark = pytest.mark.torch


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph."""
    path = tmp_path / "pill.png"
    Image.fromarray(np.full((32, 40, 3), 128, np.uint8)).save(path)
    return path


def result(path: Path, decision: Any, probability: float | None, **changes: Any) -> Inspection:
    """Make a result for a file."""
    heat = None if decision == "error" else np.zeros((32, 40), np.float32)
    return Inspection(
        path=path, decision=decision, probability_bad=probability, heat=heat, **changes
    )


def written(path: Path, results: list[Inspection], **options: Any) -> str:
    """Write a page and return it."""
    page = TrayPage(path, **options)
    for one in results:
        assert page.add(one) is one
    page.write(["model m, threshold 0.5"])
    return path.read_text(encoding="utf-8")


def test_counts_and_the_worst_first(photo: Path, tmp_path: Path) -> None:
    """Good pills are counted only; bad ones beyond the limit are, too."""
    box = Box(left=1, top=2, right=9, bottom=9, score=0.7, area=0.1)
    results = [result(photo, "good", 0.01)] * 3
    results += [result(photo, "bad", p, boxes=(box,)) for p in (0.6, 0.9, 0.7, 0.8)]
    results.append(result(photo, "undecided", 0.4, unlike="colour 0.0"))
    html = written(tmp_path / "tray.html", results, most=2)
    assert re.findall(r"probability of bad (0\.\d+), (\d) box", html) == [
        ("0.400", "0"),
        ("0.900", "1"),
        ("0.800", "1"),
    ]
    counts = {word: int(number) for number, word in re.findall(r"<b>(\d+)</b> ([a-z ]+)<", html)}
    assert counts == {"bad": 4, "undecided": 1, "good": 3, "not decided": 0, "in all": 8}
    assert html.count("data:image/jpeg;base64,") == 3
    assert "2 more" in html
    assert "colour 0.0" in html


def test_what_was_not_decided_has_its_reason(photo: Path, tmp_path: Path) -> None:
    """A file that was not looked at, too; the names of files are escaped."""
    hostile = photo.with_name("<img src=x onerror=alert(1)>.png")
    results = [
        result(hostile, "error", None, reason="truncated"),
        result(Path("notes.txt"), "error", None, reason="no image", looked_at=False),
        result(hostile, "bad", 0.9, defects={"<b>crack": 0.93, "scratch": 0.1}),
    ]
    html = written(tmp_path / "tray.html", results)
    assert "<img src=x" not in html
    assert "truncated" in html
    assert "most likely &lt;b&gt;crack" in html
    assert "notes.txt" in html
    assert "no picture: " in html
    assert not re.search(r"(src|href)=\"(?!data:)", html)


def test_a_page_in_the_tray_is_no_input(photo: Path, tmp_path: Path) -> None:
    """It is known by its mark, as a picture is."""
    page = tmp_path / "tray.html"
    assert not page.exists()
    assert done("inspect", tmp_path, "--html", page).exit_code == 0
    assert own_output(page) == RESULTS
    assert "UNTRAINED" in page.read_text()
    again = done("inspect", tmp_path, "--html", page)
    assert again.exit_code == 0, again.output
    assert "in all" in page.read_text()
    assert photo.name in page.read_text() or "good" in page.read_text()


def done(*arguments: object) -> Result:
    """Run pillqc with a small random model."""
    return run(*arguments, "--model", "random", "--size", 32)


def test_a_page_that_cannot_be_written_fails_at_once(tmp_path: Path) -> None:
    """Before anything is inspected."""
    (tmp_path / "no").touch()
    with pytest.raises(PillqcError, match="cannot be written"):
        TrayPage(tmp_path / "no" / "folder.html")


def test_an_inspection_that_was_cut_leaves_no_page_and_an_earlier_one_as_it_was(
    tmp_path: Path,
) -> None:
    """Nor any other file in the folder."""
    page = tmp_path / "tray.html"
    TrayPage(page).add(result(tmp_path, "error", None, reason="x"))
    assert not [*tmp_path.glob("*.html"), *tmp_path.glob(".pillqc*")]
    page.write_text("of yesterday")
    TrayPage(page).add(result(tmp_path, "error", None, reason="x"))
    assert page.read_text() == "of yesterday"
