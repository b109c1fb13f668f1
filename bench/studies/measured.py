"""Hold what a study measured: its blocks, failures and conditions, and the judge of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements
from bench.errors import WorkerError
from bench.plan.scenario import Status, Verdict
from bench.store import records
from bench.store.metadata import RunMetadata
from bench.store.records import NoiseRow
from bench.text.wording import listed
from bench.worker.conditions import unequal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.analysis.measurements import Key
    from bench.plan.thresholds import Policy
    from bench.worker.protocol import PrepareReply


@dataclass(kw_only=True)
class Measured:
    """The measurements of a study, by participant where not said otherwise."""

    groups: dict[str, dict[str, dict[Key, float]]] = field(default_factory=dict)
    """Group -> participant -> (launch, round) -> ms."""
    noise: list[NoiseRow] = field(default_factory=list)
    failures: dict[str, WorkerError] = field(default_factory=dict)
    """Why it has no blocks, or no further ones."""
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The conditions that its worker reported, and what differed from its base's."""
    prepared: dict[str, PrepareReply] = field(default_factory=dict)
    """The reply to `prepare`."""
    contradictions: dict[str, str] = field(default_factory=dict)
    """How what it executed contradicts its label, in a sentence."""
    unchecked: dict[str, str] = field(default_factory=dict)
    """Why its label was not compared with what it executed; it has no verdict."""
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    """The images that the workers read, as one of them describes them; empty without images."""

    def judge(self, policy: Policy) -> Judge:
        """Return the judge of all groups in one model.

        A participant that failed before its first block is unusable, and so is one whose worker's
        conditions differed or whose evidence contradicts its label.
        """
        unusable = {
            name: str(error)
            for name, error in self.failures.items()
            if not any(blocks.get(name) for blocks in self.groups.values())
        }
        unusable = {**self.refuted, **unusable}
        found = Measurements(groups=self.groups, unusable=unusable, unchecked=self.unchecked)
        return Judge(found, policy)

    @property
    def refuted(self) -> dict[str, str]:
        """Participant -> why it counts for nothing: its worker's conditions, or its label."""
        return {**unequal(self.workers), **self.contradictions}

    @property
    def objections(self) -> dict[str, tuple[Verdict, str]]:
        """Participant -> what stands in place of an answer about it, and why."""
        unchecked = {name: (Verdict.INCONCLUSIVE, why) for name, why in self.unchecked.items()}
        return unchecked | {name: (Verdict.INVALID, why) for name, why in self.refuted.items()}

    def caveats(self) -> list[str]:
        """Return what the workers said of their models that weakens the figures, in sentences."""
        emulated = [
            name for name, reply in self.prepared.items() if reply.get("native_dtype") is False
        ]
        models = [reply["model"] for reply in self.prepared.values() if "model" in reply]
        found = [f"This CPU emulates the dtype of {listed(emulated, 3)}."] if emulated else []
        if any(not model["trained"] for model in models):
            found.append("The weights are random: decisions mean nothing before training.")
        return found


def measured_again(
    folder: Path, groups: Mapping[str, dict[str, dict[tuple[int, int], float]]]
) -> tuple[Measured, Policy]:
    """Read a study's measurements and thresholds from noise.csv and environment.json.

    Raises:
        RecordError: the folder is not a study's, or a file is damaged.
    """
    environment = records.read_environment(folder)
    known = RunMetadata.of(environment)
    noise, _ = records.read_rows(folder / "noise.csv", NoiseRow)
    measured = Measured(
        groups=dict(groups),
        noise=noise,
        failures={
            name: WorkerError(Status(kept["status"]), str(kept["reason"]))
            for name, kept in (environment.get("failures") or {}).items()
        },
        workers={name: dict(kept) for name, kept in known.workers.items()},
        contradictions=_sentences(environment.get("contradictions")),
        unchecked=_sentences(environment.get("unchecked")),
        notes=list(known.notes),
    )
    return measured, known.policy


def _sentences(kept: Mapping[str, object] | None) -> dict[str, str]:
    return {name: str(found) for name, found in (kept or {}).items()}


def failures_kept(failures: Mapping[str, WorkerError]) -> dict[str, dict[str, str]]:
    """Return the failures as environment.json keeps them."""
    return {
        name: {"status": str(error.status), "reason": error.reason}
        for name, error in failures.items()
    }
