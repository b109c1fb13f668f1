"""The words of the first screen, in one place: other tests compare values.

After a change of words that is meant, write the file anew and read it:

    UPDATE_SNAPSHOT=1 python -m pytest -n 0 tests/bench/report/test_first_screen.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.run_facts import Facts
from bench.report.answers import answers, cost, lead
from bench.report.banners import banners

if TYPE_CHECKING:
    from bench.store.records import Run
    from tests.bench.made_up_runs import MakeRun

SNAPSHOT = Path(__file__).with_name("first_screen.txt")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def first_screen(run: Run) -> list[str]:
    """Every sentence of the first screen, its numbers as `#`: those have tests of their own."""
    facts = Facts(run)
    lines = [lead(facts), *(f"! {one.title}: {one.text}" for one in banners(facts))]
    for answer in answers(facts):
        lines += [f"{answer.question} [{answer.tone}] {answer.number} {answer.number_note}"]
        lines += [answer.headline, *(f"  {detail}" for detail in answer.details)]
    return [NUMBER.sub("#", line).rstrip() for line in (*lines, cost(facts))]


def test_the_first_screen_is_the_snapshot(make_run: MakeRun, mishaps: Any) -> None:
    """Of a good run, of one with a mishap of every kind, and of one on a busy machine."""
    runs = {
        "a good run": make_run(native_bf16=True, int8=True, trained=True, source="folder"),
        "mishaps": make_run(faults=mishaps, complete=False),
        "a busy machine": make_run(noisy=True, ipex=False),
    }
    found = [line for name, run in runs.items() for line in (f"# {name}", *first_screen(run))]
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text("\n".join(found) + "\n", encoding="utf-8")
    assert found == SNAPSHOT.read_text(encoding="utf-8").splitlines()
