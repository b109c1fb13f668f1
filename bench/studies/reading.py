"""A study read back from its folder, so that its page can be made again from files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.errors import WorkerError
from bench.plan.scenario import Status
from bench.store import records
from bench.store.metadata import RunMetadata
from bench.store.records import NoiseRow
from bench.studies.study import Measured

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.plan.thresholds import Policy


def measured_again(
    folder: Path, groups: Mapping[str, dict[str, dict[tuple[int, int], float]]]
) -> tuple[Measured, Policy]:
    """What `Study.measure` returned, from noise.csv and environment.json; and the policy.

    Raises:
        RecordError: the folder is not a study's, or a file is damaged.
    """
    environment = records.read_environment(folder)
    known = RunMetadata.of(environment)
    noise, _ = records.read_rows(folder / "noise.csv", NoiseRow)
    measured = Measured(
        groups=dict(groups),
        noise=noise,
        failures=failures_of(environment),
        workers={name: dict(kept) for name, kept in known.workers.items()},
        notes=list(known.notes),
    )
    return measured, known.policy


def failures_of(environment: Mapping[str, Any]) -> dict[str, WorkerError]:
    """The participants that failed, and why."""
    return {
        participant: WorkerError(Status(said["status"]), str(said["reason"]))
        for participant, said in (environment.get("failures") or {}).items()
    }


def failures_kept(failures: Mapping[str, WorkerError]) -> dict[str, dict[str, str]]:
    """The same for environment.json."""
    return {
        participant: {"status": str(error.status), "reason": error.reason}
        for participant, error in failures.items()
    }
