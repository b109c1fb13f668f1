"""Count where the wall time of measuring goes, and how much of it is inside calls."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine.worker_process import ParentUse
from bench.plan.scenario import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.store.records import IterationRow

MEASURING = "measuring"
"""From the first warm-up call of a group to the end of its last round."""


@dataclass(kw_only=True)
class TimeUse:
    """Seconds by activity; time outside all activities is in `total_s` only."""

    clock: Callable[[], float] = time.monotonic
    called_s: float = 0.0
    """Inside warm-up and timed calls; first calls are left out because they may compile."""
    total_s: float = 0.0
    spent_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    parent: ParentUse = field(default_factory=ParentUse)

    @contextmanager
    def during(self, activity: str) -> Iterator[None]:
        """Add the time inside to that activity, also when it ends with an error."""
        started = self.clock()
        try:
            yield
        finally:
            self.spent_s[activity] += self.clock() - started

    def count(self, row: IterationRow) -> None:
        """Add a call."""
        if row.phase != Phase.FIRST_CALL:
            self.called_s += row.wall_ns / 1e9

    @property
    def measuring_share(self) -> float | None:
        """Share of the total time inside warm-up and timed calls."""
        return self.called_s / self.total_s if self.total_s else None

    @property
    def rounds_share(self) -> float | None:
        """The same share of the time in which groups are measured, without starting workers."""
        measuring_s = self.spent_s[MEASURING]
        return self.called_s / measuring_s if measuring_s else None
