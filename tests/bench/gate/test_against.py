"""Base against head: real git, real worktrees, real worker processes, scripted times."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.gate import against
from bench.gate.against import AgainstRequest

INFERENCE = "inference/stock/eager/fp32/contiguous/b1"
TRAINING = "training/stock/eager/fp32/contiguous/b2/frozen"
SCRIPT = (Path(__file__).parent / "scripted_worker.py").read_text()

pytestmark = pytest.mark.usefixtures("quiet_machine")

Commit = Callable[..., str]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkouts and the machine's lock of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A fake checkout of this project under git."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "config", "user.name", "t")
    git(folder, "config", "user.email", "t@example.invalid")
    for package in ("bench", "pillqc"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("")
    (folder / "bench" / "worker.py").write_text(SCRIPT)
    speed(folder)
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Git in that folder."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """Commit everything; returns the commit."""
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "x")
    return git(folder, "rev-parse", "HEAD")


def speed(
    folder: Path,
    inference: float = 100.0,
    training: float = 200.0,
    *,
    spread: float = 0.005,
    fail: str | None = None,
) -> None:
    """What this checkout's workers will say."""
    times = {"inference": inference, "training": training}
    text = f"MS = {times!r}\nSPREAD = {spread}\nFAIL = {fail!r}\n"
    (folder / "pillqc" / "speed.py").write_text(text)


def request(repository: Path, *only: str, **changes: object) -> AgainstRequest:
    """A gate of this repository against its last commit."""
    data = repository.parent / "data"
    data.mkdir(exist_ok=True)
    fields: dict[str, object] = {
        "revision": "HEAD",
        "data": data,
        "output": repository.parent / "out",
        "repository": repository,
        "only": only or (INFERENCE,),
    }
    return AgainstRequest(**{**fields, **changes})  # type: ignore[arg-type] # by name


def clean(repository: Path) -> bool:
    """Whether no worktree is left, in git's list or on disk."""
    listed = git(repository, "worktree", "list", "--porcelain").count("worktree ")
    return listed == 1


def test_head_against_itself_passes(repository: Path) -> None:
    """The same code on both sides gives 0, and no checkout stays behind."""
    report = against.compare(request(repository))
    assert report.exit_code == 0, report
    assert clean(repository)


def test_a_slower_working_tree_is_a_regression(repository: Path) -> None:
    """Each side runs its own pillqc: only so can a change in the working tree show."""
    speed(repository, inference=110)
    report = against.compare(request(repository))
    assert report.exit_code == 10, report
    assert report.cases[0].ratio is not None
    assert report.cases[0].ratio.estimate == pytest.approx(100 / 110, rel=0.01)
    assert report.cases[0].details is not None
    assert "confirmation" in report.cases[0].details
