"""`pillqc evaluate --sizes` on the command line."""

from __future__ import annotations

import pytest

from pillqc.commands.sizes import sizes_table
from pillqc.evaluation.detectability import detectability
from pillqc.evaluation.shares import share
from pillqc.evaluation.sizes import SizedDefects, SizeReport
from tests.pillqc.command import run

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate",),
        ("evaluate", "--sizes", "--data", "pills"),
        ("evaluate", "--sizes", "--size", "64"),
        ("evaluate", "--data", "pills", "--dtype", "bf16"),
        ("evaluate", "--data", "pills", "--per-defect", "30"),
        ("evaluate", "--data", "pills", "--size", "100000"),
    ],
)
def test_data_and_sizes_exclude_each_other(words: tuple[str, ...]) -> None:
    """One of them is needed, what goes with sizes is refused elsewhere, and a size has a limit."""
    done = run(*words)
    assert done.exit_code == 2, done.output


def test_the_table_gives_the_sizes_of_each_defect_and_what_ran_the_model() -> None:
    """And the false rejects: a model that calls every pill bad finds everything."""
    sizes = tuple(0.1 * 1.1**number for number in range(40))
    found = tuple(size > 1.0 for size in sizes)
    report = SizeReport(
        model="m",
        backend="ipex",
        dtype="bf16",
        trained=True,
        threshold=0.25,
        side_px=64,
        false_rejects=share(3, 40),
        defects={
            "crack": SizedDefects(sizes=sizes, found=found, curve=detectability(sizes, found))
        },
    )
    first, *_, crack = sizes_table(report).splitlines()
    assert "ipex in bf16" in first
    assert "3 of 40" in sizes_table(report)
    assert crack.split()[:3] == ["crack", "none", "none"], "hits and misses do not overlap"
    assert 1.0 < float(crack.split()[3]) < 2.0
