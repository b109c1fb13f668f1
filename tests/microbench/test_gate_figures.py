"""The counts in the table of the gate's figures."""

from __future__ import annotations

import pytest

from tests.microbench.gate_figures import Run, table


@pytest.mark.parametrize(
    ("part", "counted"),
    [
        ("clean", "1 / 2 / 1 / 1 | 3 | 2"),
        ("burner", "1 / 2 / 1 / 1 | 3 | 2"),
        ("twentieth", "1 / 2 / 1 / 1 | 3 | 1"),
        ("burner-tenth", "1 / 2 / 1 / 1 | 3 | 1"),
    ],
)
def test_wrong_answers_are_counted(part: str, counted: str) -> None:
    """A regression of nothing planted is wrong, and a pass of 5 %; no verdict never is."""
    runs = [
        Run(part=part, code=code, seconds=9.6, speed=1.0, commit="c", units=0, case=None)
        for code in (0, 10, 10, 11, 1)
    ]
    line = table(runs).splitlines()[-1]
    assert f"| 5 | {counted} | 10, 10, 10, 10, 10 | 1.000 |" in line
