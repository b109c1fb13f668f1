"""Define participants, and the groups of them that share rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.plan.scenario import CONTROL_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Participant:
    """One worker's place in every round of its group; several may run the same scenario."""

    name: str
    scenario: Scenario
    worker: str = ""
    """Participants with the same one share a process and take turns in it; default: its own."""
    base: str = ""
    """The participant whose conditions it must share and whose time a speedup divides by."""
    is_control: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the experiment itself keeps with it."""

    @property
    def process(self) -> str:
        """The name of its process."""
        return self.worker or self.name


def control_of(participant: Participant) -> Participant:
    """Return a second process of the same participant; its speedup should come out as 1."""
    return Participant(
        name=participant.name + CONTROL_SUFFIX,
        scenario=participant.scenario,
        worker=participant.process + CONTROL_SUFFIX,
        base=participant.name,
        is_control=True,
        details=participant.details,
    )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Participants that share rounds, in the order in which their workers are started."""

    name: str
    participants: tuple[Participant, ...]
