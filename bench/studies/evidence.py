"""Check by the log of one call whether a study's scenarios ran what their labels say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine.checks import Checks

if TYPE_CHECKING:
    from bench.engine.execution import Execution
    from bench.worker.protocol import KernelsReply


@dataclass(kw_only=True)
class EvidenceChecks(Checks):
    """Compares what each scenario executed with its label, after the rounds of its first launch."""

    contradictions: dict[str, str] = field(default_factory=dict)
    """By participant: what contradicts its label, in a sentence."""
    evidence: dict[str, KernelsReply] = field(default_factory=dict)
    """By participant: what one call executed."""

    def after_rounds(self, execution: Execution) -> None:
        """Request the evidence once; a control runs the scenario of its base, which has its own."""
        if execution.is_control or execution.name in self.evidence:
            return
        reply = execution.kernels()
        self.evidence[execution.name] = reply
        found = self.contradiction(execution, reply)
        if found:
            self.contradictions[execution.name] = found

    def contradiction(self, _execution: Execution, reply: KernelsReply) -> str | None:
        """Return how the evidence contradicts the scenario's label, or None."""
        return reply.get("contradiction")
