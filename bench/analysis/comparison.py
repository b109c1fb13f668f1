"""Hold a speedup with its interval, and the verdict on it, as values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.plan.scenario import DECIDED, Verdict


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A speedup with its interval; above 1 the scenario is faster than its baseline.

    The interval of one round is from 0 to infinity.
    """

    estimate: float
    low: float
    high: float
    launches: int
    """Launches in which both sides have a clean block."""
    rounds: int
    """Rounds in which both sides have a clean block, over all launches."""
    standard_error: float | None = None
    """Of the speedup's logarithm; None if it is not known."""
    degrees_of_freedom: float | None = None
    processes: int = 0
    """Processes of the side that has fewer; 0 if it is not known."""
    borrowed: bool = False
    """Whether a side has one process, so that the variance between processes is borrowed."""
    p_value: float | None = None
    """Two-sided, of "both are equally fast"."""

    @property
    def half_width(self) -> float:
        """Half the interval as a share of the estimate."""
        return (self.high - self.low) / 2 / self.estimate

    @property
    def is_sound(self) -> bool:
        """Whether the interval has two finite ends around its estimate."""
        values = (self.low, self.estimate, self.high)
        finite = all(math.isfinite(value) and value > 0 for value in values)
        return finite and self.low <= self.estimate <= self.high

    @property
    def inverted(self) -> Ratio:
        """The ratio with both sides exchanged."""
        return replace(
            self,
            estimate=1 / self.estimate,
            low=1 / self.high,
            high=1 / self.low if self.low else math.inf,
        )


_TURNED = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A scenario compared with a baseline, judged."""

    scenario: str
    baseline: str
    ratio: Ratio | None
    """None if no round has both."""
    verdict: Verdict
    reason: str | None = None
    """For `invalid` and `inconclusive`: why, and what would help; a sentence without full stop."""
    margin: float | None = None
    """The smallest difference that counts, as a share."""
    processes_to_decide: int | None = None
    """If inconclusive: further processes of both that would decide it; None for too many."""
    seconds_to_decide: float | None = None
    """If inconclusive: about how long these processes take."""

    @property
    def known(self) -> Ratio:
        """The ratio.

        Raises:
            ValueError: it has none.
        """
        if self.ratio is None:
            raise ValueError(f"{self.scenario} and {self.baseline} have no round in common")
        return self.ratio

    @property
    def estimate(self) -> float:
        """The speedup; as `known`, it raises ValueError without a ratio."""
        return self.known.estimate

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.known.low

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.known.high

    @property
    def launches(self) -> int:
        """Launches in which both have a clean block."""
        return self.ratio.launches if self.ratio else 0

    @property
    def rounds(self) -> int:
        """Rounds in which both have a clean block."""
        return self.ratio.rounds if self.ratio else 0

    @property
    def found(self) -> bool:
        """Whether a difference was shown."""
        return self.verdict in (Verdict.FASTER, Verdict.SLOWER)

    @property
    def is_valid(self) -> bool:
        """Whether the verdict is any but `invalid`."""
        return self.verdict != Verdict.INVALID

    @property
    def is_decided(self) -> bool:
        """Whether the verdict is faster, slower or the same."""
        return self.verdict in DECIDED

    @property
    def at_least(self) -> float | None:
        """The smallest difference in the interval, as a share; None unless one was shown."""
        if self.ratio is None or not self.found:
            return None
        return self.low - 1 if self.verdict == Verdict.FASTER else 1 - self.high

    @property
    def inverted(self) -> Comparison:
        """The comparison with both sides exchanged."""
        return replace(
            self,
            scenario=self.baseline,
            baseline=self.scenario,
            ratio=None if self.ratio is None else self.ratio.inverted,
            verdict=_TURNED.get(self.verdict, self.verdict),
        )
