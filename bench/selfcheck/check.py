"""Run the experiments of a selfcheck and count their verdicts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from bench.engine.participants import Participant
from bench.engine.time_use import TimeUse
from bench.gate.thresholds import DEFAULT as GATE
from bench.gate.thresholds import Effort
from bench.plan.profiles import PROFILES
from bench.plan.scenario import SLOWED, Task, Verdict, stock_default
from bench.plan.thresholds import DEFAULT, SELFCHECK
from bench.selfcheck.experiment import Experiment
from bench.selfcheck.result import Result, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    from bench.analysis.comparison import Ratio
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy, SelfcheckPolicy
    from bench.selfcheck.experiment import Measured
    from bench.selfcheck.processes import Processes

_STOCK = stock_default(Task.INFERENCE, 1)
_BASELINES = 3
"""Stock participants of a planted experiment; they take turns as baseline and control."""


_STANDARD = PROFILES["standard"]
IDENTICAL_EFFORT = Effort(
    launches=_STANDARD.launches,
    min_rounds=_STANDARD.min_rounds,
    max_rounds=SELFCHECK.max_rounds,
)
"""As a `standard` run measures a group."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """The number of comparisons of each kind, unless the time is over before."""

    participants: int
    identical: int
    in_bursts: int
    full_size: int
    full_participants: int
    copies: int
    """Of each planted share in one experiment."""
    planted: int
    """Of each share."""
    budget_s: float
    identical_effort: Effort = IDENTICAL_EFFORT
    planted_effort: Effort = GATE.screening
    """As the gate screens a scenario."""


FULL = Amount(
    participants=12,
    identical=300,
    in_bursts=300,
    full_size=36,
    full_participants=6,
    copies=3,
    planted=30,
    budget_s=7200,
)
QUICK = Amount(
    participants=8,
    identical=8,
    in_bursts=8,
    full_size=5,
    full_participants=5,
    copies=1,
    planted=1,
    budget_s=300,
)
_TIME_SHARES = {
    "identical": 0.28,
    "planted": 0.28,
    "full-size": 0.08,
    "bursts": 0.36,
    "processes": 0.2,
}
"""Shares of the budget; bursts take longest, since their intervals narrow slowly."""
PARTS = tuple(part for part in _TIME_SHARES if part != "processes")
"""The parts that run by default: `processes` does not test the harness."""


def stock_participants(number: int) -> list[Participant]:
    """Return participants that all run the same scenario."""
    return [Participant(name=f"stock-{place}", scenario=_STOCK) for place in range(number)]


def slow_participant(share: float, copy: int) -> Participant:
    """Return a participant that is slower by this share."""
    scenario = replace(_STOCK, backend="planted", options=(f"{SLOWED}={share:g}",))
    return Participant(name=f"slow-{share:g}-{copy}", scenario=scenario)


def verdict_of(
    measured: Measured,
    scenario: Participant,
    baseline: Participant,
    control: Participant,
    policy: Policy,
) -> tuple[Verdict, Ratio | None]:
    """Return the verdict and the ratio that a run would report of these participants."""
    found = measured.judge(baseline, control, policy).compare(scenario.name, baseline.name)
    return found.verdict, found.ratio


@dataclass(kw_only=True)
class Selfcheck:
    """Runs the parts; `result` has what was counted so far at any moment.

    `launch(image_size, participant)` starts a worker; `bursts()` keeps a core busy in its block.
    """

    launch: Callable[[int, Participant], WorkerHandle]
    bursts: Callable[[], AbstractContextManager[object]]
    amount: Amount = FULL
    budget_s: float = FULL.budget_s
    parts: Collection[str] = PARTS
    """The parts that run; they share the whole budget."""
    policy: Policy = DEFAULT
    limits: SelfcheckPolicy = SELFCHECK
    starts_at_once: int = 1
    processes: Processes | None = None
    """The experiment on cheaper processes, for the part of that name."""
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    result: Result = field(init=False)
    _use: TimeUse = field(init=False)
    _part_ends: float = field(init=False, default=float("inf"))

    def __post_init__(self) -> None:
        self.result = Result(policy=self.limits)
        self._use = TimeUse(clock=self.clock)
        self.result.planted = {share: Tally() for share in self.limits.shares}

    def run(self) -> Result:
        """Run the parts.

        Raises:
            WorkerError: a worker failed.
        """
        amount, result, began = self.amount, self.result, self.clock()
        try:
            self._part("identical", amount.identical, partial(self._identical, result.identical))
            self._part("planted", amount.planted, self._planted)
            self._part("full-size", amount.full_size, self._full_size)
            self._part("bursts", amount.in_bursts, self._in_bursts)
            if self.processes is not None:
                result.processes = self.processes.result
                wanted = self.processes.design.execs
                self._part("processes", wanted, self.processes.replicate, "replicates")
        finally:
            result.seconds = self.clock() - began
            if self.processes is not None:
                self.processes.end()
        return result

    def _part(
        self,
        name: str,
        wanted: int,
        experiment: Callable[[str], int],
        counted: str = "comparisons",
    ) -> None:
        """Repeat an experiment until it has enough comparisons or used up the part's time."""
        if name not in self.parts:
            return
        began = self.clock()
        shares = sum(_TIME_SHARES[part] for part in self.parts)
        allowed = _TIME_SHARES[name] / shares * self.budget_s
        self._part_ends = began + allowed
        done = number = 0
        while done < wanted:
            if number and (self.clock() - began) * (number + 1) / number > allowed:
                self.result.notes.append(
                    f"{name}: {done} of {wanted} {counted} fitted into {allowed:.0f} s "
                    "(--budget raises it)."
                )
                break
            self.say(f"{name}: {done} of {wanted}")
            done = experiment(f"{name} {number}")
            number += 1
            self.result.parent_cpu_share = self._use.parent.cpu_share
            self.result.measuring_share = self._use.measuring_share
            self.result.rounds_share = self._use.rounds_share

    def _identical(self, tally: Tally, name: str) -> int:
        participants = stock_participants(self.amount.participants)
        return self._compare_all(tally, name, participants, self.limits.image_size, self._small())

    def _in_bursts(self, name: str) -> int:
        with self.bursts():
            return self._identical(self.result.identical_in_bursts, name)

    def _full_size(self, name: str) -> int:
        participants = stock_participants(self.amount.full_participants)
        tally = self.result.identical_full_size
        return self._compare_all(tally, name, participants, self.limits.full_size, self.policy)

    def _compare_all(
        self, tally: Tally, name: str, participants: list[Participant], size: int, policy: Policy
    ) -> int:
        """Compare every participant with the next two, as its baseline and control.

        The judge treats baseline and control the same, so swapping them would show nothing new.
        """
        effort = self.amount.identical_effort
        measured = self._measure(name, participants, size, effort, policy)
        for place, participant in enumerate(participants):
            baseline, control = (
                participants[(place + step) % len(participants)] for step in (1, 2)
            )
            tally.add(*verdict_of(measured, participant, baseline, control, policy))
        return tally.made

    def _planted(self, name: str) -> int:
        """Compare every slowed participant; stock ones take turns as baseline and control."""
        stock = stock_participants(_BASELINES)
        shares = self.limits.shares
        slow = [
            (share, slow_participant(share, c))
            for c in range(self.amount.copies)
            for share in shares
        ]
        policy = self._small()
        participants = [*stock, *(participant for _, participant in slow)]
        effort = self.amount.planted_effort
        measured = self._measure(name, participants, self.limits.image_size, effort, policy)
        for place, (share, participant) in enumerate(slow):
            turn = place // len(shares) + place
            baseline, control = (stock[(turn + step) % _BASELINES] for step in (0, 1))
            for launches, seconds in enumerate(measured.ends_s, start=1):
                known = measured.until(launches)
                found = verdict_of(known, participant, baseline, control, policy)
                point = self.result.curve(share, launches)
                point.tally.add(*found)
                point.seconds.append(seconds)
            self.result.planted[share].add(*found)  # the verdict of all launches
        return min(tally.made for tally in self.result.planted.values())

    def _measure(
        self, name: str, participants: list[Participant], size: int, effort: Effort, policy: Policy
    ) -> Measured:
        return Experiment(
            name=name,
            participants=participants,
            effort=replace(effort, budget_s=max(0.0, self._part_ends - self.clock())),
            policy=policy,
            launch=partial(self.launch, size),
            starts_at_once=self.starts_at_once,
            use=self._use,
            say=lambda what: self.say(f"{name}: {what}"),
            clock=self.clock,
        ).measure()

    def _small(self) -> Policy:
        """Return a run's policy with blocks for small inputs."""
        block = replace(self.policy.block, min_block_ms=self.limits.min_block_ms)
        return replace(self.policy, block=block)
