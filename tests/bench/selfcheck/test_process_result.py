"""What the experiment on processes showed, as JSON and as the table of docs and terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.plan.thresholds import SELFCHECK
from bench.selfcheck.process_result import ProcessResult, table
from bench.selfcheck.result import Result
from tests.fresh_process import python

if TYPE_CHECKING:
    from pathlib import Path

    from bench.analysis.nested_variance import Floats

SECONDS = {
    "exec": [3.0, 4.0, 9.0],
    "zygote": [3.0],
    "fork": [0.02],
    "prepare": [1.5],
    "heap": [0.05],
}


def replicates(count: int, *, level: float = 0.01) -> list[tuple[Floats, Floats]]:
    """Two participants whose processes differ by so much, and whose forks are 1 % faster."""
    draws = np.random.default_rng(4)
    found = []
    for _ in range(count):
        own = draws.normal(0.5, level, (2, 1, 1, 1))
        fresh = own + draws.normal(0, 0.001, (2, 2, 2, 2))
        forked = own[..., 0] + np.log(0.99) + draws.normal(0, 0.001, (2, 2, 2))
        found.append((fresh, forked))
    return found


def result(count: int, **changes: object) -> ProcessResult:
    """Of so many replicates."""
    made = ProcessResult(
        max_missed_share=0.25, participants=["stock", "ipex"], replicates=replicates(count)
    )
    made.seconds = SECONDS
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_the_json_has_each_participant_and_all_together() -> None:
    """Components, what a level misses with its share of the whole, seconds, the ratios."""
    found = json.loads(json.dumps(result(6).json()))
    assert set(found["participants"]) == {"stock", "ipex"}
    pooled = found["pooled"]
    assert pooled["whole"]["estimate"] == pytest.approx(1e-4, rel=0.6)
    for level in ("prepare", "heap", "fork"):
        missed = pooled["misses"][level]
        assert missed["share"] == pytest.approx(missed["upper"] / pooled["whole"]["estimate"])
        assert not missed["accepted"]
    assert pooled["forked_over_fresh"][0] == pytest.approx(0.99, abs=0.001)
    assert found["seconds"]["exec"] == 4.0
    assert np.shape(found["log_ratios"]["exec"]) == (6, 2, 2, 2, 2)
    assert np.shape(found["log_ratios"]["fork"]) == (6, 2, 2, 2)


def test_a_replicate_that_lost_a_block_does_not_count() -> None:
    """The design stays balanced; a lost fork counts only where forks do."""
    damaged = result(4)
    damaged.replicates[0][0][0, 0, 0, 0] = np.nan
    damaged.replicates[1][1][0, 0, 0] = np.nan
    found = damaged.json()
    assert (found["replicates"], found["replicates_lost"]) == (2, 2)
    damaged.forks_refused = "planted"
    found = damaged.json()
    assert (found["replicates"], found["replicates_lost"]) == (3, 1)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_replicates_tell_nothing(count: int) -> None:
    """And are no error: the budget may be over, or Ctrl-C pressed, before there are two."""
    found = json.loads(json.dumps(result(count).json(), allow_nan=False))
    assert found["pooled"] is None
    assert found["participants"] == {}
    assert "needs two replicates" in table(found)


def test_where_fresh_processes_do_not_differ_nothing_is_accepted() -> None:
    """A share of nothing is no share."""
    draws = np.random.default_rng(1)
    blocks = draws.normal(0, 0.01, (2, 2, 2, 2))
    fresh = [blocks - blocks.mean(axis=(1, 2, 3), keepdims=True) for _ in range(3)]
    equal = [(one, np.zeros((2, 2, 2))) for one in fresh]
    missed = result(0, replicates=equal).json()["pooled"]["misses"]["prepare"]
    assert (missed["share"], missed["accepted"]) == (None, False)


def test_the_table_is_markdown_with_a_row_a_level_and_a_row_a_participant() -> None:
    """Seconds of all that a launch renews, deviations in percent, and the decision."""
    lines = table(result(6).json()).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:2] for row in cells[2:6]] == [
        ["a fresh process (exec), prepare", "5.50"],
        ["fork a zygote, prepare", "1.52"],
        ["prepare again", "1.50"],
        ["other pages for the heap", "0.05"],
    ]
    assert cells[0][-1] == "accepted below 25 %"
    assert {row[-1] for row in cells[3:6]} == {"not accepted"}
    assert [row[0] for row in cells[9:]] == ["stock", "ipex", "all participants"]
    assert cells[-1][-1].startswith("0.990 [0.9")
    assert {line.count("|") for line in lines[:6]} == {7}


def test_left_out_forks_are_reported_below_the_table() -> None:
    """With the reason, and no row that looks measured."""
    text = table(result(3, forks_refused="planted", notes=["Said."]).json())
    assert "fork a zygote" not in text
    assert text.splitlines()[-2:] == ["Forks are left out: planted.", "Said."]


def test_the_table_of_docs_is_made_from_the_stored_json(tmp_path: Path) -> None:
    """As the page says: one command, nothing measured."""
    whole = Result(policy=SELFCHECK, processes=result(3))
    stored = tmp_path / "selfcheck.json"
    stored.write_text(json.dumps(whole.json()))
    made = python("-m", "bench.selfcheck.process_result", stored).stdout
    assert made.strip() == whole.table()
    assert "not measured" not in made
