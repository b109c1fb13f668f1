"""A study's page and text: escaped, self-contained, and the same for the same files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.report.table import Cell, Row, Table, number
from bench.store import records
from bench.studies import page as pages
from bench.studies import stages
from bench.studies.page import REASON, Page
from tests.bench.command import bench

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
    (few,) = pages.warnings({"complete": True, "noisy_share": 1 / 300})
    assert few == "0.33 % of the rounds were not quiet."


def test_the_terminal_shows_the_same_table() -> None:
    """Numbers under their column, the verdict as a word."""
    lines = pages.text(PAGE, {"complete": True}).splitlines()
    assert any("What" in line and "Value" in line for line in lines)
    assert any(line.rstrip().endswith("faster") for line in lines)


def test_the_command_can_be_typed_again(tmp_path: Path) -> None:
    """A shell would take an unquoted pattern for files, and a path with a space for two."""
    command = ["bench", "stages", "--only", "inference/*/b1", "--data", "my pills"]
    html = pages.render(PAGE, tmp_path, {**ENVIRONMENT, "command": command})
    assert "bench stages --only &#39;inference/*/b1&#39; --data &#39;my pills&#39;" in html


def test_the_terminal_has_the_reasons_below_the_table() -> None:
    """A column of a terminal would be too wide for them."""
    failed, ok = (
        Row(cells=(Cell(text=name), Cell(text=status, note=why)))
        for name, status, why in (("a", "crashed", "killed by SIGKILL"), ("b", "ok", ""))
    )
    table = Table(name="t", caption="", columns=("What", REASON), rows=(failed, ok))
    text = pages.text(replace(PAGE, tables=(table,)), {"complete": True})
    assert "  a: killed by SIGKILL" in text.splitlines()
    assert "b:" not in text


@pytest.mark.parametrize("study", ["operators", "stages", "instances", "load", "accuracy"])
@pytest.mark.parametrize("kept", [{"study": "suite"}, {}])
def test_the_page_of_another_study_is_not_made_again(
    tmp_path: Path, study: str, kept: dict[str, str]
) -> None:
    """It would say that nothing was measured; a run's folder is no study's either."""
    (tmp_path / "other").mkdir()
    records.write_environment(tmp_path / "other", kept)
    done = bench(study, "--again", tmp_path / "other", "--reports", tmp_path / "pages")
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert f"not of bench {study}" in done.stderr
    assert not (tmp_path / "pages").exists()


@pytest.mark.parametrize(
    ("command", "idle"),
    [
        ("load --again {0} --bound-ms 100", "--bound-ms"),
        ("suite --again {0} --budget 300", "--budget"),
        ("suite --resume {0} --only vgg16", "--only"),
        ("tutorial --resume {0} --data pills", "--data"),
        ("tutorial --again {0} --seed 3", "--seed"),
    ],
)
def test_what_would_change_nothing_is_refused(tmp_path: Path, command: str, idle: str) -> None:
    """The page is of what was measured, and of its own settings."""
    done = bench(*command.format(tmp_path).split())
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert f"leave {idle} out" in done.stderr


def test_an_interrupted_study_has_a_page_and_the_exit_code_of_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows it in a script does not run; its page made again is a success."""

    def measure(_request: object) -> Path:
        folder = tmp_path / "s"
        records.write_environment(folder, {"study": "stages", "interrupted": True})
        return folder

    monkeypatch.setattr(stages, "measure", measure)
    (tmp_path / "s").mkdir()
    where = ["--reports", tmp_path / "pages"]
    assert bench("stages", "--data", tmp_path, *where).exit_code == 130
    assert (tmp_path / "pages" / "stages" / "s.html").exists()
    assert bench("stages", "--again", tmp_path / "s", *where).exit_code == 0
