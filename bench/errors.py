"""Define the errors of the harness.

BenchError              explained in one line; exit code 1
├── UsageError          wrong usage of a command; exit code 2
├── RecordError         a run's file is missing, damaged or of another version
└── WorkerError         a worker died, hung or refused; has the scenario's status
    └── RefusalError    the worker works, and its scenario is left out because of its answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.plan.scenario import Status


class BenchError(Exception):
    """A failure that one sentence explains; the sentence says what to do next."""

    exit_code = 1


class UsageError(BenchError):
    """The user named something that does not exist, or options that do not fit together."""

    exit_code = 2


class RecordError(BenchError):
    """A file of a run is missing, damaged or written by another version."""


class WorkerError(BenchError):
    """A worker could not do its task; `status` is the status of its scenario's row."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RefusalError(WorkerError):
    """A worker's answer leaves its scenario out; the worker itself can continue."""
