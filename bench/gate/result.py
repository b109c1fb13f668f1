"""What a gate found: one case a scenario, and the exit code that follows from all of them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bench.errors import BenchError
from bench.text.numbers import percent
from bench.text.wording import count

PASS = 0
REGRESSION = 10
NO_VERDICT = 11


class NoVerdictError(BenchError):
    """Nothing can be said, and one sentence says why. CI may take it as neutral, no pass."""

    exit_code = NO_VERDICT


class Outcome(str, Enum):
    """What became of one scenario."""

    PASSED = "passed"
    REGRESSION = "regression"
    NO_VERDICT = "no verdict"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A ratio of speeds with its 95 % interval; below 1 is slower."""

    estimate: float
    low: float
    high: float

    @property
    def sound(self) -> bool:
        """Whether these are numbers that a comparison can rest on."""
        values = (self.estimate, self.low, self.high)
        ordered = self.low <= self.estimate <= self.high
        return all(math.isfinite(value) and value > 0 for value in values) and ordered


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scenario's answer."""

    scenario: str
    outcome: Outcome
    reason: str
    """A sentence: by how much, how sure, and for `no verdict` what would help."""
    ratio: Interval | None = None
    """Candidate's speed over the baseline's (or, for a floor, the speedup itself)."""
    limit: float | None = None
    """What the whole interval must stay above."""
    details: dict[str, Any] | None = None
    """Facts for machines: rounds, launches, control, both speedups."""


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """Everything that the outputs show."""

    title: str
    compared: str
    """A sentence: what with what, on which machine."""
    repeat: str
    """The command that does it again here."""
    cases: tuple[Case, ...] = ()
    problem: str | None = None
    """Why nothing at all can be said, if so."""
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """10 when a case is a regression, else 11 when anything has no verdict, else 0."""
        outcomes = {case.outcome for case in self.cases}
        if Outcome.REGRESSION in outcomes and self.problem is None:
            return REGRESSION
        if self.problem is not None or outcomes != {Outcome.PASSED}:
            return NO_VERDICT
        return PASS

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        if self.problem:
            return f"No verdict: {self.problem}"
        slower = self.named(Outcome.REGRESSION)
        unknown = self.named(Outcome.NO_VERDICT)
        if slower:
            return f"Slower: {', '.join(slower)}"
        if unknown:
            return f"No verdict on {_of(len(unknown), len(self.cases))}: {', '.join(unknown)}"
        if not self.cases:
            return "No verdict: there was nothing to compare"
        return f"Passed: no regression in {count(len(self.cases), 'scenario')}"

    def named(self, outcome: Outcome) -> list[str]:
        """Scenarios with this outcome, in order."""
        return [case.scenario for case in self.cases if case.outcome is outcome]


def weigh(ratio: Interval, *, margin: float, ruled_out: float) -> tuple[Outcome, str]:
    """What an interval shows: a slowdown beyond the margin, none of `ruled_out`, or neither.

    `margin` and `ruled_out` are shares; both are compared on the log scale, as everywhere.
    """
    if not ratio.sound:
        return Outcome.NO_VERDICT, "the interval is not made of finite numbers: measure again"
    seen = f"{spell_change(ratio.estimate)} ({spell_range(ratio)}, 95 % sure)"
    if ratio.high < 1 / (1 + margin):
        return Outcome.REGRESSION, f"{seen}: the whole interval lies beyond {percent(margin)}"
    if ratio.low > 1 / (1 + ruled_out):
        return Outcome.PASSED, f"{seen}: a slowdown of {percent(ruled_out)} is ruled out"
    return Outcome.NO_VERDICT, (
        f"{seen}: a slowdown beyond {percent(margin)} is not shown and one of "
        f"{percent(ruled_out)} is not ruled out; more rounds or a quieter machine would tell"
    )


def spell_change(ratio: float) -> str:
    """A ratio of speeds as a change in time: 0.9 becomes `11.1 % slower`."""
    change = 1 / ratio - 1
    return f"{abs(change) * 100:.1f} % {'slower' if change > 0 else 'faster'}"


def spell_range(ratio: Interval) -> str:
    """The interval as changes, the worse end last."""
    return f"between {spell_change(ratio.high)} and {spell_change(ratio.low)}"


def _of(number: int, total: int) -> str:
    return f"{number} of {count(total, 'scenario')}"
