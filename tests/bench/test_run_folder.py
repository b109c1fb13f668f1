"""Run folders are new, named as documented, and one run measures at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bench import machine, run_folder
from bench.cli import cli
from bench.errors import BenchError

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
    with pytest.raises(BenchError, match=r"cannot write to the results folder .*--results"):
        run_folder.create(tmp_path / "results", "m", None, NOW)


def test_a_second_run_is_refused_while_the_first_holds_the_lock(tmp_path: Path) -> None:
    """They would measure each other; the line names the holder.

    Another folder for temporary files, another home and another user make no other machine.
    """
    code = (
        "import os\nfrom bench import run_folder\n"
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
    for _ in range(2):  # whoever was refused changes nothing
        refused = pytest.raises(BenchError, match=rf"process {holder.pid}")
        with refused, run_folder.only_run_here():
            pass
    assert not list(tmp_path.iterdir())
    holder.communicate("\n")
    with run_folder.only_run_here():
        pass


def test_a_system_without_linuxs_means_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: what measures is refused before a folder is made, what looks works."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sched_setaffinity")
    asked = ["--data", str(tmp_path), "--results", str(tmp_path / "results")]
    done = CliRunner().invoke(cli, ["run", "--reports", str(tmp_path / "reports"), *asked])
    assert done.exit_code == 1
    assert "measuring needs Linux" in done.output
    assert not (tmp_path / "results").exists()
    assert "worker_cpus" in machine.describe(frameworks=False)
    with pytest.raises(BenchError, match="measuring needs Linux"):
        run_folder._check_system(tmp_path)


def test_the_commit_and_changes_come_from_git(tmp_path: Path) -> None:
    """A clean commit, a dirty one, and no repository at all."""
    assert run_folder.commit(tmp_path) == (None, None)
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        [*identity, "commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    revision, dirty = run_folder.commit(tmp_path)
    assert revision is not None
    assert len(revision) == 40
    assert dirty is False
    (tmp_path / "x").write_text("1")
    subprocess.run(["git", "-C", str(tmp_path), "add", "x"], check=True)
    assert run_folder.commit(tmp_path)[1] is True
