"""Every threshold of the gate, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much one measurement of one scenario may take."""

    launches: int
    """Fresh processes differ from each other, so many launches say more than many rounds."""
    min_rounds: int
    max_rounds: int
    """Per launch."""
    budget_s: float
    """No further launch is begun when it would pass this."""
    first_look: int = 4
    """After so many launches, and after each later one, the evidence may already decide."""


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """When the gate says what."""

    margin: float = 0.02
    """A regression is one only when the whole interval lies beyond this: less is not worth a red
    build."""
    ruled_out: float = 0.05
    """A pass says that a slowdown of this share is not there. What is neither shown nor ruled out
    has no verdict."""
    ruled_out_stored: float = 0.10
    """The same for two stored runs: they did not share their rounds, so they tell less."""
    floor_slack: float = 0.02
    """A written policy puts a floor so far below the lower end of the accepted interval."""
    min_launches: int = 2
    """One launch cannot show how processes differ, so it confirms nothing."""
    look_confidence: float = 0.99
    """Of the intervals that may end a measurement early. Looking often raises the chance of being
    wrong once, so an early look has to be surer than the last one (Haybittle 1971, Peto 1976)."""
    screening: Effort = Effort(launches=8, min_rounds=4, max_rounds=6, budget_s=110)
    """With starting and ending it, below the two minutes that a further scenario may add. Few
    rounds of many launches, because no round tells what processes differ by: with workers that
    start in 2 s and calls of 180 ms, six found more 5 % in the same time than four, nine and
    fourteen did (simulated, processes 1 and 2 %, blocks 3 %)."""
    confirmation: Effort = Effort(launches=12, min_rounds=4, max_rounds=6, budget_s=170)
    """Fresh processes again; only for what the screening did not pass."""
    first_s: float = 275
    """A gate of one scenario, screened and confirmed, stays below five minutes with this."""
    further_s: float = 120
    """And each further scenario adds at most two: what is flagged shares what is left of it."""

    def allowed_s(self, scenarios: int) -> float:
        """How long measuring so many scenarios may take, confirmations included."""
        return self.first_s + self.further_s * (scenarios - 1)


DEFAULT = GatePolicy()
