"""The counts in the table of the gate's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.microbench import gate_figures
from tests.microbench.gate_figures import Run, table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("part", "counted"),
    [
        ("clean", "1 / 2 / 1 / 1 | 3 | 2"),
        ("burner", "1 / 2 / 1 / 1 | 3 | 2"),
        ("twentieth", "1 / 2 / 1 / 1 | 3 | 1"),
        ("burner-tenth", "1 / 2 / 1 / 1 | 3 | 1"),
        ("three", "1 / 2 / 1 / 1 | 3 | 0"),
    ],
)
def test_wrong_answers_are_counted(part: str, counted: str) -> None:
    """A regression of nothing planted is wrong, and a pass of 5 %; no verdict never is.

    Of 3 %, which is beyond the margin and not ruled out by a pass, both answers are right.
    """
    runs = [
        Run(part=part, code=code, seconds=9.6, speed=1.0, commit="c", units=0, case=None)
        for code in (0, 10, 10, 11, 1)
    ]
    line = table(runs).splitlines()[-1]
    assert f"| 5 | {counted} | 10, 10, 10, 10, 10 | 1.000 |" in line


def test_runs_of_earlier_commits_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They took hours; the table is of this commit's alone."""
    monkeypatch.setattr(gate_figures, "ROOT", tmp_path)
    old, new = (
        Run(part="clean", code=0, seconds=50.0, speed=1.0, commit=name, units=0, case=None)
        for name in ("old", "new")
    )
    gate_figures.keep([], [old])
    gate_figures.keep(gate_figures.kept_runs(), [new])
    assert gate_figures.kept_runs() == [old, new]
    assert "| clean | no 10; 60 s | 1 |" in (tmp_path / "reports" / "gate-figures.md").read_text()
