"""Where the wall time of measuring goes: by what it was spent on, and how much inside calls."""

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
    """A ledger.

        with use.during(MEASURING):
            ...  # calls, each told by use.count(row)

    Time that belongs to no entry (starting the parent, writing summaries) shows in `total_s` only.
    """

    clock: Callable[[], float] = time.monotonic
    called_s: float = 0.0
    """Inside warm-up and timed calls. First calls are not among them: they may compile."""
    total_s: float = 0.0
    spent_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    parent: ParentUse = field(default_factory=ParentUse)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Count the time inside under that entry, whatever ends it."""
        began = self.clock()
        try:
            yield
        finally:
            self.spent_s[what] += self.clock() - began

    def count(self, row: IterationRow) -> None:
        """Count a call."""
        if row.phase != Phase.FIRST_CALL:
            self.called_s += row.wall_ns / 1e9

    @property
    def measuring_share(self) -> float | None:
        """Share of all time that is spent inside warm-up and timed calls."""
        return self.called_s / self.total_s if self.total_s else None

    @property
    def rounds_share(self) -> float | None:
        """The same without starting and preparing workers: while a group is measured."""
        measuring_s = self.spent_s[MEASURING]
        return self.called_s / measuring_s if measuring_s else None
