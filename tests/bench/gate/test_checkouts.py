"""What the gate checks out and starts: each side its own code, and nothing of it is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.engine import launcher
from bench.errors import BenchError
from bench.gate import against
from bench.gate.against import AgainstRequest
from bench.gate.result import NoVerdictError
from bench.gate.side import Code, Side
from bench.machine.worker_settings import keeps_heap
from bench.plan.scenario import Task, stock_default
from tests.bench.gate.fake_checkout import INFERENCE, commit, request, speed
from tests.bench.git_repository import git
from tests.bench.processes import gone
from tests.closed_terminal import Terminal
from tests.known import known

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.engine.worker_process import WorkerCommand

    Gate = subprocess.Popen[str]

ROOT = Path(__file__).parents[3]
INSTALLER = """
import os, pathlib, time
packages = pathlib.Path(".venv").absolute()
for number in range(600):
    (packages / str(number)).mkdir(parents=True, exist_ok=True)
    if number == 1:
        pathlib.Path({started!r} + "~").write_text(str(os.getpid()))
        os.rename({started!r} + "~", {started!r})
    time.sleep(0.1)
"""
"""Writes packages by absolute paths for a minute, as pip does, and says that it has begun."""


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


def test_an_interrupted_build_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    """What make started, as pip, ends too, or it would write the removed checkout anew."""
    started = tmp_path / "started"
    (repository / "Makefile").write_text(".venv/.installed:\n\t$(PYTHON) installer.py\n")
    (repository / "installer.py").write_text(INSTALLER.format(started=str(started)))
    (repository / "constraints.txt").write_text("torch==2.7.0\n")
    commit(repository)
    (repository / "constraints.txt").write_text("torch==2.8.0\n")
    process = heeding(request(repository), signal.SIGTERM)
    try:
        wait_for(started.exists, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()  # it holds the machine's lock
    assert process.returncode == 130, errors
    assert gone(int(started.read_text()))


def test_what_a_killed_gate_left_goes_with_the_next(repository: Path) -> None:
    """A process that was killed outright could not clean up; another's live checkout stays."""
    temporary = Path(tempfile.gettempdir())
    dead = temporary / "pillqc-gate-999999999-abc"
    alive = temporary / f"pillqc-gate-{os.getpid()}-abc"
    for folder in (dead, alive):
        git(repository, "worktree", "add", "--detach", str(folder), "HEAD")
    written_again = temporary / "pillqc-gate-999999998-abc"
    others = [
        temporary / name for name in (f"pillqc-gate-{os.getpid()}-def", "pillqc-gate-999999997-a.b")
    ]
    for folder in (written_again, *others):
        (folder / ".venv").mkdir(parents=True)
    against.compare(request(repository))
    assert not dead.exists()
    assert not written_again.exists()
    assert [folder.exists() for folder in (alive, *others)] == [True] * 3
    git(repository, "worktree", "remove", "--force", str(alive))
    for folder in others:
        shutil.rmtree(folder)


def gate(asked: AgainstRequest, number: signal.Signals, handler: str, **streams: Any) -> Gate:
    """Start the command in the request's repository, with this handler of a signal at first."""
    arguments = ["gate", "--against", "HEAD", "--only", INFERENCE, "--data", str(asked.data)]
    arguments += ["--output", str(asked.output)]
    first = f"import signal; signal.signal({int(number)}, signal.{handler}); "
    code = f"import sys; sys.path[0] = {str(ROOT)!r}; from bench.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", first + code, *arguments],
        cwd=asked.repository,
        stdout=subprocess.PIPE,
        text=True,
        **streams,
    )


def heeding(asked: AgainstRequest, number: signal.Signals) -> Gate:
    """Start the command; who runs the tests, with `nohup` for example, may ignore the signal."""
    default = "default_int_handler" if number == signal.SIGINT else "SIG_DFL"
    return gate(asked, number, default, stderr=subprocess.PIPE)


def wait_for(reached: Callable[[], bool], process: Gate) -> None:
    """Wait until the command has come so far."""
    deadline = time.monotonic() + 60
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the gate never came so far"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "fail"),
    [
        (signal.SIGINT, "hang"),
        (signal.SIGTERM, "hang"),
        (signal.SIGHUP, "hang"),
        (signal.SIGTERM, "hang later"),
    ],
)
def test_an_interrupt_leaves_nothing(repository: Path, number: signal.Signals, fail: str) -> None:
    """Ctrl-C, a cancelled job and a closed terminal all end with exit code 130 and no checkout.

    In the second launch, too, whose workers make their first calls side by side.
    """
    speed(repository, fail=fail)
    asked = request(repository)
    process = heeding(asked, number)
    try:
        wait_for(lambda: any(asked.output.glob("*/inductor-cache/hanging")), process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()  # it holds the machine's lock
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_a_closed_terminal_leaves_the_gate_its_verdict(repository: Path) -> None:
    """The shell told it to ignore that (`disown`, `trap '' HUP`), and a file takes the verdict."""
    with Terminal() as window:
        process = gate(request(repository), signal.SIGHUP, "SIG_IGN", stderr=window.stream)
        assert "checking out" in window.shown()
    try:
        verdict, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    assert INFERENCE in verdict


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
