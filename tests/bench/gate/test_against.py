"""Base against head: real git, real worktrees, real worker processes, scripted times."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.measurements import Disturbance
from bench.gate import against, measuring
from bench.gate.result import Outcome
from tests.bench.gate.fake_checkout import INFERENCE, commit, plant, request, speed
from tests.bench.git_repository import git
from tests.known import known

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.records import IterationRow

TRAINING = "training/stock/eager/fp32/contiguous/b1/frozen"


@pytest.mark.parametrize(
    ("planted", "code", "words"),
    [
        (1.00, 0, "ruled out"),
        (0.80, 0, "faster"),
        (1.05, 10, "fresh processes alone"),
        (2.00, 10, " % slower"),
    ],
)
def test_a_planted_change_of_the_working_tree(
    repository: Path, planted: float, code: int, words: str
) -> None:
    """Each side runs its own pillqc: only so can a change that is not committed show."""
    speed(repository, inference=100 * planted, spread=0.001)
    report = against.compare(request(repository))
    assert report.exit_code == code, report
    assert words in report.cases[0].reason
    assert known(report.cases[0].ratio).estimate == pytest.approx(1 / planted, rel=0.005)


def test_parts_of_the_product_are_compared_like_the_model(repository: Path) -> None:
    """Each is a scenario of the gate, and a slowdown of it is found."""
    speed(repository, inference=110)
    parts = ["preprocessing", "boxes", "inspection", "preparation"]
    only = [f"inference/stock/eager/fp32/contiguous/*/{part}" for part in parts]
    report = against.compare(request(repository, *only))
    assert [case.scenario.split("/")[-1] for case in report.cases] == parts
    assert {case.outcome for case in report.cases} == {Outcome.REGRESSION}


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_commit_that_does_not_know_a_part_is_no_verdict(repository: Path, side: str) -> None:
    """Its worker would run the whole model instead, and one side would look much faster."""
    plant(repository, side, fail="boxes")
    report = against.compare(request(repository, "*/boxes"))
    assert report.exit_code == 11
    assert "boxes" in report.cases[0].reason


def test_a_slowdown_is_attributed_to_its_scenario(repository: Path) -> None:
    """The other scenario passes, and nothing of it is measured twice."""
    speed(repository, training=230)
    report = against.compare(request(repository, INFERENCE, TRAINING))
    assert report.exit_code == 10
    outcomes = {case.scenario: case.outcome for case in report.cases}
    assert outcomes == {INFERENCE: Outcome.PASSED, TRAINING: Outcome.REGRESSION}
    confirmed = [c.scenario for c in report.cases if "confirmation" in (c.details or {})]
    assert confirmed == [TRAINING]


def test_what_fresh_processes_do_not_confirm_is_no_regression(repository: Path) -> None:
    """Head's first processes were unlucky by 10 %; the next ones are not."""
    commit(repository)
    speed(repository, factor={"head": 1.1}, factor_launches=2)
    report = against.compare(request(repository))
    assert report.exit_code == 0, report
    assert "did not confirm" in report.cases[0].reason


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_planted_noise_never_gives_a_regression(repository: Path, spread: float) -> None:
    """Calls vary by 10 % or by a factor of e: the answer is a pass or no verdict."""
    speed(repository, spread=spread)
    commit(repository)
    assert against.compare(request(repository)).exit_code in (0, 11)


def test_a_machine_that_favours_one_process_gives_no_verdict(repository: Path) -> None:
    """The control runs the base's code: where it comes out slower, so may head."""
    speed(repository, factor={"control": 1.08})
    commit(repository)
    speed(repository, inference=110, factor={"control": 1.08})
    report = against.compare(request(repository))
    assert report.exit_code == 11
    assert "two identical workers differed" in report.cases[0].reason


@pytest.mark.parametrize(("share", "exit_code"), [(1.0, 10), (0.0, 11)])
def test_blocks_that_other_work_disturbed_do_not_count(
    repository: Path, monkeypatch: pytest.MonkeyPatch, share: float, exit_code: int
) -> None:
    """A slowdown that all clean blocks show is one; where none is left there is no verdict."""

    def planted(calls: list[IterationRow], *_: object) -> Disturbance:
        names = {row.scenario for row in calls}
        keys = {(row.launch, row.round) for row in calls if row.round is not None}
        lost = frozenset(key for key in keys if not (share and key[1] % 2))
        return Disturbance(
            lost=dict.fromkeys(names, lost),
            shares=dict.fromkeys(names, len(lost) / max(1, len(keys))),
        )

    monkeypatch.setattr(measuring, "disturbance", planted)
    speed(repository, inference=120)
    report = against.compare(request(repository))
    assert report.exit_code == exit_code
    details = report.cases[0].details or {}
    assert details["screening"]["disturbed_share"] == pytest.approx(0.5 if share else 1.0, abs=0.05)


@pytest.mark.parametrize("side", ["head", "control"])
def test_workers_under_other_conditions_are_no_verdict(repository: Path, side: str) -> None:
    """A thread less would be measured as the commit's slowdown; the reason names it."""
    speed(repository, conditions={side: {"threads": 1}})
    commit(repository)
    speed(repository, inference=120, conditions={side: {"threads": 1}})
    report = against.compare(request(repository))
    assert report.exit_code == 11
    assert f"{side} against base: threads" in report.cases[0].reason


@pytest.mark.parametrize(
    ("operation", "side"),
    [("start", "base"), ("prepare", "head"), ("call", "base"), ("another protocol", "head")],
)
def test_a_worker_that_dies_is_no_verdict_with_its_side(
    repository: Path, operation: str, side: str
) -> None:
    """Whichever side dies, and whenever: never a pass, and nothing is left behind."""
    plant(repository, side, fail=operation)
    report = against.compare(request(repository))
    assert report.exit_code == 11
    assert f"the {side} worker failed" in report.cases[0].reason.replace("control", "base")


def test_one_scenario_without_a_verdict_leaves_the_others_theirs(repository: Path) -> None:
    """Training breaks in head; inference is judged all the same, and the whole is no pass."""
    text = (repository / "pillqc" / "speed.py").read_text().replace("TRAINING = 200.0", "")
    (repository / "pillqc" / "speed.py").write_text(text)
    report = against.compare(request(repository, TRAINING, INFERENCE))
    outcomes = {case.scenario: case.outcome for case in report.cases}
    assert outcomes == {TRAINING: Outcome.NO_VERDICT, INFERENCE: Outcome.PASSED}
    assert report.exit_code == 11


def test_raw_rows_are_kept_and_the_command_repeats_it(repository: Path) -> None:
    """Every measurement can be looked at, and made again."""
    report = against.compare(request(repository))
    (folder,) = (repository.parent / "out").iterdir()
    assert str(folder) in report.compared
    text = (folder / "iterations.csv").read_text()
    assert {f"{INFERENCE}#{side}" in text for side in ("base", "control", "head")} == {True}
    assert len((folder / "noise.csv").read_text().splitlines()) > 5
    assert not (folder / "inductor-cache").exists()
    assert report.repeat.startswith(
        f"bench gate --against {git(repository, 'rev-parse', 'HEAD')[:10]}"
    )
    assert f"--only {INFERENCE}" in report.repeat


@pytest.mark.parametrize("chosen", [{}, {"seed": 7, "threads": 1}])
def test_the_repeated_command_has_what_was_chosen(repository: Path, chosen: dict[str, int]) -> None:
    """Other images or threads would be another comparison."""
    words = shlex.split(against.compare(request(repository, **chosen)).repeat)
    given = {name: words[words.index(f"--{name}") + 1] for name in chosen if f"--{name}" in words}
    assert given == {name: str(value) for name, value in chosen.items()}
    assert {word for word in words if word in ("--seed", "--threads")} == {f"--{n}" for n in chosen}


def test_code_that_changes_while_it_is_measured_has_no_verdict(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later workers would import what was written meanwhile, as who goes on working writes it."""
    speed(repository, inference=120)
    measure = measuring.Measurer.measure

    def and_edit(measurer: measuring.Measurer, *given: Any, **named: Any) -> Any:
        found = measure(measurer, *given, **named)
        speed(repository)
        return found

    monkeypatch.setattr(measuring.Measurer, "measure", and_edit)
    report = against.compare(request(repository))
    assert report.exit_code == 11
    assert "changed while it was measured" in str(report.problem)
