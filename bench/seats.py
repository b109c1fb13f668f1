"""Who takes part in the rounds of a launch: seats, and the groups that share rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.scenarios import CONTROL_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.scenarios import Scenario


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One worker's place in every round of its group; several may run the same scenario.

    Seats of one `worker` take turns inside one process, group after group; by default a seat has
    its own. `base` is the seat whose conditions it must share, and whose time a speedup divides by;
    a control repeats its base.
    """

    name: str
    scenario: Scenario
    worker: str = ""
    base: str = ""
    is_control: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the experiment itself must know of it."""

    @property
    def process(self) -> str:
        """The name of its process."""
        return self.worker or self.name


def control_of(seat: Seat) -> Seat:
    """A second process of the same seat; it should come out as 1."""
    return Seat(
        name=seat.name + CONTROL_SUFFIX,
        scenario=seat.scenario,
        worker=seat.process + CONTROL_SUFFIX,
        base=seat.name,
        is_control=True,
        details=seat.details,
    )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Seats that share rounds, in the order in which their workers are started."""

    name: str
    seats: tuple[Seat, ...]
