"""Measure groups of participants launch by launch, within a study's budget.

Orders, warm-up, noise and pairing are those of a run. A study may replace a turn of a participant,
which is a block of timed calls by default.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine.checks import Checks
from bench.engine.engine import Engine
from bench.studies.measured import Measured
from bench.worker.conditions import DIFFERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.engine.execution import Turn
    from bench.engine.participants import Group, Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.profiles import Profile
    from bench.plan.thresholds import Policy
    from bench.store.records import IterationRow, NoiseRow


@dataclass(kw_only=True)
class Study:  # more than 15 fields: the engine's, and how a study shares its budget out
    """Measures groups of participants.

    `launch(participant, number)` starts a participant's worker. `record_call` and `record_noise`
    get each row at once. The first launch gives every group its least rounds; later launches run
    while there is budget. A participant that fails does not stop the others.
    """

    run_id: str
    profile: Profile
    policy: Policy
    budget_s: float
    groups: Sequence[Group]
    launch: Callable[[Participant, int], WorkerHandle]
    turn: Turn | None = None
    checks: Checks = field(default_factory=Checks)
    record_call: Callable[[IterationRow], None] = lambda _: None
    record_noise: Callable[[NoiseRow], None] = lambda _: None
    say: Callable[[str, float | None], None] = lambda _what, _left: None
    keep_workers: bool = True
    """Whether a worker stays for the next group; else each group has fresh ones."""
    clock: Callable[[], float] = time.monotonic
    measured: Measured = field(default_factory=Measured)
    _ends: float = field(init=False, default=float("inf"))
    _where: str = field(init=False, default="")
    _may_end: bool = field(init=False, default=False)
    """Whether the budget ends the launch that runs; it does not end the first one."""

    def measure(self) -> Measured:
        """Measure all launches that fit into the budget."""
        self._ends = self.clock() + self.budget_s
        engine = Engine(
            run_id=self.run_id,
            policy=self.policy,
            start=self.launch,
            turn=self.turn,
            checks=self.checks,
            record_call=self.record_call,
            record_noise=self.record_noise,
            say=self._say,
            clock=self.clock,
            blocks=self.measured.groups,
            noise=self.measured.noise,
            failures=self.measured.failures,
            prepared=self.measured.prepared,
            record_event=lambda event: self.measured.notes.append(event.sentence),
        )
        for number in range(self.profile.launches):
            if number and self.clock() >= self._ends:
                break
            try:
                self._launch(number, engine)
            finally:
                engine.end()
                self._note_workers(engine)
        self._note_launches()
        return self.measured

    def _launch(self, number: int, engine: Engine) -> None:
        for place, group in enumerate(self.groups):
            launches_left = self.profile.launches - number
            share = (self._ends - self.clock()) / launches_left / (len(self.groups) - place)
            ends = self.clock() + share
            if number and share <= 0:
                return
            self._where = f"launch {number + 1}/{self.profile.launches} · {group.name}"
            self._may_end = number > 0
            limit = self.profile.max_rounds if number else self.profile.min_rounds
            engine.launch(number, group, limit, until=ends, at_least=0 if number else limit)
            if not self.keep_workers:
                engine.end()

    def _note_workers(self, engine: Engine) -> None:
        for name, found in engine.conditions.items():
            differs = engine.differences.get(name)
            self.measured.workers[name] = {**found, **({DIFFERS: differs} if differs else {})}
        for participant in (one for group in self.groups for one in group.participants):
            if participant.name in engine.conditions and not self.measured.data:
                self.measured.data = dict(engine.pool.greeting(participant).get("data", {}))

    def _note_launches(self) -> None:
        """Note the groups that got fewer launches than the profile has."""
        had = {
            name: len({launch for blocks in participants.values() for launch, _ in blocks})
            for name, participants in self.measured.groups.items()
        }
        wanted = self.profile.launches
        fewer = [f"{name} ({count})" for name, count in had.items() if 0 < count < wanted]
        if fewer:
            self.measured.notes.append(
                f"The budget allowed fewer than {wanted} launches of {', '.join(fewer)}: "
                "differences between processes are seen less well (raise --budget)."
            )

    def _say(self, what: str) -> None:
        left_s = max(0.0, self._ends - self.clock()) if self._may_end else None
        self.say(f"{self._where} · {what}", left_s)
