"""Another commit beside the working tree, for as long as it is needed and not a moment longer.

    with checked_out(repository, commit) as folder: ...

The worktree lies in the system's temporary folder under a name that carries our process id. It goes
when the block ends, however it ends; one whose process was killed outright goes with the next gate.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "pillqc-gate-"
_MAIN_BRANCHES = ("origin/HEAD", "origin/main", "main", "origin/master", "master")
_GIT_TIMEOUT_S = 300


def git(repository: Path, *arguments: str) -> str:
    """What git prints. Its own variables are left out: inside a hook they name another tree.

    Raises:
        BenchError: git is missing, or refuses; says what it said.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "-C", str(repository), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_GIT_TIMEOUT_S,
            env=environment,
        )
    except OSError as error:
        raise BenchError(f"cannot run git: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"git {arguments[0]} did not end in {_GIT_TIMEOUT_S} s") from error
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise BenchError(f"git {arguments[0]} failed: {said[:300]}")
    return done.stdout.strip()


def top_level(folder: Path) -> Path:
    """The working tree that holds `folder`.

    Raises:
        BenchError: it is not in one.
    """
    return Path(git(folder, "rev-parse", "--show-toplevel"))


def resolve(repository: Path, revision: str | None) -> str:
    """The commit to compare with: what was named, or where this branch left the main branch.

    Raises:
        BenchError: there is no such commit here.
    """
    if revision is None:
        return _merge_base(repository)
    try:
        return git(
            repository, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"
        )
    except BenchError as error:
        raise BenchError(
            f"there is no commit {revision!r} here: name another, or fetch it first"
        ) from error


def _merge_base(repository: Path) -> str:
    for branch in _MAIN_BRANCHES:
        try:
            git(repository, "rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}")
        except BenchError:
            continue
        try:
            return git(repository, "merge-base", "HEAD", branch)
        except BenchError as error:
            raise BenchError(
                f"HEAD and {branch} have no common commit here: fetch the whole history "
                "(`fetch-depth: 0` in a workflow) or name a commit with --against"
            ) from error
    raise BenchError("there is no main branch here to compare with: name a commit with --against")


def describe_tree(repository: Path) -> str:
    """The working tree in words: its commit, and whether it has changes."""
    commit = git(repository, "rev-parse", "--short=10", "HEAD")
    dirty = bool(git(repository, "status", "--porcelain", "--untracked-files=no"))
    return f"{commit} with changes" if dirty else commit


@contextmanager
def checked_out(repository: Path, commit: str) -> Iterator[Path]:
    """A worktree of that commit; gone when the block ends, by Ctrl-C too.

    Raises:
        BenchError: it cannot be checked out.
    """
    _remove_leftovers(repository)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")).resolve()
    try:
        try:
            git(repository, "worktree", "add", "--detach", "--force", str(folder), commit)
        except BenchError as error:
            raise BenchError(f"cannot check out {commit[:10]}: {error}") from error
        yield folder
    finally:
        with _undisturbed():
            _remove(repository, folder)


def _remove(repository: Path, folder: Path) -> None:
    """Take a worktree away, whatever state it is in."""
    try:
        git(repository, "worktree", "remove", "--force", "--force", str(folder))
    except BenchError:
        shutil.rmtree(folder, ignore_errors=True)
        git(repository, "worktree", "prune")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not cut the cleaning short; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove_leftovers(repository: Path) -> None:
    """Worktrees of gates that were killed: ours by name, and their process is gone."""
    for line in git(repository, "worktree", "list", "--porcelain").splitlines():
        folder = Path(line.removeprefix("worktree "))
        found = re.fullmatch(rf"{_PREFIX}(\d+)-\w+", folder.name)
        if line.startswith("worktree ") and found and not Path(f"/proc/{found[1]}").exists():
            _remove(repository, folder)
