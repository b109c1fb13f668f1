"""A lane among seats that all stand in every round: the gate's, the selfcheck's, the studies'.

A run's group is many scenarios, of which precise ones rest and the fastest stock one becomes a
second baseline. A few seats that are compared with their first one know neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.lane import Lane


@dataclass(kw_only=True)
class SeatedLane(Lane):
    """A lane that is known by its seat, because several run the same scenario."""

    seat_name: str
    is_first: bool

    @property
    def name(self) -> str:
        """The seat's."""
        return self.seat_name

    @property
    def is_default(self) -> bool:
        """The first seat is what the stopping rule divides by."""
        return self.is_first

    @property
    def may_rest(self) -> bool:
        """Any seat may be another's baseline or control."""
        return False

    @property
    def may_be_tuned(self) -> bool:
        """There is no second baseline here."""
        return False
