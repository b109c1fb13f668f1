"""Estimate what launches will cost, from what earlier ones took. Pure.

A launch has an opening (start, preparation, first call, warm-up, evidence) and rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.plan.scenario import group_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.analysis.speedups import RunAnalysis
    from bench.engine.execution import Execution
    from bench.plan.profiles import Profile
    from bench.plan.scenario import Group, Scenario
    from bench.plan.thresholds import Policy

_OTHER_BATCH, _OTHER_TASK = 1.5, 2.0
"""Cost of a scenario, as a multiple of one that was measured at another batch size or task."""
_IMAGES = 100
"""About as many as a thorough comparison of outputs computes."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one further process of a scenario takes, in seconds."""

    open_s: float
    """Its opening."""
    round_s: float
    """One block."""
    first_s: float = 0.0
    """Its first opening, with cold caches and a comparison of outputs."""
    start_s: float = 0.0
    """Of that, starting its worker: a first visit at another batch size has the same ones."""


@dataclass(frozen=True)
class Forecast:
    """Estimates for the scenarios of a run, from the costs that are known."""

    scenarios: Mapping[str, Scenario]
    costs: Mapping[str, Cost]
    profile: Profile
    policy: Policy

    def first_s(self, scenario: Scenario) -> float:
        """Estimate a first launch of a scenario from similar ones that were measured.

        Those of its group count; else those of its task, at another batch size; else all.
        """
        compiled = scenario.compiles
        every = {self.scenarios[name]: cost for name, cost in self.costs.items()}
        if not every:
            return 0.0
        similar = {one: cost for one, cost in every.items() if one.compiles == compiled}
        compiling_s = 0.0 if similar or not compiled else self.policy.budget.cold_compile_s
        similar = similar or every
        same_task = {one: cost for one, cost in similar.items() if one.task is scenario.task}
        same_group = {one: cost for one, cost in similar.items() if one.group == scenario.group}
        factor = 1.0 if same_group else _OTHER_BATCH if same_task else _OTHER_TASK
        costs = list((same_group or same_task or similar).values())
        rounds_s = self.profile.min_rounds * sum(cost.round_s for cost in costs)
        # in other profiles the longer calls of larger batches make up for what starting saves
        started = bool(self.profile.compiles_last and same_task and not same_group)
        opening_s = sum(cost.first_s - started * cost.start_s for cost in costs)
        return factor * (opening_s + rounds_s) / len(costs) + compiling_s

    def beside_s(self, default: Scenario) -> float:
        """Estimate what stock default and its control take in a first visit of others."""
        # their workers run already; other profiles keep the margin for longer calls of what is left
        if self.profile.compiles_last and default.id in self.costs:
            return self.launch_s([default.id], self.profile.min_rounds)
        return 2 * self.first_s(default)

    def launch_s(self, names: Sequence[str], rounds: int) -> float:
        """Estimate a later launch; stock default counts twice, for its control."""
        total_s = 0.0
        for name in names:
            if (cost := self.costs.get(name)) is not None:
                workers = 2 if self.scenarios[name].is_stock_default else 1
                total_s += workers * (cost.open_s + rounds * cost.round_s)
        return max(total_s, 1e-9)

    def thorough_s(self, name: str) -> float:
        """Estimate a thorough comparison of a scenario's outputs: a block holds a call at least."""
        cost = self.costs.get(name)
        most_s = self.profile.recommended_parity_s
        blocks = _IMAGES / self.scenarios[name].batch_size
        return min(most_s, blocks * cost.round_s) if cost else most_s

    def best_rounds(self, analysis: RunAnalysis, group: Group, names: Sequence[str]) -> int:
        """Return the rounds a launch at which one more round or one more process gains the same.

        The variance of a mean over processes is (between + within / rounds) / processes, and a
        process costs its opening and its rounds (the classic allocation of two-stage sampling,
        Cochran 1977, section 10.6).
        """
        least = self.profile.min_rounds
        most = max(least, min(self.profile.max_rounds, self.policy.budget.most_rounds))
        costs = [cost for name in names if (cost := self.costs.get(name))]
        fitted = analysis.judge.fitted
        label = group_name(group)
        if not costs or label not in fitted.groups:
            return least
        within = fitted.groups[label].block_variance
        between = fitted.spreads[f"{label}|"].between_processes ** 2
        open_s = sum(cost.open_s for cost in costs)
        round_s = sum(cost.round_s for cost in costs)
        if between <= 0 or round_s <= 0:
            return most
        return min(most, max(least, round(math.sqrt(open_s / round_s * within / between))))


def observed_costs(
    known: Mapping[str, Cost],
    executions: Sequence[Execution],
    start_s: Callable[[Execution], float],
    *,
    is_first: bool,
    starting_s: float,
    opening_s: float,
    round_s: float,
    least_ms: float,
) -> dict[str, Cost]:  # 8 parameters: what a launch took
    """Divide what a launch took among its scenarios, and estimate a further process of each.

    A first launch has cold caches and reads outputs and kernels, so the cost of a later one is
    estimated from the calls' times; a later launch's own time is divided in that proportion.
    `start_s` is an execution's part of starting and preparing, `starting_s` what starting all
    workers took of `opening_s`, `least_ms` a block's minimum.
    """
    own_s = {one.name: start_s(one) + one.opening_s for one in executions}
    later_s = {one.name: start_s(one) + one.later_opening_s for one in executions}
    typical_ms = {one.name: max(one.typical_ms, least_ms) for one in executions}
    factor = 1.0 if is_first else opening_s / max(1e-9, sum(later_s.values()))
    costs = {}
    for name in (one.name for one in executions if not one.is_control):
        first_s = opening_s * own_s[name] / sum(own_s.values())
        earlier = known.get(name)
        costs[name] = Cost(
            first_s=earlier.first_s if earlier else first_s,
            start_s=earlier.start_s if earlier else first_s * starting_s / max(1e-9, opening_s),
            open_s=later_s[name] * factor,
            round_s=round_s * typical_ms[name] / sum(typical_ms.values()),
        )
    return costs
