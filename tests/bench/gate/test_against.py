"""Base against head: real git, real worktrees, real worker processes, scripted times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.measurements import Disturbance
from bench.engine import launcher
from bench.errors import BenchError
from bench.gate import against, measuring
from bench.gate.against import AgainstRequest
from bench.gate.result import NoVerdictError, Outcome
from bench.gate.side import Code, Side
from bench.gate.thresholds import Effort, GatePolicy
from bench.machine.worker_settings import keeps_heap
from bench.plan.scenario import Task, stock_default
from tests.bench.git_repository import git
from tests.known import known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.engine.worker_process import WorkerCommand
    from bench.store.records import IterationRow

INFERENCE = "inference/stock/eager/fp32/contiguous/b1"
TRAINING = "training/stock/eager/fp32/contiguous/b1/frozen"
ROOT = Path(__file__).parents[3]
QUICK = GatePolicy(
    screening=Effort(launches=2, min_rounds=3, max_rounds=4, budget_s=60),
    confirmation=Effort(launches=2, min_rounds=3, max_rounds=4, budget_s=60),
)
"""Scripted times vary as little as a test chooses, so few rounds show as much as many."""
SCRIPT = (Path(__file__).parent / "scripted_worker.py").read_text()

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fake checkout of this project under git, with one commit on main.

    No test leaves a worktree of it, in git's list or on disk.
    """
    temporary, folder = tmp_path / "temporary", tmp_path / "repository"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for package in ("bench", "pillqc"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("")
    (folder / "bench" / "worker.py").write_text(SCRIPT)
    speed(folder)
    commit(folder)
    yield folder
    assert git(folder, "worktree", "list", "--porcelain").count("worktree ") == 1
    assert [path.name for path in temporary.iterdir() if path.is_dir()] == []


def commit(folder: Path) -> str:
    """Commit everything; returns the commit."""
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "x")
    return git(folder, "rev-parse", "HEAD")


def speed(folder: Path, **planted: Any) -> None:
    """Set what this checkout's workers reply. `factor` slows a side's first launches."""
    usual: dict[str, Any] = {"inference": 100.0, "training": 200.0, "spread": 0.005, "fail": None}
    usual |= {"factor": {}, "factor_launches": 100, "conditions": {}}
    lines = [f"{name.upper()} = {value!r}\n" for name, value in {**usual, **planted}.items()]
    (folder / "pillqc" / "speed.py").write_text("".join(lines))


def plant(repository: Path, side: str, **planted: Any) -> None:
    """Set what the workers of one side alone reply."""
    speed(repository, **planted)
    if side == "base":
        commit(repository)
        speed(repository)


def request(repository: Path, /, *only: str, **changes: Any) -> AgainstRequest:
    """A gate of this repository against its last commit."""
    data = repository.parent / "data"
    data.mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "revision": "HEAD",
        "data": data,
        "output": repository.parent / "out",
        "repository": repository,
        "only": only or (INFERENCE,),
        "thresholds": QUICK,
    }
    return AgainstRequest(**{**fields, **changes})


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


def test_a_base_without_the_packages_is_no_verdict(repository: Path) -> None:
    """Its workers would import the installed head instead, and every comparison would pass."""
    git(repository, "rm", "-r", "--quiet", "--cached", "pillqc")
    git(repository, "commit", "--quiet", "--message", "no pillqc")
    with pytest.raises(NoVerdictError, match="bench/ and pillqc/"):
        against.compare(request(repository))


def test_each_side_runs_its_own_code_wherever_the_command_is_typed(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder and the installed package both contain head's code, not base's."""
    monkeypatch.chdir(repository)
    seen: dict[str, list[str]] = {}
    forget = against.shutil.rmtree  # type: ignore[attr-defined] # looked at before it is removed

    def look(folder: Path, **keywords: Any) -> None:
        for path in Path(folder).glob("*/0"):
            seen[path.parent.name] = json.loads(path.read_text())
        forget(folder, **keywords)

    monkeypatch.setattr(against.shutil, "rmtree", look)  # type: ignore[attr-defined] # as above
    assert against.compare(request(repository)).exit_code == 0
    assert set(seen) == {"base", "control", "head"}
    for side, files in seen.items():
        assert len(files) == 2
        inside = [str(repository) in file for file in files]
        assert inside == [side == "head"] * 2, (side, files)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"revision": "no-such-branch"}, "'no-such-branch'"),
        ({"revision": "--help"}, "'--help'"),
        ({"revision": "HEAD~5"}, "'HEAD~5'"),
        ({"only": ("inference/onnx/*",)}, "inference/onnx"),
        ({"threads": 10_000}, "--threads"),
        ({"data": Path("/nonexistent")}, "/nonexistent"),
        ({"repository": Path("/")}, "git rev-parse"),
        ({"base_python": Path("/nonexistent/python")}, "/nonexistent/python"),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    repository: Path, changes: dict[str, Any], words: str
) -> None:
    """Before anything is measured, and never as a pass."""
    with pytest.raises(BenchError) as caught:
        against.compare(request(repository, **changes))
    assert words in str(caught.value)
    assert caught.value.exit_code in (1, 2, 11)


def test_a_commit_that_cannot_be_checked_out_is_an_error(repository: Path) -> None:
    """An object is missing, as in a damaged or a partial clone."""
    blob = git(repository, "rev-parse", "HEAD:pillqc/speed.py")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(BenchError, match="cannot check out"):
        against.compare(request(repository))


def test_without_a_revision_it_is_where_the_branch_left_main(repository: Path) -> None:
    """Commits of main after that are not compared with."""
    left = git(repository, "rev-parse", "HEAD")
    git(repository, "switch", "--quiet", "--create", "topic")
    speed(repository, inference=130)
    commit(repository)
    git(repository, "switch", "--quiet", "main")
    speed(repository, inference=50)
    commit(repository)
    git(repository, "switch", "--quiet", "topic")
    report = against.compare(request(repository, revision=None))
    assert left[:10] in report.compared
    assert known(report.cases[0].ratio).estimate == pytest.approx(1 / 1.3, rel=0.02)


def test_the_project_may_be_an_inner_folder(repository: Path, tmp_path: Path) -> None:
    """Both sides run that folder, wherever in the repository the command is typed."""
    inside = repository / "tools" / "pills"
    inside.mkdir(parents=True)
    for package in ("bench", "pillqc"):
        (repository / package).rename(inside / package)
    commit(repository)
    speed(inside, inference=120)
    for folder in (repository, inside / "pillqc"):
        report = against.compare(request(folder, data=tmp_path))
        assert report.exit_code == 10, report
        assert "with changes) against" in report.compared


def test_git_hooks_are_inert(repository: Path, tmp_path: Path) -> None:
    """Git sets GIT_DIR for its hooks, which would send every command to another place."""
    with pytest.MonkeyPatch.context() as hook:
        hook.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
        hook.setenv("GIT_WORK_TREE", str(repository))
        hook.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
        assert against.compare(request(repository)).exit_code == 0


def test_other_packages_get_their_own_environment(repository: Path) -> None:
    """The base builds it by its own Makefile, and it goes with the checkout."""
    makefile = ".venv/.installed:\n\tmkdir -p .venv/bin && ln -s $(PYTHON) .venv/bin/python\n"
    (repository / "Makefile").write_text(makefile)
    (repository / "constraints.txt").write_text("torch==2.7.0\n")
    commit(repository)
    (repository / "constraints.txt").write_text("torch==2.8.0\n")
    assert against.compare(request(repository)).exit_code == 0


def test_an_environment_that_cannot_be_built_is_an_error(repository: Path) -> None:
    """With the end of the build's output, and what to do instead."""
    (repository / "Makefile").write_text(".venv/.installed:\n\t@echo no such wheel; exit 1\n")
    (repository / "constraints.txt").write_text("torch==2.7.0\n")
    commit(repository)
    (repository / "constraints.txt").write_text("torch==2.8.0\n")
    with pytest.raises(BenchError, match=r"no such wheel.*--base-python"):
        against.compare(request(repository))
    given = request(repository, base_python=Path(sys.executable))
    assert against.compare(given).exit_code == 0


def test_what_a_killed_gate_left_goes_with_the_next(repository: Path) -> None:
    """A process that was killed outright could not clean up; another's live checkout stays."""
    temporary = Path(tempfile.gettempdir())
    dead = temporary / "pillqc-gate-999999999-abc"
    alive = temporary / f"pillqc-gate-{os.getpid()}-abc"
    for folder in (dead, alive):
        git(repository, "worktree", "add", "--detach", str(folder), "HEAD")
    against.compare(request(repository))
    assert not dead.exists()
    assert alive.exists()
    git(repository, "worktree", "remove", "--force", str(alive))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing(repository: Path, number: signal.Signals) -> None:
    """Ctrl-C, a cancelled job and a closed terminal all end with exit code 130 and no checkout."""
    speed(repository, fail="hang")
    asked = request(repository)
    arguments = ["gate", "--against", "HEAD", "--only", INFERENCE, "--data", str(asked.data)]
    arguments += ["--output", str(asked.output)]
    code = f"import sys; sys.path[0] = {str(ROOT)!r}; from bench.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(asked.output.glob("*/inductor-cache/hanging")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the gate never reached its first call"
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


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


def test_all_sides_keep_their_heap_and_differ_in_their_code_alone(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many pages a process would fault is luck; both sides' other variables are the same."""
    commands: list[WorkerCommand] = []
    monkeypatch.setattr(launcher, "WorkerProcess", commands.append)
    here = Code(checkout=repository, python=Path(sys.executable))
    codes = dict.fromkeys(Side, here)
    request = AgainstRequest(
        revision=None, data=repository, output=repository, repository=repository
    )
    launch = against.worker_launcher(request, repository, codes)
    for side in Side:
        launch(side, stock_default(Task.INFERENCE, 1), 0)
    found = [dict(command.environment) for command in commands]
    assert all(keeps_heap(one["GLIBC_TUNABLES"]) for one in found)
    for own in ("TORCHINDUCTOR_CACHE_DIR", "TMPDIR"):
        assert len({one.pop(own) for one in found}) == len(Side)
    assert found[0] == found[1] == found[2]
