"""Floors on speedups: reading, checking, writing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.gate.conftest import gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Judged = Callable[..., Result]

A = "inference/ipex/eager/fp32/channels_last/b1"
B = "inference/stock/eager/fp32/channels_last/b1"


def policy(*floors: Any, fingerprint: str = "abc") -> str:
    """The text of a policy of one machine."""
    machine = {"fingerprint": fingerprint, "name": "lab", "floors": floors}
    whole = {"format": "pillqc-bench gate policy", "version": 1, "machines": [machine]}
    return json.dumps(whole)


def floor(scenario: str = A, value: Any = 1.2, baseline: str = "stock_default") -> dict[str, Any]:
    """One floor."""
    return {"scenario": scenario, "baseline": baseline, "speedup_at_least": value}


@pytest.fixture
def judged(make_run: Any, tmp_path: Path) -> Judged:
    """Judges a run with a speedup of 1.4 by a policy of this text."""

    def judge(text: str, **changes: Any) -> Result:
        path = tmp_path / "p.json"
        path.write_bytes(text.encode("latin-1"))
        return gate("--policy", path, make_run("a", {A: (1.4, 1.35, 1.45)}, **changes))

    return judge


@pytest.mark.parametrize(
    ("value", "launches", "code", "words"),
    [
        (1.2, 3, 0, "1.200"),
        (1.35, 3, 0, "Passed"),
        (1.40, 3, 11, "No verdict"),
        (1.60, 3, 10, "1.600"),
        (1.60, 1, 11, "one launch"),
    ],
)
def test_a_floor_is_held(
    judged: Judged, value: float, launches: int, code: int, words: str
) -> None:
    """Below with the whole interval is a regression, with a part of it no verdict."""
    result = judged(policy(floor(value=value)), launches=launches)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (policy(floor("inference/onnx/eager/fp32/contiguous/b1")), "no such scenario"),
        (policy(floor(baseline="stock_tuned")), "stock_tuned"),
        (policy(floor(), fingerprint="another"), "this machine"),
        (policy(), "lab"),
    ],
)
def test_what_the_run_cannot_answer_is_no_verdict(judged: Judged, text: str, words: str) -> None:
    """An unknown scenario, another machine and an empty policy give 11 with the reason."""
    result = judged(text)
    assert result.exit_code == 11
    assert words in " ".join(result.output.split())


NO_NUMBERS = [0, -1, "1.2", None, True, float("nan"), float("inf"), 10**400]
"""NaN would let everything pass, true would read as 1, and the last is no float."""


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
        *((policy(floor(value=value)), "speedup_at_least") for value in NO_NUMBERS),
        (policy(floor("")), "damaged"),
        (policy(floor(), fingerprint=""), "damaged"),
        (policy(floor(baseline="x")), "damaged"),
        (policy(floor(value=1.1), floor(value=1.2)), "two entries"),
    ],
)
def test_a_damaged_policy_fails(judged: Judged, tmp_path: Path, text: str, words: str) -> None:
    """One line names the file and what is wrong in it; nothing is guessed."""
    result = judged(text)
    assert result.exit_code == 1
    assert words in result.stderr
    assert str(tmp_path / "p.json") in result.stderr


def test_a_missing_policy_says_how_to_write_one(make_run: Any, tmp_path: Path) -> None:
    """The line is a command to type."""
    result = gate("--policy", tmp_path / "none.json", make_run("a", {}))
    assert result.exit_code == 1
    assert "--write-policy" in result.stderr


def test_accepted_runs_pass_the_policy_written_from_them(make_run: Any, tmp_path: Path) -> None:
    """Of two runs the lower counts, with some slack, and other machines in the file are kept."""
    path = tmp_path / "p.json"
    path.write_text(policy(floor(), fingerprint="other"))
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


def test_a_run_of_one_launch_lowers_a_floor_that_another_one_gave(
    make_run: Any, tmp_path: Path
) -> None:
    """It was accepted too, so it passes; alone it gives no floor."""
    path = tmp_path / "p.json"
    one = make_run("a", {A: (1.4, 1.35, 1.45)})
    two = make_run("b", {A: (1.2, 1.0, 1.4), B: (1.1, 1.05, 1.2)}, launches=1)
    assert gate("--write-policy", path, one, two).exit_code == 0
    (machine,) = json.loads(path.read_text())["machines"]
    (only,) = machine["floors"]
    assert (only["scenario"], only["speedup_at_least"]) == (A, pytest.approx(1 / 1.02, abs=1e-3))
    assert [gate("--policy", path, run).exit_code for run in (one, two)] == [0, 0]


@pytest.mark.parametrize("changes", [{"launches": 1}, {"verdict": "invalid"}])
def test_no_policy_is_written_from_a_run_that_shows_nothing(
    make_run: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """An empty policy would look like a guard."""
    path = tmp_path / "p.json"
    result = gate("--write-policy", path, make_run("a", {A: (1.4, 1.35, 1.45)}, **changes))
    assert result.exit_code == 11
    assert not path.exists()
