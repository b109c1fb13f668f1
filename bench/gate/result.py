"""Report a gate's answer: one case for each scenario, and the exit code. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.text.wording import count, percent

if TYPE_CHECKING:
    from bench.analysis.comparison import Ratio

PASS = 0
REGRESSION = 10
NO_VERDICT = 11


class NoVerdictError(BenchError):
    """Nothing can be compared; one sentence says why. CI may treat it as neutral, not as a pass."""

    exit_code = NO_VERDICT


class Outcome(str, Enum):
    """The answer for one scenario."""

    PASSED = "passed"
    REGRESSION = "regression"
    NO_VERDICT = "no verdict"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scenario's answer."""

    scenario: str
    outcome: Outcome
    reason: str
    """By how much, how sure, and for `no verdict` what would help."""
    ratio: Ratio | None = None
    """Candidate's speed over the baseline's, below 1 is slower; for a floor, the speedup itself."""
    limit: float | None = None
    """The whole interval must lie above this."""
    details: dict[str, Any] | None = None
    """Facts for scripts: rounds, launches, control, both speedups."""
    over: str = ""
    """Of a floor: its baseline, since a scenario may have a floor over each."""

    @property
    def name(self) -> str:
        """What was judged, unlike any other case's."""
        return f"{self.scenario} over {self.over}" if self.over else self.scenario


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """Everything that the outputs show."""

    title: str
    compared: str
    """A sentence: what with what, on which machine."""
    repeat: str
    """The command that makes this comparison again."""
    cases: tuple[Case, ...] = ()
    problem: str | None = None
    """Why nothing can be compared, if so."""
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """10 when a case is a regression, else 11 when anything has no verdict, else 0."""
        outcomes = {case.outcome for case in self.cases}
        if self.problem is None and Outcome.REGRESSION in outcomes:
            return REGRESSION
        return PASS if self.problem is None and outcomes == {Outcome.PASSED} else NO_VERDICT

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        slower = [case.name for case in self.cases if case.outcome is Outcome.REGRESSION]
        unknown = [case.name for case in self.cases if case.outcome is Outcome.NO_VERDICT]
        noun = "floor" if any(case.over for case in self.cases) else "scenario"
        of = count(len(self.cases), noun)
        if self.problem:
            return f"No verdict: {self.problem}"
        if slower:
            return f"Slower: {', '.join(slower)}"
        if unknown:
            return f"No verdict on {len(unknown)} of {of}: {', '.join(unknown)}"
        if not self.cases:
            return "No verdict: there was nothing to compare"
        return f"Passed: no regression in {of}"


def weigh(ratio: Ratio, *, margin: float, ruled_out: float) -> tuple[Outcome, str]:
    """Return what an interval shows, with the reason.

    A regression is an interval that lies wholly beyond a slowdown of `margin`, a pass one that
    excludes a slowdown of `ruled_out`. Both are shares, compared on the log scale.
    """
    if not ratio.is_sound:
        return Outcome.NO_VERDICT, "the interval is not made of finite numbers: measure again"
    best, worst = spell_change(ratio.high), spell_change(ratio.low)
    seen = f"{spell_change(ratio.estimate)} (between {best} and {worst}, 95 % sure)"
    if ratio.high < 1 / (1 + margin):
        return Outcome.REGRESSION, f"{seen}: the whole interval lies beyond {percent(margin)}"
    if ratio.low > 1 / (1 + ruled_out):
        return Outcome.PASSED, f"{seen}: a slowdown of {percent(ruled_out)} is ruled out"
    return Outcome.NO_VERDICT, (
        f"{seen}: a slowdown beyond {percent(margin)} is not shown and one of "
        f"{percent(ruled_out)} is not ruled out; measure more rounds, or on a quieter machine"
    )


def spell_change(ratio: float) -> str:
    """Return a ratio of speeds as a change in time: 0.9 becomes `11.1 % slower`."""
    change = 1 / ratio - 1
    return f"{abs(change) * 100:.1f} % {'slower' if change > 0 else 'faster'}"
