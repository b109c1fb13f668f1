"""Floors on speedups: reading, checking, writing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.gate.conftest import gate

if TYPE_CHECKING:
    from pathlib import Path

A = "inference/ipex/eager/fp32/channels_last/b1"
B = "inference/stock/eager/fp32/channels_last/b1"


def policy(path: Path, floors: Any, fingerprint: str = "abc") -> Path:
    """A policy file of one machine."""
    machine = {"fingerprint": fingerprint, "name": "lab", "floors": floors}
    whole = {"format": "pillqc-bench gate policy", "version": 1, "machines": [machine]}
    path.write_text(json.dumps(whole))
    return path


def floor(scenario: str = A, value: Any = 1.2, baseline: str = "stock_default") -> dict[str, Any]:
    """One floor."""
    return {"scenario": scenario, "baseline": baseline, "speedup_at_least": value}


@pytest.mark.parametrize(
    ("value", "launches", "code", "words"),
    [
        (1.2, 3, 0, "the floor is 1.200"),
        (1.35, 3, 0, "Passed"),
        (1.40, 3, 11, "the interval contains the floor"),
        (1.60, 3, 10, "the whole interval lies below the floor of 1.600"),
        (1.60, 1, 11, "one launch confirms nothing"),
    ],
)
def test_a_floor_is_held_to_the_interval(
    make_run: Any, tmp_path: Path, value: float, launches: int, code: int, words: str
) -> None:
    """Below with the whole interval is a regression, with a part of it no verdict."""
    run = make_run("a", {A: (1.4, 1.35, 1.45)}, launches=launches)
    result = gate("--policy", policy(tmp_path / "p.json", [floor(value=value)]), run)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("floors", "fingerprint", "words"),
    [
        ([floor("inference/onnx/eager/fp32/contiguous/b1")], "abc", "no such scenario"),
        ([floor(baseline="stock_tuned")], "abc", "no speedup of it over stock_tuned"),
        ([floor()], "another", "no floors for this machine"),
        ([], "abc", "no floors for lab"),
    ],
)
def test_what_the_run_cannot_answer_is_no_verdict(
    make_run: Any, tmp_path: Path, floors: Any, fingerprint: str, words: str
) -> None:
    """An unknown scenario, another machine and an empty policy give 11 with the reason."""
    run = make_run("a", {A: (1.4, 1.35, 1.45)})
    result = gate("--policy", policy(tmp_path / "p.json", floors, fingerprint), run)
    assert result.exit_code == 11
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "not an object"),
        ('{"format": "pillqc-bench gate policy", "version": 2, "machines": []}', "reads"),
        ('{"format": "pillqc-bench gate policy", "version": 1}', "`machines` is missing"),
        ('{"format": "x", "format": "x"}', "is there twice"),
        ("[" * 100_000, "damaged"),
        ("\xff", "damaged"),
    ],
)
def test_a_damaged_policy_is_a_failure(
    make_run: Any, tmp_path: Path, text: str, words: str
) -> None:
    """One line names the file and what is wrong in it."""
    path = tmp_path / "p.json"
    path.write_bytes(text.encode("latin-1"))
    result = gate("--policy", path, make_run("a", {A: (1.4, 1.35, 1.45)}))
    assert result.exit_code == 1
    assert words in result.stderr
    assert str(path) in result.stderr


@pytest.mark.parametrize("value", [0, -1, "1.2", None, True, float("nan"), float("inf")])
def test_a_floor_that_is_no_number_is_refused(make_run: Any, tmp_path: Path, value: Any) -> None:
    """NaN would let everything pass, and true would read as 1."""
    path = policy(tmp_path / "p.json", [floor(value=value)])
    result = gate("--policy", path, make_run("a", {A: (1.4, 1.35, 1.45)}))
    assert result.exit_code == 1
    assert "speedup_at_least" in result.stderr


@pytest.mark.parametrize(
    ("floors", "fingerprint"),
    [([floor("")], "abc"), ([floor()], ""), ([floor(baseline="x")], "abc")],
)
def test_a_floor_of_nothing_is_refused(
    make_run: Any, tmp_path: Path, floors: Any, fingerprint: str
) -> None:
    """Of no scenario, no machine or no baseline."""
    path = policy(tmp_path / "p.json", floors, fingerprint)
    result = gate("--policy", path, make_run("a", {A: (1.4, 1.35, 1.45)}))
    assert result.exit_code == 1
    assert "damaged" in result.stderr


def test_two_floors_for_one_thing_are_refused(make_run: Any, tmp_path: Path) -> None:
    """Choosing one would be a guess."""
    path = policy(tmp_path / "p.json", [floor(value=1.1), floor(value=1.2)])
    result = gate("--policy", path, make_run("a", {A: (1.4, 1.35, 1.45)}))
    assert result.exit_code == 1
    assert "two entries for the floor" in result.stderr


def test_a_missing_policy_says_how_to_write_one(make_run: Any, tmp_path: Path) -> None:
    """The line is a command to type."""
    result = gate("--policy", tmp_path / "none.json", make_run("a", {}))
    assert result.exit_code == 1
    assert "--write-policy" in result.stderr


def test_accepted_runs_pass_the_policy_written_from_them(make_run: Any, tmp_path: Path) -> None:
    """Of two runs the lower counts, with some slack, and other machines in the file are kept."""
    path = policy(tmp_path / "p.json", [floor()], fingerprint="other")
    kinds = ("stock_default", "stock_tuned", "control")
    one = make_run("a", {A: (1.4, 1.35, 1.45), B: (1.1, 1.08, 1.12)}, kinds=kinds)
    two = make_run("b", {A: (1.3, 1.25, 1.35)}, kinds=kinds)
    result = gate("--write-policy", path, one, two)
    assert result.exit_code == 0, result.output
    machines = {m["fingerprint"]: m for m in json.loads(path.read_text())["machines"]}
    assert set(machines) == {"other", "abc"}
    floors = {(f["scenario"], f["baseline"]): f for f in machines["abc"]["floors"]}
    assert set(floors) == {(s, k) for s in (A, B) for k in kinds[:2]}
    assert floors[A, "stock_default"]["speedup_at_least"] == pytest.approx(1.25 / 1.02, abs=1e-3)
    assert gate("--policy", path, two).exit_code == 11  # it never measured B
    assert gate("--policy", path, one).exit_code == 0


@pytest.mark.parametrize("changes", [{"launches": 1}, {"verdict": "invalid"}])
def test_no_policy_is_written_from_a_run_that_shows_nothing(
    make_run: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """An empty policy would look like a guard."""
    path = tmp_path / "p.json"
    result = gate("--write-policy", path, make_run("a", {A: (1.4, 1.35, 1.45)}, **changes))
    assert result.exit_code == 11
    assert not path.exists()
