"""What emulated dtypes may cost: a share of the budget, asked before the time is spent.

bf16 without AVX-512 is eight times slower than fp32, and one training step of it took two minutes
of a budget of nineteen. int8 without VNNI is emulated too, and faster than fp32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.plan.scenario import Dtype, Mode, Task
from bench.plan.thresholds import LEAST_IMAGES
from bench.text.numbers import spell_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.engine.execution import Execution
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import BudgetPolicy
    from bench.run.outcomes import Outcome


@dataclass(kw_only=True)
class EmulatedShare:
    """The share of a run's budget for emulated scenarios, and what they have cost of it."""

    policy: BudgetPolicy
    budget_s: float
    peak: Mapping[str, float]
    """GFLOP/s of this machine by dtype, where it is known."""
    _cost_s: dict[tuple[int, str], float] = field(default_factory=dict)
    """By launch and scenario, as foreseen when it was admitted."""

    def foresee(self, execution: Execution) -> str | None:
        """Why a scenario's first call is not worth making: even at the peak it is too slow."""
        rate, flop = (
            self.peak.get(str(execution.scenario.dtype)),
            execution.prepared.get("flop_per_call"),
        )
        fast = self.peak.get(str(Dtype.FP32), math.inf) / self.policy.emulated_slow
        if not (rate and flop) or rate >= fast:
            return None
        call_s = flop / rate / 1e9
        if call_s * (1 + self._calls(execution.scenario, new=True)) <= self._left_s():
            return None
        return self._refusal(execution.scenario, f"would take {spell_seconds(call_s)} at the least")

    def charge(self, execution: Execution, *, default: Execution | None, new: bool) -> str | None:
        """Count what an execution will cost; why it is left out, if that is more than there is.

        Judged by the first call, or by a second where the first one compiled, beside that of stock
        `default`: what is not slow costs the share nothing. `new` scenarios have more calls to
        make; the others were admitted in an earlier launch and are not refused.
        """
        compiled = execution.scenario.mode is Mode.COMPILE
        call_s = execution.warm_up_once() / 1000 if compiled else execution.spent_s
        if default is not None and call_s <= self.policy.emulated_slow * default.spent_s:
            return None
        cost_s = execution.spent_s + call_s * self._calls(execution.scenario, new=new)
        refused = new and cost_s > self._left_s()
        self._cost_s[execution.launch, execution.scenario.id] = (
            execution.spent_s if refused else cost_s
        )
        return (
            self._refusal(execution.scenario, f"takes {spell_seconds(call_s)}") if refused else None
        )

    def afforded(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Who takes part: all but the emulated ones that cost too much the last time.

        The cheap ones go first: a slow one that is left out leaves them their launches.
        """
        costs = {name: cost_s for (_, name), cost_s in self._cost_s.items()}
        left_s, dear = self._left_s(), set[str]()
        for outcome in sorted(outcomes, key=lambda one: costs.get(one.scenario.id, 0.0)):
            cost_s = costs.get(outcome.scenario.id, 0.0)
            if cost_s and cost_s > left_s:
                dear.add(outcome.scenario.id)
            left_s -= cost_s
        return [outcome for outcome in outcomes if outcome.scenario.id not in dear]

    def _calls(self, scenario: Scenario, *, new: bool) -> int:
        """Calls after the first one: rounds, and three more to become steady.

        The first time, one as evidence and the images that are compared however slow it is.
        """
        calls = self.policy.emulated_rounds + 3 + new
        if new and scenario.task is Task.INFERENCE:
            calls += -(-LEAST_IMAGES // scenario.batch_size)
        return calls

    def _share_s(self) -> float:
        return self.policy.emulated_share * self.budget_s

    def _left_s(self) -> float:
        return self._share_s() - sum(self._cost_s.values())

    def _refusal(self, scenario: Scenario, takes: str) -> str:
        return (
            f"not measured: {scenario.dtype} is emulated on this CPU, one call {takes}, and "
            f"emulated scenarios may use {spell_seconds(self._share_s())} of the budget (raise "
            "BUDGET)"
        )
