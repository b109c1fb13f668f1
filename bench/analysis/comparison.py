"""One scenario against another: the ratio of their speeds, how sure it is, what may be said."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.plan.scenario import DECIDED, Verdict


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A speedup with its interval. Above 1 the scenario is faster than its baseline.

    A ratio of which too little is known to give an interval has 0 and infinity as its ends.
    """

    estimate: float
    low: float
    high: float
    launches: int
    """Launches in which both sides have a clean block."""
    rounds: int
    """Rounds in which both sides have a clean block, over all launches."""
    standard_error: float | None = None
    """Of the speedup's logarithm; None where there is none, or the run did not keep it."""
    degrees_of_freedom: float | None = None
    processes: int = 0
    """Processes of the side that has fewer; 0 where the run did not keep it."""
    borrowed: bool = False
    """Whether a side has one process, so that the variance between processes is borrowed."""
    p_value: float | None = None
    """Of "both are equally fast", two-sided."""

    @property
    def half_width(self) -> float:
        """Half the interval as a share of the estimate; the stopping rule looks at nothing else."""
        return (self.high - self.low) / 2 / self.estimate

    @property
    def is_sound(self) -> bool:
        """Whether the interval has two finite ends around its estimate."""
        values = (self.low, self.estimate, self.high)
        finite = all(math.isfinite(value) and value > 0 for value in values)
        return finite and self.low <= self.estimate <= self.high

    @property
    def inverted(self) -> Ratio:
        """The same ratio read the other way round."""
        return replace(
            self,
            estimate=1 / self.estimate,
            low=1 / self.high,
            high=1 / self.low if self.low else math.inf,
        )


_TURNED = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One scenario against one baseline, judged."""

    scenario: str
    baseline: str
    ratio: Ratio | None
    """None where no round has both."""
    verdict: Verdict
    reason: str | None = None
    """For `invalid` and `inconclusive`: why, and what would help; a sentence without its stop."""
    margin: float | None = None
    """The smallest difference that is called one, as a share."""
    processes_to_decide: int | None = None
    """Where it is open: how many further processes of both would decide it; None for too many."""
    seconds_to_decide: float | None = None
    """Where it is open: about how long measuring further processes of both would take."""

    @property
    def known(self) -> Ratio:
        """The ratio of a comparison that has one.

        Raises:
            ValueError: it has none.
        """
        if self.ratio is None:
            raise ValueError(f"{self.scenario} and {self.baseline} have no round in common")
        return self.ratio

    @property
    def estimate(self) -> float:
        """The speedup, of a comparison that has one."""
        return self.known.estimate

    @property
    def low(self) -> float:
        """The interval's lower end, of a comparison that has one."""
        return self.known.low

    @property
    def high(self) -> float:
        """The interval's upper end, of a comparison that has one."""
        return self.known.high

    @property
    def launches(self) -> int:
        """Launches that it rests on."""
        return self.ratio.launches if self.ratio else 0

    @property
    def rounds(self) -> int:
        """Rounds that it rests on."""
        return self.ratio.rounds if self.ratio else 0

    @property
    def found(self) -> bool:
        """Whether a difference was shown."""
        return self.verdict in (Verdict.FASTER, Verdict.SLOWER)

    @property
    def is_valid(self) -> bool:
        """Whether the comparison may be used at all."""
        return self.verdict != Verdict.INVALID

    @property
    def is_decided(self) -> bool:
        """Whether the question has an answer: faster, slower, or the same."""
        return self.verdict in DECIDED

    @property
    def at_least(self) -> float | None:
        """By how much of the baseline's speed it differs at least, as a share; None unless shown.

        The end of the interval that is nearer to 1: what may be promised, where the estimate may
        not.
        """
        if self.ratio is None or not self.found:
            return None
        return self.low - 1 if self.verdict == Verdict.FASTER else 1 - self.high

    @property
    def inverted(self) -> Comparison:
        """The baseline against the scenario: the same rounds, read the other way round."""
        return replace(
            self,
            scenario=self.baseline,
            baseline=self.scenario,
            ratio=None if self.ratio is None else self.ratio.inverted,
            verdict=_TURNED.get(self.verdict, self.verdict),
        )
