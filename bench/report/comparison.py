"""Comparison groups, and one scenario against another. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from bench.report.wording import option_tags
from bench.scenarios import DEFAULT_ENVIRONMENT, TRAINING_OPTIONS, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.records import ScenarioRow, SpeedupRow


class Group(NamedTuple):
    """Scenarios that share rounds and baselines."""

    task: str
    batch_size: int
    trained: str
    """`frozen` or `full` for training, else empty."""

    @property
    def label(self) -> str:
        """`Inference, batch 8`, `Training, batch 8, shallow blocks frozen`."""
        words = {"frozen": ", shallow blocks frozen", "full": ", everything trained"}
        trained = words.get(self.trained, self.trained)
        return f"{self.task.capitalize()}, batch {self.batch_size}{trained}"

    @property
    def noise_name(self) -> str:
        """The group's name in noise.csv."""
        tail = f"/{self.trained}" if self.trained else ""
        return f"{self.task}/b{self.batch_size}{tail}"


def group_of(row: ScenarioRow) -> Group:
    """The comparison group of a scenario's row."""
    trained = next((tag for tag in option_tags(row) if tag in TRAINING_OPTIONS), "")
    return Group(row.task, row.batch_size, trained)


def is_stock_default(row: ScenarioRow) -> bool:
    """Whether the row is what a user has before doing anything."""
    kind = (row.backend, row.mode, row.dtype, row.layout, row.environment)
    extra = [tag for tag in option_tags(row) if tag not in TRAINING_OPTIONS]
    return kind == ("stock", "eager", "fp32", "contiguous", DEFAULT_ENVIRONMENT) and not extra


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One scenario against another: the ratio of their times and what it allows to be said."""

    scenario: str
    baseline: str
    estimate: float
    low: float
    high: float
    launches: int
    rounds: int
    margin: float | None
    verdict: str
    reason: str | None

    @property
    def found(self) -> bool:
        """Whether a difference was shown."""
        return self.verdict in (Verdict.FASTER, Verdict.SLOWER)

    @property
    def is_valid(self) -> bool:
        """Whether the comparison may be used at all."""
        return self.verdict != Verdict.INVALID

    @property
    def inverted(self) -> Comparison:
        """The baseline against the scenario: the same rounds, read the other way round."""
        turned = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
        return replace(
            self,
            scenario=self.baseline,
            baseline=self.scenario,
            estimate=_inverse(self.estimate),
            low=_inverse(self.high),
            high=_inverse(self.low),
            verdict=next((turned[one] for one in turned if self.verdict == one), self.verdict),
        )


def _inverse(ratio: float) -> float:
    return 1 / ratio if ratio else math.inf


def comparison_of(row: SpeedupRow | None) -> Comparison | None:
    """The comparison that a speedup row states; None where the row holds no ratio."""
    if row is None or row.speedup is None:
        return None
    return Comparison(
        scenario=row.scenario,
        baseline=row.baseline,
        estimate=row.speedup,
        low=0.0 if row.speedup_low is None else row.speedup_low,
        high=math.inf if row.speedup_high is None else row.speedup_high,
        launches=row.launches,
        rounds=row.rounds,
        margin=row.margin,
        verdict=row.verdict,
        reason=row.reason,
    )


def of_task(groups: Iterable[Group], task: str) -> list[Group]:
    """The groups of one task."""
    return [group for group in groups if group.task == task]
