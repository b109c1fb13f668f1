"""A lane among seats that all stand in every round: the gate's, the selfcheck's, the studies'.

A run knows its lanes by their scenarios; of seats several may run the same one.
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
