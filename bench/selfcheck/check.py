"""The selfcheck itself: which experiments, in which order, and what their verdicts count as.

Nothing here starts a process or imports torch: workers and bursts come from outside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from bench.engine.participants import Participant
from bench.engine.time_use import TimeUse
from bench.gate.thresholds import DEFAULT as GATE
from bench.plan.profiles import PROFILES
from bench.plan.scenario import SLOWED, Task, Verdict, stock_default
from bench.plan.thresholds import DEFAULT, SELFCHECK
from bench.selfcheck.experiment import Effort, Experiment
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


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How many comparisons of each kind, unless the time is over before."""

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


FULL = Amount(
    participants=12,
    identical=300,
    in_bursts=300,
    full_size=36,
    full_participants=6,
    copies=3,
    planted=21,
    budget_s=7200,
)
QUICK = Amount(
    participants=8,
    identical=8,
    in_bursts=8,
    full_size=0,
    full_participants=0,
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
"""Of the budget, of those that run. Bursts take longest, since precision comes late."""
PARTS = tuple(part for part in _TIME_SHARES if part != "processes")
"""What runs unless parts are named: `processes` asks nothing of the harness as it is."""


def stock_participants(number: int) -> list[Participant]:
    """That many workers of the same scenario."""
    return [Participant(name=f"stock-{place}", scenario=_STOCK) for place in range(number)]


def slow_participant(share: float, copy: int) -> Participant:
    """A worker that is slower by that share."""
    scenario = replace(_STOCK, backend="planted", options=(f"{SLOWED}={share:g}",))
    return Participant(name=f"slow-{share:g}-{copy}", scenario=scenario)


def identical_effort(limits: SelfcheckPolicy) -> Effort:
    """As a `standard` run measures a group."""
    profile = PROFILES["standard"]
    return Effort(
        launches=profile.launches,
        min_rounds=profile.min_rounds,
        max_rounds=limits.max_rounds,
    )


def planted_effort() -> Effort:
    """As the gate measures a scenario."""
    screening = GATE.screening
    return Effort(
        launches=screening.launches,
        min_rounds=screening.min_rounds,
        max_rounds=screening.max_rounds,
    )


def verdict_of(
    measured: Measured,
    scenario: Participant,
    baseline: Participant,
    control: Participant,
    policy: Policy,
) -> tuple[Verdict, Ratio | None]:
    """What a run would say of these three participants."""
    found = measured.judge(baseline, control, policy).compare(scenario.name, baseline.name)
    return found.verdict, found.ratio


@dataclass(kw_only=True)
class Selfcheck:
    """Runs all parts; `result` holds what is known at any moment.

    `launch(image_size, participant)` starts a worker; `bursts()` burns a core while it is entered.

    Raises (from `run`):
        WorkerError: a worker failed; what was counted until then is in `result`.
    """

    launch: Callable[[int, Participant], WorkerHandle]
    bursts: Callable[[], AbstractContextManager[object]]
    amount: Amount = FULL
    budget_s: float = FULL.budget_s
    parts: Collection[str] = PARTS
    """Which of them run; they share the whole budget."""
    policy: Policy = DEFAULT
    limits: SelfcheckPolicy = SELFCHECK
    starts_at_once: int = 1
    processes: Processes | None = None
    """The experiment on cheaper processes; it runs if it is among the parts."""
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
        """Identical scenarios, planted slowdowns, full size, and at last beside bursts."""
        amount, result = self.amount, self.result
        self._part("identical", amount.identical, partial(self._identical, result.identical))
        self._part("planted", amount.planted, self._planted)
        self._part("full-size", amount.full_size, self._full_size)
        self._part("bursts", amount.in_bursts, self._in_bursts)
        if self.processes is not None:
            result.processes = self.processes.result
            try:
                wanted = self.processes.design.execs
                self._part("processes", wanted, self.processes.replicate, "replicates")
            finally:
                self.processes.end()
        return result

    def _part(
        self,
        name: str,
        wanted: int,
        experiment: Callable[[str], int],
        counted: str = "comparisons",
    ) -> None:
        """Experiments until there are enough comparisons, or the part's time would be passed."""
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
            self._note_use()
        self.result.seconds += self.clock() - began

    def _identical(self, tally: Tally, name: str) -> int:
        return self._compare_all(
            tally,
            name,
            stock_participants(self.amount.participants),
            self.limits.image_size,
            self._small(),
        )

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
        """Every participant against the next two, which are its baseline and control.

        Once: a baseline and its control count alike, so that changing places asks nothing new.
        """
        measured = self._measure(name, participants, size, identical_effort(self.limits), policy)
        for place, participant in enumerate(participants):
            baseline, control = (
                participants[(place + step) % len(participants)] for step in (1, 2)
            )
            tally.add(*verdict_of(measured, participant, baseline, control, policy))
        return tally.comparisons

    def _planted(self, name: str) -> int:
        """Compare every slowed participant once; stock ones take turns as baseline and control."""
        stock = stock_participants(_BASELINES)
        shares = self.limits.shares
        slow = [
            (share, slow_participant(share, c))
            for c in range(self.amount.copies)
            for share in shares
        ]
        policy = self._small()
        participants = [*stock, *(participant for _, participant in slow)]
        measured = self._measure(
            name, participants, self.limits.image_size, planted_effort(), policy
        )
        for place, (share, participant) in enumerate(slow):
            turn = place // len(shares) + place
            baseline, control = (stock[(turn + step) % _BASELINES] for step in (0, 1))
            judged = partial(
                verdict_of, scenario=participant, baseline=baseline, control=control, policy=policy
            )
            for launches, seconds in enumerate(measured.ends_s, start=1):
                point = self.result.curve(share, launches)
                found = judged(measured.until(launches))
                point.tally.add(*found)
                point.seconds.append(seconds)
            self.result.planted[share].add(*found)  # of all launches
        return min(tally.comparisons for tally in self.result.planted.values())

    def _measure(
        self, name: str, participants: list[Participant], size: int, effort: Effort, policy: Policy
    ) -> Measured:
        return Experiment(
            name=name,
            participants=participants,
            effort=effort,
            policy=policy,
            launch=partial(self.launch, size),
            starts_at_once=self.starts_at_once,
            allowed_s=max(0.0, self._part_ends - self.clock()),
            use=self._use,
            say=lambda what: self.say(f"{name}: {what}"),
            clock=self.clock,
        ).measure()

    def _small(self) -> Policy:
        """A run's policy with blocks for small inputs."""
        block = replace(self.policy.block, min_block_ms=self.limits.min_block_ms)
        return replace(self.policy, block=block)

    def _note_use(self) -> None:
        self.result.parent_cpu_share = self._use.parent.cpu_share
        self.result.measuring_share = self._use.measuring_share
        self.result.rounds_share = self._use.rounds_share
