"""An imagined machine on which runs are played: true speeds, luck and costs are known.

machine = Machine(scenarios=..., ms={...}).play()
decided_claims(machine.analysis(), DEFAULT)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from bench.analysis.speedups import RunAnalysis
from bench.plan.profiles import PROFILES, Profile
from bench.plan.scenario import CONTROL_SUFFIX, Dtype, Scenario
from bench.plan.thresholds import DEFAULT
from bench.run.forecast import Cost
from bench.run.open_claims import decided_claims
from bench.run.outcomes import Outcome
from bench.run.planner import Known, Planner, Visit
from tests.bench.calls import timed_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.records import IterationRow


@dataclass(kw_only=True)
class Machine:
    """Plays visits; every process and every block has a random part in its time."""

    scenarios: Sequence[Scenario]
    ms: Mapping[Scenario, float]
    """At batch size 1; 100 by default."""
    budget_s: float = 900.0
    profile: Profile = PROFILES["standard"]
    process: float = 0.004
    block: float = 0.01
    open_s: float = 4.0
    seed: int = 1
    refused: frozenset[str] = frozenset()
    """Scenarios that are too good to be true."""
    slow_dtypes: frozenset[Dtype] = frozenset()
    """What its CPU emulates slowly."""
    spent_s: float = 0.0
    visits: list[Visit] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    rows: list[IterationRow] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)
    decided: dict[int, frozenset[str]] = field(default_factory=dict)
    """Claims that were decided after so many visits, as far as anybody asked."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.planner = Planner(
            self.scenarios,
            profile=self.profile,
            policy=DEFAULT,
            budget_s=self.budget_s,
            slow_dtypes=self.slow_dtypes,
        )

    def known(self) -> Known:
        """What the planner knows."""
        counts = Counter(name for visit in self.visits for name in visit.scenarios)
        return Known(
            measurable={one.id for one in self.scenarios},
            visits=counts,
            costs=self.costs,
            left_s=self.budget_s - self.spent_s,
            thorough={name for visit in self.visits for name in visit.thorough},
            analysis=cache(self.analysis),
        )

    def analysis(self, calls: Sequence[IterationRow] | None = None) -> RunAnalysis:
        """What the rows so far show, or these calls."""
        rows = []
        for one in self.scenarios:
            row = Outcome(scenario=one).row("run", [], {})
            share = 500.0 if one.id in self.refused else None
            rows.append(replace(row, status="ok", checked=True, percent_of_peak=share))
        return RunAnalysis("run", rows, self.rows if calls is None else calls, [], [], DEFAULT)

    def time_ms(self, scenario: Scenario) -> float:
        """The true time of a call."""
        plain = replace(scenario, batch_size=1, options=())
        return self.ms.get(scenario, self.ms.get(plain, 100.0)) * scenario.batch_size

    def carry_out(self, visit: Visit) -> None:
        """Measure a visit."""
        launch = len(self.visits)
        self.visits.append(visit)
        by_id = {one.id: one for one in self.scenarios}
        participants = [(name, by_id[name]) for name in visit.scenarios]
        participants += [
            (n + CONTROL_SUFFIX, one) for n, one in participants if one.is_stock_default
        ]
        level = {n: self.time_ms(one) * self._factor(self.process) for n, one in participants}
        rounds = self.profile.min_rounds if visit.is_first else visit.rounds
        for number in range(rounds):
            self.rows += [
                timed_call(name, launch, number, level[name] * self._factor(self.block))
                for name, _ in participants
            ]
        for name, one in participants:
            first_s = self.open_s + (15.0 if one.compiles else 0.0)
            round_s = 2 * self.time_ms(one) / 1000
            cost = Cost(open_s=self.open_s, round_s=round_s, first_s=first_s)
            self.spent_s += (first_s if visit.is_first else self.open_s) + rounds * round_s
            if not name.endswith(CONTROL_SUFFIX):
                calls = 120 / one.batch_size * (name in visit.thorough)
                self.spent_s += calls * self.time_ms(one) / 1000
                self.costs[name] = cost
        self.ends_s.append(self.spent_s)

    def _factor(self, spread: float) -> float:
        return float(np.exp(self.rng.normal(0, spread)))

    def play(self) -> Machine:
        """A whole run."""
        while (visit := self.planner.next(self.known())) is not None:
            assert len(self.visits) < 500
            self.carry_out(visit)
        return self

    def processes(self, scenario: Scenario) -> int:
        """Visits of a scenario."""
        return sum(scenario.id in visit.scenarios for visit in self.visits)

    def decided_s(self, claim: str) -> float:
        """When it was first seen decided."""
        for launch, end_s in enumerate(self.ends_s):
            if launch not in self.decided:
                rows = [row for row in self.rows if row.launch <= launch]
                self.decided[launch] = frozenset(decided_claims(self.analysis(rows), DEFAULT))
            if claim in self.decided[launch]:
                return end_s
        return float("inf")
