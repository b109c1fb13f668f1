"""One experiment: participants of known speed measured together, launch by launch, as a run would.

A run's groups are scenarios and a control; here a participant is a worker whose true speed is
known, and any three identical participants can be scenario, baseline and control. What is timed,
when, in which order, is the run's own code (`bench.engine`, `bench.engine.execution`,
`bench.engine.rounds`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements, disturbance
from bench.engine.engine import Engine
from bench.engine.participants import Group
from bench.engine.time_use import TimeUse
from bench.plan.scenario import CONTROL_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.analysis.measurements import Key
    from bench.engine.participants import Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy
    from bench.store.records import IterationRow, NoiseRow


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much one experiment may measure."""

    launches: int
    min_rounds: int
    max_rounds: int
    """Per launch."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The outcome of an experiment: blocks by participant, calls, noise, ends of launches."""

    blocks: Mapping[str, Mapping[Key, float]]
    calls: tuple[IterationRow, ...] = ()
    noise: tuple[NoiseRow, ...] = ()
    unlike: Mapping[str, str] = field(default_factory=dict)
    """Participants whose worker's conditions differed from the first one's, and how."""
    ends_s: tuple[float, ...] = ()
    """For each launch, the seconds from the experiment's start to its end."""

    def until(self, launches: int) -> Measured:
        """What was known after so many launches."""
        return replace(
            self,
            blocks={
                name: {key: ms for key, ms in blocks.items() if key[0] < launches}
                for name, blocks in self.blocks.items()
            },
            calls=tuple(row for row in self.calls if row.launch < launches),
            noise=tuple(row for row in self.noise if row.launch < launches),
            ends_s=self.ends_s[:launches],
        )

    def judge(self, baseline: Participant, control: Participant, policy: Policy) -> Judge:
        """Who judges the participants, with two of them as baseline and control."""
        disturbed = disturbance(self.calls, self.noise, {}, policy.noise)
        renamed = {control.name: baseline.name + CONTROL_SUFFIX}

        def participant(name: str) -> str:
            return renamed.get(name, name)

        found = Measurements(
            groups={"": {participant(name): blocks for name, blocks in self.blocks.items()}},
            lost={participant(name): keys for name, keys in disturbed.lost.items()},
            disturbed_shares={participant(name): one for name, one in disturbed.shares.items()},
            unusable={participant(name): why for name, why in self.unlike.items()},
        )
        return Judge(found, policy)


@dataclass(kw_only=True)
class Experiment:
    """Measures the participants once.

    `launch(participant)` starts a worker. Every launch has its minimum of rounds; more of them only
    within its part of `allowed_s`, so that a noisy machine makes intervals wide and not the check
    endless. A worker that fails ends the experiment: something is wrong with the machine, and a
    rate of wrong verdicts must not depend on it.

    Raises (from `measure`):
        WorkerError: a worker failed.
    """

    name: str
    participants: Sequence[Participant]
    effort: Effort
    policy: Policy
    launch: Callable[[Participant], WorkerHandle]
    starts_at_once: int = 1
    allowed_s: float = float("inf")
    use: TimeUse = field(default_factory=TimeUse)
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic

    def measure(self) -> Measured:
        """All launches."""
        began, ends_s = self.clock(), []
        engine = self._engine()
        first = self.participants[0].name
        participants = [
            participant if participant.name == first else replace(participant, base=first)
            for participant in self.participants
        ]
        group = Group(name=self.name, participants=tuple(participants))
        try:
            for number in range(self.effort.launches):
                left = self.allowed_s - (self.clock() - began)
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
        return Measured(
            blocks=engine.blocks[self.name],
            calls=tuple(engine.calls),
            noise=tuple(engine.noise),
            unlike={
                name: f"its worker ran under other conditions: {'; '.join(found)}"
                for name, found in engine.differences.items()
            },
            ends_s=tuple(ends_s),
        )

    def _engine(self) -> Engine:
        return Engine(
            run_id="selfcheck",
            policy=self.policy,
            start=lambda participant, _: self.launch(participant),
            say=self.say,
            at_once=self.starts_at_once,
            needed=True,
            clock=self.clock,
            use=self.use,
        )
