"""Hold what a run has measured so far, and write the summary files made from it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.analysis.claims import Claims
from bench.analysis.measurements import block_medians
from bench.analysis.speedups import RunAnalysis
from bench.plan.scenario import Status
from bench.run.outcomes import NO_TURN
from bench.store import records
from bench.text.numbers import spell_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.plan.thresholds import Policy
    from bench.run.outcomes import Outcome


@dataclass(kw_only=True)
class RunState:
    """The outcomes and rows of a run."""

    run_id: str
    folder: Path
    policy: Policy
    outcomes: dict[str, Outcome]
    """By scenario id."""
    peak: Mapping[str, Any]
    """`gflop_per_s` by dtype and `memory_gb_per_s`."""
    iterations: list[records.IterationRow] = field(default_factory=list)
    noise: list[records.NoiseRow] = field(default_factory=list)

    def visits(self) -> Counter[str]:
        """Count the launches of each scenario in the rows; zero for one that starts over."""
        blocks = block_medians(self.iterations)
        return Counter(
            {
                name: len({launch for launch, _ in blocks.get(name, ())})
                for name, outcome in self.outcomes.items()
                if not outcome.is_new
            }
        )

    def fail_unmeasured(self, visits: Mapping[str, int], budget_s: float) -> None:
        """Give the scenarios that the budget left without a visit their reason."""
        for name, outcome in self.outcomes.items():
            if outcome.measurable and not visits.get(name):
                outcome.fail(
                    Status.UNAVAILABLE,
                    f"{NO_TURN} of {spell_seconds(budget_s)} was used up "
                    "before its turn (raise BUDGET or choose a smaller profile)",
                )

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return the conditions of every scenario's worker, for environment.json."""
        return {name: outcome.worker for name, outcome in self.outcomes.items()}

    def scenario_rows(self, *, ended: bool) -> list[records.ScenarioRow]:
        """Return the rows of scenarios.csv; `ended` when no round will follow."""
        calls = defaultdict(list)
        for row in self.iterations:
            calls[row.scenario].append(row)
        rates = self.peak.get("gflop_per_s", {})
        return [
            outcome.row(self.run_id, calls[name], rates, ended=ended)
            for name, outcome in self.outcomes.items()
        ]

    def parity_rows(self) -> list[records.ParityRow]:
        """Return the rows of parity.csv."""
        return [one.parity for one in self.outcomes.values() if one.parity is not None]

    def analyse(self, *, ended: bool) -> RunAnalysis:
        """Analyse all rows so far; `ended` when no round will follow."""
        return RunAnalysis(
            self.run_id,
            self.scenario_rows(ended=ended),
            self.iterations,
            self.noise,
            self.parity_rows(),
            self.policy,
            workers=self.workers(),
        )

    def save_scenarios(self, *, ended: bool) -> None:
        """Replace scenarios.csv and parity.csv."""
        rows = self.scenario_rows(ended=ended)
        records.replace_rows(self.folder / "scenarios.csv", rows, records.ScenarioRow)
        records.replace_rows(self.folder / "parity.csv", self.parity_rows(), records.ParityRow)

    def save_answers(self, decided_s: Mapping[str, float]) -> None:
        """Replace speedups.csv and claims.csv; `decided_s` is when each claim was decided."""
        analysis = self.analyse(ended=True)
        claims = Claims(analysis).rows(decided_s)
        records.replace_rows(self.folder / "speedups.csv", analysis.rows(), records.SpeedupRow)
        records.replace_rows(self.folder / "claims.csv", claims, records.ClaimRow)

    def clear_answers(self) -> None:
        """Empty speedups.csv and claims.csv, which no longer cover all rows."""
        for name in ("speedups.csv", "claims.csv"):
            records.replace_rows(self.folder / name, [], records.FILES[name])
