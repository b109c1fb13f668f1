"""Check by the log of one call whether a study's scenarios ran what their labels say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine.checks import Checks

if TYPE_CHECKING:
    from bench.engine.execution import Execution
    from bench.studies.measured import Measured
    from bench.worker.protocol import KernelsReply

UNCHECKED = "what it executed was not compared with its label: the study was cut before that"


@dataclass(kw_only=True)
class EvidenceChecks(Checks):
    """Compares what each scenario executed with its label, after the rounds of its first launch."""

    measured: Measured
    """Gets what contradicts a label, and which labels were not compared with anything yet."""
    evidence: dict[str, KernelsReply] = field(default_factory=dict)
    """By participant: what one call executed."""

    def wants(self, execution: Execution) -> bool:
        """Return whether its evidence is missing; a control's is its base's."""
        return not execution.is_control and execution.name not in self.evidence

    def after_prepare(self, execution: Execution) -> None:
        """Note that its label was not compared with anything yet."""
        if self.wants(execution):
            self.measured.unchecked[execution.name] = UNCHECKED

    def after_rounds(self, execution: Execution) -> None:
        """Request the evidence once."""
        if not self.wants(execution):
            return
        reply = execution.kernels()
        self.evidence[execution.name] = reply
        self.measured.unchecked.pop(execution.name, None)
        found = self.contradiction(execution, reply)
        if found:
            self.measured.contradictions[execution.name] = found

    def contradiction(self, _execution: Execution, reply: KernelsReply) -> str | None:
        """Return how the evidence contradicts the scenario's label, or None."""
        return reply.get("contradiction")
