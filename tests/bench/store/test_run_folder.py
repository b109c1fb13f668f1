"""Run folders are new, named as documented, and one run measures at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from bench import machine
from bench.errors import BenchError
from bench.store import run_folder
from tests.bench.command import bench
from tests.bench.git_repository import git

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 24, 1, 2, 3, tzinfo=timezone.utc)


def test_the_name_is_time_machine_and_commit(tmp_path: Path) -> None:
    """`<utc>-<machine>-<short commit>`, with room for logs."""
    folder = run_folder.create(tmp_path / "results", "m6i.4xlarge", "0123456789", NOW)
    assert folder.name == "20261124T010203Z-m6i.4xlarge-0123456"
    assert (folder / "logs").is_dir()


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    """Two runs of one second get two folders."""
    first = run_folder.create(tmp_path, "m", None, NOW)
    second = run_folder.create(tmp_path, "m", None, NOW)
    assert first != second
    assert first.name == "20261124T010203Z-m-nogit"


def test_a_results_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    """The line names the folder and the way out."""
    (tmp_path / "results").write_text("")
    with pytest.raises(BenchError, match=r"results.*--results"):
        run_folder.create(tmp_path / "results", "m", None, NOW)


def test_a_second_run_is_refused_while_the_first_holds_the_lock(tmp_path: Path) -> None:
    """They would measure each other; the line names the holder.

    Another folder for temporary files, another home and another user make no other machine.
    """
    code = (
        "import os\nfrom bench.store import run_folder\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "with run_folder.only_run_here():\n"
        "    print('held', flush=True); input()"
    )
    elsewhere = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | elsewhere,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for _ in range(2):  # a refused process changes nothing
        refused = pytest.raises(BenchError, match=rf"process {holder.pid}")
        with refused, run_folder.only_run_here():
            pass
    assert not list(tmp_path.iterdir())
    holder.communicate("\n")
    with run_folder.only_run_here():
        pass


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder of a larger repository, committed."""
    folder = tmp_path / "tools" / "pills"
    folder.mkdir(parents=True)
    (folder / "x").write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return folder


def test_the_commit_and_changes_come_from_git(project: Path, tmp_path: Path) -> None:
    """The project's own changes: what else a larger repository holds does not run."""
    code = run_folder.commit(project)
    assert code == run_folder.Commit(revision=git(tmp_path, "rev-parse", "HEAD"), dirty=False)
    assert code.notes == []
    (tmp_path / "y").write_text("1")
    git(tmp_path, "add", "y")
    assert run_folder.commit(project).dirty is False
    (project / "x").write_text("2")
    assert run_folder.commit(project).dirty is True


def test_the_reason_for_an_unknown_commit_is_noted(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another owner's checkout, no repository and no git are three reasons, noted with the run."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert "dubious ownership" in (run_folder.commit(project).unknown or "")
    assert "safe.directory" in run_folder.commit(project).notes[0]
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    (tmp_path / ".git").rename(tmp_path / "no git")
    code = run_folder.commit(project)
    assert (code.revision, code.dirty) == (None, None)
    assert "not a git repository" in (code.unknown or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "PATH" in (run_folder.commit(project).unknown or "")


def test_an_installed_copy_has_not_the_commit_of_the_repository_around_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment lies in somebody's checkout, and git's variables may name one more."""
    installed = project / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    assert "not in 'HEAD'" in (run_folder.commit(installed).unknown or "")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert "not a git repository" in (run_folder.commit(outside).unknown or "")


def test_a_working_tree_whose_repository_lies_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git finds it by the user's variables alone, and so does a run."""
    revision = git(tmp_path, "rev-parse", "HEAD")
    elsewhere = tmp_path.parent / f"{tmp_path.name}.git"
    (tmp_path / ".git").rename(elsewhere)
    monkeypatch.setenv("GIT_DIR", str(elsewhere))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert run_folder.commit(project) == run_folder.Commit(revision=revision, dirty=False)


def test_a_system_without_linuxs_means_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: what measures is refused before a folder is made, what looks works."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sched_setaffinity")
    asked = ["--data", str(tmp_path), "--results", str(tmp_path / "results")]
    done = bench("run", "--reports", tmp_path / "reports", *asked)
    assert done.exit_code == 1
    assert "needs Linux" in done.output
    assert not (tmp_path / "results").exists()
    assert "worker_cpus" in machine.describe(frameworks=False)
    with pytest.raises(BenchError, match="needs Linux"):
        run_folder.check_system(tmp_path)
