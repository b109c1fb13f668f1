"""Floors on speedups: reading, checking, writing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.bench.gate.conftest import gate
from tests.bench.made_up_rows import _EIGHT_MS, Plan
from tests.bench.made_up_runs import build_run, save_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Judged = Callable[..., Result]

A = "inference/ipex/eager/fp32/channels_last/b1"
B = "inference/stock/eager/fp32/channels_last/b1"


def policy(*floors: Any, fingerprint: str = "abc", **of_machine: Any) -> str:
    """The text of a policy of one machine."""
    machine = {"fingerprint": fingerprint, "name": "lab", "floors": floors, **of_machine}
    whole = {"format": "pillqc-bench gate policy", "version": 1, "machines": [machine]}
    return json.dumps(whole)


def floor(
    scenario: str = A, value: Any = 1.2, baseline: str = "stock_default", **more: Any
) -> dict[str, Any]:
    """One floor."""
    return {"scenario": scenario, "baseline": baseline, "speedup_at_least": value, **more}


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


SHIPPED = {"model": {"name": "shipped"}}
OWN = {"model": {"name": "shop:net"}, "request": {"own": {"model": "shop:net", "shape": "3,8,8"}}}
OF_OWN = "shop:net, shape 3,8,8"


@pytest.mark.parametrize(
    ("of_machine", "of_run", "code"),
    [
        ({}, {}, 0),
        ({}, SHIPPED, 0),
        ({}, OWN, 11),
        ({"model": "shipped"}, SHIPPED, 0),
        ({"model": "shipped"}, {"model": {"name": "random"}}, 11),
        ({"model": "shipped"}, OWN, 11),
        ({"model": OF_OWN}, OWN, 0),
        ({"model": OF_OWN}, SHIPPED, 11),
        ({"model": "shop:net, shape 3,16,16"}, OWN, 11),
    ],
)
def test_floors_are_of_one_model(
    judged: Judged, of_machine: dict[str, Any], of_run: dict[str, Any], code: int
) -> None:
    """Those of a file that names none are the inspector's: earlier versions wrote no other."""
    assert judged(policy(floor(), **of_machine), **of_run).exit_code == code


@pytest.mark.parametrize(
    ("of_floor", "threads", "code"),
    [({}, 2, 0), ({"threads": 2}, 2, 0), ({"threads": 2}, 1, 11), ({"threads": 2}, None, 11)],
)
def test_a_floor_is_of_one_number_of_threads(
    judged: Judged, of_floor: dict[str, Any], threads: int | None, code: int
) -> None:
    """One that names none, as of earlier versions, holds for any."""
    result = judged(policy(floor(**of_floor)), of_scenarios={"threads": threads})
    assert result.exit_code == code
    assert ("--threads 2" in result.output) == (code == 11)


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


def floors_of(path: Path) -> dict[str, float]:
    """The floors of the policy's only machine, by scenario."""
    (machine,) = json.loads(path.read_text())["machines"]
    return {one["scenario"]: one["speedup_at_least"] for one in machine["floors"]}


def test_a_policy_says_what_its_runs_measured(make_run: Any, tmp_path: Path) -> None:
    """The model and the threads, by which a later run is held against the floors or not."""
    path = tmp_path / "p.json"
    run = make_run("a", {A: (1.4, 1.35, 1.45)}, of_scenarios={"threads": 4}, **OWN)
    assert gate("--write-policy", path, run).exit_code == 0
    (machine,) = json.loads(path.read_text())["machines"]
    assert machine["model"] == OF_OWN
    assert [one["threads"] for one in machine["floors"]] == [4]
    assert gate("--policy", path, run).exit_code == 0


RANDOM = {"model": {"name": "random"}}


@pytest.mark.parametrize(
    ("of_first", "of_second", "words"),
    [(SHIPPED, OWN, OF_OWN), (SHIPPED, RANDOM, "random"), (SHIPPED, {}, "shipped")],
)
def test_no_policy_mixes_models(
    make_run: Any, tmp_path: Path, of_first: Any, of_second: Any, words: str
) -> None:
    """Neither of the runs that are named, nor of a run and the file's floors."""
    path = tmp_path / "p.json"
    one = make_run("a", {A: (1.4, 1.35, 1.45)}, **of_first)
    two = make_run("b", {B: (1.4, 1.35, 1.45)}, **of_second)
    for runs in ((one, two), (two, one)):
        result = gate("--write-policy", path, *runs)
        assert result.exit_code == 11
        assert words in result.stderr
        assert not path.exists()
    assert gate("--write-policy", path, one).exit_code == 0
    before = path.read_text()
    result = gate("--write-policy", path, two)
    assert result.exit_code == 11
    assert words in result.stderr
    assert path.read_text() == before


def test_no_policy_mixes_threads(make_run: Any, tmp_path: Path) -> None:
    """One of the two runs would not be of the floor's number."""
    runs = [
        make_run(name, {A: (1.4, 1.35, 1.45)}, of_scenarios={"threads": threads})
        for name, threads in (("a", 2), ("b", 1))
    ]
    assert gate("--write-policy", tmp_path / "p.json", *runs).exit_code == 11
    assert not (tmp_path / "p.json").exists()


def test_an_earlier_versions_policy_takes_new_floors(make_run: Any, tmp_path: Path) -> None:
    """It then names the inspector's weights; a run of the user's own model is none of it."""
    path = tmp_path / "p.json"
    path.write_text(policy(floor(B)))
    own, shipped = (
        make_run(name, {A: (1.4, 1.35, 1.45)}, **changes)
        for name, changes in (("own", OWN), ("shipped", SHIPPED))
    )
    assert [gate("--write-policy", path, run).exit_code for run in (own, shipped)] == [11, 0]
    (machine,) = json.loads(path.read_text())["machines"]
    assert machine["model"] == "shipped"
    assert set(floors_of(path)) == {A, B}


def test_floors_that_a_run_says_nothing_of_are_kept(make_run: Any, tmp_path: Path) -> None:
    """A run of some scenarios, or of one launch, takes no guard away; it may lower a floor."""
    path = tmp_path / "p.json"
    whole = make_run("a", {A: (1.4, 1.35, 1.45), B: (1.2, 1.15, 1.25)})
    assert gate("--write-policy", path, whole).exit_code == 0
    before = floors_of(path)
    part = make_run("b", {A: (2.0, 1.9, 2.1)})
    assert gate("--write-policy", path, part).exit_code == 0
    raised = floors_of(path)
    assert raised[A] == pytest.approx(1.9 / 1.02, abs=1e-3)
    assert raised[B] == before[B]
    for name, value in (("high", 1.5), ("low", 1.0)):
        short = make_run(name, {B: (value, value - 0.1, value + 0.1)}, launches=1)
        assert gate("--write-policy", path, part, short).exit_code == 0
        assert floors_of(path)[B] == pytest.approx(min(before[B], (value - 0.1) / 1.02), abs=1e-3)


def test_two_names_of_one_machine(make_run: Any, tmp_path: Path) -> None:
    """The fingerprint says which machine it is: the lowest floor counts."""
    path = tmp_path / "p.json"
    one, two = (
        make_run(name, {A: (speed, speed - 0.02, speed + 0.02)}, machine=machine)
        for name, speed, machine in (
            ("one", 1.2, {"name": "one", "fingerprint": "abc"}),
            ("two", 1.4, {"name": "two", "fingerprint": "abc"}),
        )
    )
    assert gate("--write-policy", path, one, two).exit_code == 0
    assert floors_of(path)[A] == pytest.approx(1.18 / 1.02, abs=1e-3)
    assert [gate("--policy", path, run).exit_code for run in (one, two)] == [0, 0]


@pytest.mark.parametrize("launches", [1, 3])
def test_a_run_changes_no_floor_of_another_number_of_threads(
    make_run: Any, tmp_path: Path, launches: int
) -> None:
    """A run of one launch put its floor in the place of one that two had given."""
    path = tmp_path / "p.json"
    eight = make_run("eight", {A: (1.4, 1.35, 1.45)}, of_scenarios={"threads": 8})
    assert gate("--write-policy", path, eight).exit_code == 0
    before = path.read_text()
    one = make_run("one", {A: (1.1, 1.0, 1.2)}, of_scenarios={"threads": 1}, launches=launches)
    two = make_run("two", {B: (1.1, 1.0, 1.2)}, of_scenarios={"threads": 8})
    result = gate("--write-policy", path, one, two)
    assert result.exit_code == 11
    assert "8 threads and 1 thread:" in result.stderr
    assert path.read_text() == before


def test_a_floor_of_an_earlier_version_takes_any_threads(make_run: Any, tmp_path: Path) -> None:
    """It named none; the accepted run's number is its own from then on."""
    path = tmp_path / "p.json"
    path.write_text(policy(floor()))
    run = make_run("a", {A: (1.4, 1.35, 1.45)}, of_scenarios={"threads": 4})
    assert gate("--write-policy", path, run).exit_code == 0
    (machine,) = json.loads(path.read_text())["machines"]
    assert [one["threads"] for one in machine["floors"]] == [4]


def test_a_policy_gets_its_folder(make_run: Any, tmp_path: Path) -> None:
    """As every other file that a command writes."""
    path = tmp_path / "new" / "p.json"
    assert gate("--write-policy", path, make_run("a", {A: (1.4, 1.35, 1.45)})).exit_code == 0
    assert path.exists()


def test_floors_over_both_baselines_have_names_of_their_own(make_run: Any, tmp_path: Path) -> None:
    """GitLab reads the first of two test cases with one name, whatever the other says."""
    kinds = ("stock_default", "stock_tuned")
    path, junit = tmp_path / "p.json", tmp_path / "gate.xml"
    path.write_text(policy(floor(), floor(value=1.9, baseline="stock_tuned")))
    run = make_run("a", {A: (1.4, 1.35, 1.45)}, kinds=kinds)
    result = gate("--policy", path, run, "--junit", junit, "--json", tmp_path / "gate.json")
    assert result.exit_code == 10
    cases = ET.parse(junit).iter("testcase")  # noqa: S314 - our own text
    assert [case.get("name") for case in cases] == [f"{A} over {kind}" for kind in kinds]
    assert f"Slower: {A} over stock_tuned" in " ".join(result.output.split())
    found = json.loads((tmp_path / "gate.json").read_text())["cases"]
    assert [case["scenario"] for case in found] == [A, A]


@pytest.mark.parametrize(("value", "code"), [(0.97, 0), (1.1, 11)])
def test_the_stock_way_that_became_the_fastest_holds_its_floor_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, code: int
) -> None:
    """It is stock tuned itself now, and no row divides it by itself."""
    name = "inference/stock/compile/fp32/channels_last/b1"
    monkeypatch.setitem(_EIGHT_MS, ("stock", "compile", None, "channels_last"), 700.0)
    run = save_run(build_run(Plan(profile="smoke")), tmp_path / "run")
    found = json.loads((run / "environment.json").read_text())["machine"]["fingerprint"]
    path = tmp_path / "p.json"
    path.write_text(policy(floor(name, value, "stock_tuned"), fingerprint=found))
    result = gate("--policy", path, run)
    assert result.exit_code == code, result.output
    assert ("stock_tuned itself" in result.output) == (code == 0)
