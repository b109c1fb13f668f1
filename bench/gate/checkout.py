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
import tempfile
import threading
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
        with suppress(BenchError):  # a verdict is worth more than a tidy list of worktrees
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
