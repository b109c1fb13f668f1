"""The folder of one run, and the lock that keeps two runs from measuring each other."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.git import git

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_NAME = "pillqc-bench.lock"
LOGS = "logs"
"""What the workers printed, one file each."""
OUTPUTS = "outputs"
"""Outputs that are compared for parity; gone when the run has ended."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The code that runs: its commit and whether it has changes, or in a sentence why none."""

    revision: str | None = None
    dirty: bool | None = None
    unknown: str | None = None

    @property
    def notes(self) -> list[str]:
        """What a run says of it besides."""
        return [f"The commit of the code is not known: {self.unknown}."] if self.unknown else []


def commit(project: Path = Path(__file__).parents[1]) -> Commit:
    """The commit of the code in `project`, whatever else its repository holds."""
    try:
        git(project, "rev-parse", "HEAD:./")  # fails in a venv inside somebody else's repository
        revision = git(project, "rev-parse", "HEAD")
        changes = git(project, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except BenchError as error:
        return Commit(unknown=str(error))
    return Commit(revision=revision, dirty=bool(changes))


def create(results: Path, machine: str, revision: str | None, now: datetime | None = None) -> Path:
    """Make `<utc>-<machine>-<short commit>` under `results`; never an existing folder.

    Raises:
        BenchError: it cannot be written.
    """
    stamp = (now or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")
    name = f"{stamp}-{machine}-{(revision or 'nogit')[:7]}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        for attempt in range(100):
            folder = results / (name if attempt == 0 else f"{name}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            (folder / LOGS).mkdir()
            (folder / OUTPUTS).mkdir()
            return folder
    except OSError as error:
        raise BenchError(
            f"cannot write to the results folder {results}: {error.strerror}. "
            "Choose another with --results"
        ) from error
    raise BenchError(f"{results} already has a hundred runs of this second: check the clock")


def clear_outputs(folder: Path) -> None:
    """An empty folder for outputs, where a run that was cut may have left some."""
    shutil.rmtree(folder / OUTPUTS, ignore_errors=True)
    (folder / OUTPUTS).mkdir()
    (folder / LOGS).mkdir(exist_ok=True)


@contextmanager
def only_run_here(folder: Path | None = None) -> Iterator[None]:
    """Hold the machine's lock: two runs at once would measure each other.

    Raises:
        BenchError: another run holds it.
    """
    path = (folder or Path(tempfile.gettempdir())) / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BenchError(f"cannot open the lock file {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise BenchError(
                f"another run is measuring on this machine (process {holder}), and two at once "
                "would measure each other: wait for it to end"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)
