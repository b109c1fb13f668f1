"""Set every threshold of the gate, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The limits of one measurement of one scenario."""

    launches: int
    """Fresh processes differ from each other, so many launches show more than many rounds."""
    min_rounds: int
    max_rounds: int
    """Per launch."""
    budget_s: float = float("inf")
    """No further launch begins that would exceed this."""
    first_look: int = 4
    """From this launch on, the evidence may end the measurement early."""


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """The thresholds of the gate's outcomes."""

    margin: float = 0.02
    """A regression is one only when the whole interval lies beyond this: less is not worth a red
    build."""
    ruled_out: float = 0.05
    """A pass excludes a slowdown of this share; between the two there is no verdict."""
    ruled_out_stored: float = 0.10
    """The same for two stored runs, which did not share rounds and so show less."""
    floor_slack: float = 0.02
    """A written floor lies this share below the lower end of the accepted interval."""
    min_launches: int = 2
    """One launch cannot show how processes differ, so it confirms nothing."""
    look_confidence: float = 0.99
    """Confidence of the intervals that may end a measurement early. Repeated looks raise the chance
    of an error, so an early one needs more than the last (Haybittle 1971, Peto 1976)."""
    screening: Effort = Effort(launches=8, min_rounds=4, max_rounds=6, budget_s=110)
    """With its start and end below the two minutes that a further scenario may add. Few rounds of
    many launches, because rounds of one process do not show how processes differ: with workers that
    start in 2 s and calls of 180 ms, six rounds found more slowdowns of 5 % in the same time than
    four, nine and fourteen did (simulated, processes 1 and 2 %, blocks 3 %)."""
    confirmation: Effort = Effort(launches=12, min_rounds=4, max_rounds=6, budget_s=170)
    """Fresh processes again, for what the screening did not pass."""
    first_s: float = 275
    """Keeps a gate of one scenario, screened and confirmed, below five minutes."""
    further_s: float = 120
    """Each further scenario adds at most two minutes; the confirmations share what is left."""

    def allowed_s(self, scenarios: int) -> float:
        """Return how long measuring so many scenarios may take, confirmations included."""
        return self.first_s + self.further_s * (scenarios - 1)


DEFAULT = GatePolicy()
