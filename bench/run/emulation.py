"""Limit the time of emulated dtypes to a share of the budget, before the time is spent.

bf16 without AVX-512 is eight times slower than fp32: one training step took two minutes of a budget
of nineteen. int8 without VNNI is emulated too, yet faster than fp32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine.execution import CallLimit
from bench.plan.scenario import Dtype, Mode, Task
from bench.plan.thresholds import LEAST_IMAGES
from bench.text.numbers import spell_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.engine.execution import Execution
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import BudgetPolicy
    from bench.run.outcomes import Outcome


def slow_dtypes(peak: Mapping[str, float], policy: BudgetPolicy) -> frozenset[Dtype]:
    """Return the dtypes in which this machine's peak, in GFLOP/s, is far below that in fp32."""
    fast = peak.get(str(Dtype.FP32), 0.0) / policy.emulated_slow
    return frozenset(dtype for dtype in Dtype if 0.0 < peak.get(str(dtype), 0.0) < fast)


@dataclass(kw_only=True)
class EmulatedShare:
    """The share of a run's budget for emulated scenarios, and what they used of it."""

    policy: BudgetPolicy
    budget_s: float
    peak: Mapping[str, float]
    """GFLOP/s of this machine by dtype, where known."""
    _cost_s: dict[tuple[int, str], float] = field(default_factory=dict)
    """By launch and scenario, as estimated when it was admitted."""

    def foresee(self, execution: Execution) -> str | None:
        """Return why not even the first call is made: at the machine's peak it is too slow."""
        dtype = execution.scenario.dtype
        flop = execution.prepared.get("flop_per_call")
        if not flop or dtype not in slow_dtypes(self.peak, self.policy):
            return None
        call_s = flop / self.peak[str(dtype)] / 1e9
        if call_s * (1 + self._calls(execution.scenario, new=True)) <= self._left_s():
            return None
        return self._refusal(execution.scenario, f"would take {spell_seconds(call_s)} at the least")

    def limit_first_call(self, execution: Execution) -> CallLimit | None:
        """Return how long a first call may take that `charge` might admit; None for any time.

        A training step in bf16 takes 79 s with PyTorch's own convolutions, as no peak tells.
        """
        scenario = execution.scenario
        if scenario.compiles or scenario.dtype not in slow_dtypes(self.peak, self.policy):
            return None
        most_s = self._left_s() / (1 + self._calls(scenario, new=True))
        most_s = max(most_s, self.policy.never_slow_s)
        return CallLimit(most_s, self._refusal(scenario, f"takes over {spell_seconds(most_s)}"))

    def charge(self, execution: Execution, *, base: Execution | None, new: bool) -> str | None:
        """Count what an execution will cost; return why it is left out if that exceeds the share.

        The first call decides, or a second one where the first compiled; what is not much slower
        than the base's costs nothing. A `new` scenario has more calls to make; the others were
        admitted in an earlier launch and are not refused.
        """
        compiled = execution.scenario.mode is Mode.COMPILE
        call_s = execution.warm_up_once() / 1000 if compiled else execution.spent_s
        if base is not None and call_s <= self.policy.emulated_slow * base.spent_s:
            return None
        key = (execution.launch, execution.scenario.id)
        cost_s = execution.spent_s + call_s * self._calls(execution.scenario, new=new)
        if new and cost_s > self._left_s():
            self._cost_s[key] = execution.spent_s
            return self._refusal(execution.scenario, f"takes {spell_seconds(call_s)}")
        self._cost_s[key] = cost_s
        return None

    def afforded(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes without the emulated ones that the rest of the share cannot pay for.

        The cheap ones are paid for first: leaving out one slow scenario keeps them their launches.
        """
        costs = {name: cost_s for (_, name), cost_s in self._cost_s.items()}
        left_s, too_slow = self._left_s(), set[str]()
        for name in sorted((one.scenario.id for one in outcomes), key=lambda n: costs.get(n, 0.0)):
            cost_s = costs.get(name, 0.0)
            if cost_s and cost_s > left_s:
                too_slow.add(name)
            left_s -= cost_s
        return [outcome for outcome in outcomes if outcome.scenario.id not in too_slow]

    def _calls(self, scenario: Scenario, *, new: bool) -> int:
        """Return the calls after the first one: a block a round, and three to become steady.

        A new scenario has one more for evidence, and the images of the comparison of outputs.
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
