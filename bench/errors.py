"""The harness's own errors.

BenchError              explained in one line; exit code 1
├── UsageError          the command was asked for something that does not exist; exit code 2
├── RecordError         a run's file is missing, damaged or of another version
└── WorkerError         a worker died, hung or refused; carries the scenario's status
    └── RefusalError    the worker did what it was asked, and its scenario is left out for it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.plan.scenario import Status


class BenchError(Exception):
    """Something failed in a way that one sentence explains; the sentence says what to do next."""

    exit_code = 1


class UsageError(BenchError):
    """The user named a scenario, profile, backend or option that does not exist."""

    exit_code = 2


class RecordError(BenchError):
    """A file of a run is missing, damaged or written by another version."""


class WorkerError(BenchError):
    """A worker could not do what it was asked; `status` is what its scenario's row will say."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RefusalError(WorkerError):
    """What a worker did or said leaves its scenario out; the worker itself can go on."""
