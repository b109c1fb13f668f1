"""Make the folder of one run, and hold the lock that prevents two runs at once."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import struct
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.store.git import git, has_changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOCK_NAME = "pillqc-bench.lock"
LOCK_VARIABLE = "PILLQC_BENCH_LOCK"
"""Names another lock, for tests that run at the same time; their figures mean nothing."""
_MANY = 1024
LOGS = "logs"
"""The output of the workers, one file each."""
OUTPUTS = "outputs"
"""Outputs that are compared for parity, until the run has ended."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The commit of the code and whether it has changes, or why that is not known."""

    revision: str | None = None
    dirty: bool | None = None
    unknown: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, Any]) -> Commit:
        """Read what environment.json keeps of it; earlier versions may have kept less."""
        return cls(revision=environment.get("commit"), dirty=environment.get("dirty"))

    @property
    def kept(self) -> dict[str, Any]:
        """Its entries of environment.json."""
        return {"commit": self.revision, "dirty": self.dirty}

    @property
    def notes(self) -> list[str]:
        """The notes for a run's metadata."""
        return [f"The commit of the code is not known: {self.unknown}."] if self.unknown else []


def commit(project: Path = Path(__file__).parents[2]) -> Commit:
    """Return the commit of the code in `project`, a folder of any repository."""
    try:
        git(project, "rev-parse", "HEAD:./")  # fails in a venv inside somebody else's repository
        revision = git(project, "rev-parse", "HEAD")
        dirty = has_changes(project)
    except BenchError as error:
        return Commit(unknown=str(error))
    return Commit(revision=revision, dirty=dirty)


def stamp(now: datetime | None = None) -> str:
    """Return the time in UTC as folders of runs begin with it."""
    return (now or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")


def utc_now() -> str:
    """Return the time in UTC as environment.json has it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def first_metadata(folder: Path, code: Commit, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what environment.json says of every run and study when it begins."""
    return {
        "run_id": folder.name,
        "started_utc": utc_now(),
        "finished_utc": None,
        "complete": False,
        "notes": [],
        **code.kept,
        "command": ["bench", *sys.argv[1:]],
        "machine": machine,
        "workers": {},
    }


def create(results: Path, machine: str, revision: str | None, now: datetime | None = None) -> Path:
    """Make `<utc>-<machine>-<short commit>` under `results`; never an existing folder.

    Raises:
        BenchError: it cannot be written.
    """
    name = f"{stamp(now)}-{machine}-{(revision or 'nogit')[:7]}"
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
    """Empty the folder of outputs, where a run that was killed may have left some."""
    shutil.rmtree(folder / OUTPUTS, ignore_errors=True)
    (folder / OUTPUTS).mkdir()
    (folder / LOGS).mkdir(exist_ok=True)


@contextmanager
def only_run_here() -> Iterator[None]:
    """Hold the machine's lock: two runs at once would disturb each other.

    The lock is the name of a kernel socket, not a file: all users share it without permissions, and
    it ends with its process.

    Raises:
        BenchError: another run holds it, or nothing can be measured on this system.
    """
    check_system()
    name = f"\0{os.environ.get(LOCK_VARIABLE, LOCK_NAME)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        try:
            lock.bind(name)
            lock.listen(_MANY)  # so that a refused process can ask who holds it
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise BenchError(f"cannot take the machine's lock: {error.strerror}") from error
            raise BenchError(
                f"another run is measuring on this machine (process {_holder(name)}), and two at "
                "once would measure each other: wait for it to end"
            ) from error
        yield


def _holder(name: str) -> str:
    """Return the process that holds the lock; `unknown` for one in another container."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        client.connect(name)
        found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return str(struct.unpack("3i", found)[0] or "unknown")
    return "unknown"


def check_system(root: Path = Path("/")) -> None:
    """Raise BenchError if this system lacks what every measurement needs."""
    if not (hasattr(os, "sched_setaffinity") and (root / "proc/self/status").exists()):
        raise BenchError(
            "measuring needs Linux and its /proc, to bind workers to CPUs and to read the kernel's "
            "counters of memory and noise. Without it `bench machine`, `scenarios`, `report`, "
            "`recommend` and `export` work"
        )
