"""Check another commit out beside the working tree, for the duration of a block.

    with checked_out(repository, commit) as folder: ...

The worktree lies in the system's temporary folder, and its name contains our process id. It is
removed when the block ends, however it ends; the next gate removes what a killed one left.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.store.git import git

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "pillqc-gate-"


@contextmanager
def checked_out(repository: Path, commit: str) -> Iterator[Path]:
    """Yield a worktree of that commit, and remove it afterwards, also after Ctrl-C.

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
    """Remove a worktree, whatever its state."""
    try:
        git(repository, "worktree", "remove", "--force", "--force", str(folder))
    except BenchError:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(BenchError):  # a verdict is worth more than a tidy list of worktrees
            git(repository, "worktree", "prune")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore a second Ctrl-C while cleaning up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove_leftovers(repository: Path) -> None:
    """Remove what killed gates left: named as ours, by a process that no longer exists.

    A folder that git does not list may be half a checkout, or one that a build wrote into again.
    """
    listed = git(repository, "worktree", "list", "--porcelain")
    worktrees = {Path(found) for found in re.findall(r"^worktree (.+)$", listed, re.MULTILINE)}
    temporary = Path(tempfile.gettempdir()).resolve()
    for folder in worktrees.union(temporary.glob(f"{_PREFIX}*-*")):
        found = re.fullmatch(rf"{_PREFIX}(\d+)-\w+", folder.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            _remove(repository, folder)
