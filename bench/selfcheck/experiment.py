"""Measure participants of known speed together, launch by launch, with the engine of a run.

Any three identical participants can be scenario, baseline and control.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements, block_medians, disturbance
from bench.engine.engine import Engine
from bench.engine.participants import Group
from bench.engine.time_use import TimeUse
from bench.errors import WorkerError
from bench.plan.scenario import CONTROL_SUFFIX, Phase, Status
from bench.store.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.analysis.measurements import Key
    from bench.engine.participants import Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.gate.thresholds import Effort
    from bench.plan.thresholds import Policy
    from bench.store.events import Event
    from bench.store.records import IterationRow, NoiseRow


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measurements of an experiment."""

    calls: tuple[IterationRow, ...]
    noise: tuple[NoiseRow, ...] = ()
    unlike: Mapping[str, str] = field(default_factory=dict)
    """Participants whose worker's conditions differed from the first one's, and how."""
    ends_s: tuple[float, ...] = ()
    """For each launch, the seconds from the experiment's start to its end."""

    @cached_property
    def blocks(self) -> Mapping[str, Mapping[Key, float]]:
        """Participant -> (launch, round) -> ms, disturbed blocks included."""
        return block_medians(self.calls)

    def until(self, launches: int) -> Measured:
        """Return the measurements of the first launches."""
        return replace(
            self,
            calls=tuple(row for row in self.calls if row.launch < launches),
            noise=tuple(row for row in self.noise if row.launch < launches),
            ends_s=self.ends_s[:launches],
        )

    def judge(self, baseline: Participant, control: Participant, policy: Policy) -> Judge:
        """Return a judge with these participants as baseline and control."""
        disturbed = disturbance(self.calls, self.noise, {}, policy.noise)

        def name(participant: str) -> str:
            is_control = participant == control.name
            return baseline.name + CONTROL_SUFFIX if is_control else participant

        found = Measurements(
            groups={"": {name(one): blocks for one, blocks in self.blocks.items()}},
            lost={name(one): keys for one, keys in disturbed.lost.items()},
            disturbed_shares={name(one): share for one, share in disturbed.shares.items()},
            unusable={name(one): why for one, why in self.unlike.items()},
        )
        return Judge(found, policy)


@dataclass(kw_only=True)
class Experiment:
    """Measures the participants once.

    `launch(participant)` starts a worker. Every launch has its minimum of rounds, and more only
    within its part of the budget, so that the check ends on a noisy machine too.
    """

    name: str
    participants: Sequence[Participant]
    effort: Effort
    policy: Policy
    launch: Callable[[Participant], WorkerHandle]
    starts_at_once: int = 1
    use: TimeUse = field(default_factory=TimeUse)
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic

    def measure(self) -> Measured:
        """Run all launches.

        Raises:
            WorkerError: a worker failed, or no block counted. The rate of wrong verdicts must not
                include a broken machine.
        """
        began, ends_s = self.clock(), []
        events: list[Event] = []
        engine = Engine(
            run_id="selfcheck",
            policy=self.policy,
            start=lambda participant, _: self.launch(participant),
            say=self.say,
            at_once=self.starts_at_once,
            needed=True,
            record_event=events.append,
            clock=self.clock,
            use=self.use,
        )
        first, *others = self.participants
        based = (replace(participant, base=first.name) for participant in others)
        group = Group(name=self.name, participants=(first, *based))
        try:
            for number in range(self.effort.launches):
                left = self.effort.budget_s - (self.clock() - began)
                engine.launch(
                    number,
                    group,
                    self.effort.max_rounds,
                    until=self.clock() + left / (self.effort.launches - number),
                    at_least=self.effort.min_rounds,
                )
                engine.end()
                ends_s.append(self.clock() - began)
                for error in engine.failures.values():
                    raise error
        finally:
            engine.end()
            self.use.total_s += self.clock() - began
        if not any(row.phase == Phase.TIMED for row in engine.calls):
            reasons = (one.reason for one in events if one.kind is EventKind.BLOCK_NOT_COUNTED)
            reason = next(reasons, None) or "no round was measured"
            raise WorkerError(Status.CRASHED, f"no block of {self.name} counts: {reason}")
        return Measured(
            calls=tuple(engine.calls),
            noise=tuple(engine.noise),
            unlike={
                name: f"its worker ran under other conditions: {'; '.join(found)}"
                for name, found in engine.differences.items()
            },
            ends_s=tuple(ends_s),
        )
