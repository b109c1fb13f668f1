"""Whether a study's scenarios ran what their labels say, from the log of one call each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine.checks import Checks

if TYPE_CHECKING:
    from bench.engine.execution import Execution


@dataclass(kw_only=True)
class EvidenceChecks(Checks):
    """Compares what each scenario executed with its label, after the rounds of its first launch."""

    contradictions: dict[str, str] = field(default_factory=dict)
    """By participant: what contradicts its label, in a sentence."""
    _compared: set[str] = field(default_factory=set)

    def after_rounds(self, execution: Execution) -> None:
        """Request the evidence; a control runs the scenario that its base was asked about."""
        if execution.is_control or execution.name in self._compared:
            return
        self._compared.add(execution.name)
        found = execution.kernels().get("contradiction")
        if found:
            self.contradictions[execution.name] = found
