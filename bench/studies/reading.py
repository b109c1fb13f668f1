"""A study read back from its folder, so that its page can be made again from files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import records
from bench.errors import WorkerError
from bench.policy import policy_of
from bench.records import NoiseRow
from bench.scenarios import Status
from bench.studies.study import Measured

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.policy import Policy


def measured_again(
    folder: Path, groups: Mapping[str, dict[str, dict[tuple[int, int], float]]]
) -> tuple[Measured, Policy]:
    """What `Study.measure` returned, from noise.csv and environment.json; and the policy.

    Raises:
        RecordError: the folder is not a study's, or a file is damaged.
    """
    environment = records.read_environment(folder)
    noise, _ = records.read_rows(folder / "noise.csv", NoiseRow)
    measured = Measured(
        groups=dict(groups),
        noise=noise,
        failures=failures_of(environment),
        workers=dict(environment.get("workers") or {}),
        notes=[str(note) for note in environment.get("notes") or ()],
    )
    return measured, policy_of(environment.get("policy"))


def failures_of(environment: Mapping[str, Any]) -> dict[str, WorkerError]:
    """The seats that failed, and why."""
    return {
        seat: WorkerError(Status(said["status"]), str(said["reason"]))
        for seat, said in (environment.get("failures") or {}).items()
    }


def failures_kept(failures: Mapping[str, WorkerError]) -> dict[str, dict[str, str]]:
    """The same for environment.json."""
    return {
        seat: {"status": str(error.status), "reason": error.reason}
        for seat, error in failures.items()
    }
