"""Measure one scenario, base against head, in paired rounds with a control.

In each launch three fresh workers (base, base again as the control, head) share every round, with
the orders, blocks, warm-up, noise readings and statistics of `bench run`.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.analysis.measurements import block_medians, disturbance
from bench.engine.checks import Checks
from bench.engine.engine import Engine
from bench.engine.participants import Group, Participant
from bench.errors import RefusalError
from bench.gate.evidence import Evidence, Finding, read_evidence
from bench.gate.result import Outcome
from bench.gate.side import Side
from bench.gate.thresholds import DEFAULT as DEFAULT_THRESHOLDS
from bench.gate.thresholds import GatePolicy
from bench.plan.scenario import Status, part_of, worker_key
from bench.plan.thresholds import DEFAULT, Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.engine.execution import Execution
    from bench.engine.worker_process import WorkerHandle
    from bench.gate.thresholds import Effort
    from bench.plan.scenario import Scenario
    from bench.store.records import IterationRow, NoiseRow

    Launch = Callable[[Side, Scenario, int], WorkerHandle]

_SIDE = "side"


@dataclass(kw_only=True)
class Measurer:
    """Measures scenarios with the settings that all scenarios of a gate share.

    `launch(side, worker key, number)` starts a worker.
    """

    run_id: str
    launch: Launch
    record: Callable[[IterationRow | NoiseRow], None]
    thresholds: GatePolicy = DEFAULT_THRESHOLDS
    policy: Policy = DEFAULT
    same_packages: bool = True
    """Whether both commits run on the same packages, and so on the same OpenMP runtimes."""
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    notes: list[str] = field(default_factory=list)
    """For the reader of the report."""

    def read(self, found: Evidence, *, early: bool = False) -> Finding:
        """Judge evidence by the gate's thresholds."""
        return read_evidence(found, thresholds=self.thresholds, policy=self.policy, early=early)

    def measure(
        self,
        scenario: Scenario,
        effort: Effort,
        read: Callable[..., Finding],
        *,
        title: str = "",
        first_launch: int = 0,
    ) -> Evidence:
        """Measure a scenario until it is decided, or its launches or its budget are used up.

        It is decided once `read(evidence, early=...)` has the same outcome both ways. Launches are
        numbered from `first_launch`, so that a confirmation has rows and orders of its own.
        """
        started, most = self.clock(), effort.max_rounds
        participants = _participants(scenario)
        engine = self._engine(scenario, f"{title} ")
        try:
            for number in range(first_launch, first_launch + effort.launches):
                begun = self.clock()
                order = list(participants.values())
                random.Random(f"{scenario.id}/{number}").shuffle(order)  # noqa: S311 - an order
                rounds = engine.launch(
                    number,
                    Group(name=scenario.id, participants=tuple(order)),
                    most,
                    until=started + effort.budget_s,
                    at_least=most if number == first_launch else 0,
                )
                engine.end()
                round_s = engine.rounds_s / rounds if rounds else 0.0
                took_s = self.clock() - begun
                least_s = took_s - engine.rounds_s + effort.min_rounds * round_s
                if engine.failures or self.clock() + least_s > started + effort.budget_s:
                    break
                if number - first_launch + 1 >= effort.first_look and _is_decided(
                    self._evidence(engine, scenario), read
                ):
                    break
        finally:
            engine.end()
        return self._evidence(engine, scenario)

    def _engine(self, scenario: Scenario, title: str) -> Engine:
        key = worker_key(scenario)
        return Engine(
            run_id=self.run_id,
            policy=self.policy,
            start=lambda participant, number: self.launch(
                Side(participant.details[_SIDE]), key, number
            ),
            checks=_SamePart(),
            record_call=self.record,
            record_noise=self.record,
            record_event=lambda event: self.notes.append(event.sentence),
            say=lambda text: self.say(title + text),
            at_once=len(Side),  # no worker warms up beside one that imports
            needed=True,
            same_packages=self.same_packages,
            clock=self.clock,
        )

    def _evidence(self, engine: Engine, scenario: Scenario) -> Evidence:
        names = {side: one.name for side, one in _participants(scenario).items()}
        sides = {name: side for side, name in names.items()}
        found = disturbance(engine.calls, engine.noise, {}, self.policy.noise)
        blocks = block_medians(engine.calls)
        failed = [
            f"the {sides[name]} worker failed ({error.status}): {error.reason}"
            for name, error in engine.failures.items()
        ]
        return Evidence(
            blocks={side: blocks.get(name, {}) for side, name in names.items()},
            lost={side: found.lost.get(name, frozenset()) for side, name in names.items()},
            disturbed_shares={side: found.shares.get(name, 0.0) for side, name in names.items()},
            unlike=tuple(
                f"{sides[name]} against base: {sentence}"
                for name, sentences in engine.differences.items()
                for sentence in sentences
            ),
            failure=failed[0] if failed else None,
        )


def _is_decided(found: Evidence, read: Callable[..., Finding]) -> bool:
    early, late = (read(found, early=early).outcome for early in (True, False))
    return early is late is not Outcome.NO_VERDICT


def _participants(scenario: Scenario) -> dict[Side, Participant]:
    names = {side: f"{scenario.id}#{side}" for side in Side}
    return {
        side: Participant(
            name=names[side],
            scenario=scenario,
            base="" if side is Side.BASE else names[Side.BASE],
            details={_SIDE: side},
        )
        for side in Side
    }


class _SamePart(Checks):
    """Refuses a worker of a commit that does not know the scenario's part of the product.

    It would run the whole model instead, and seem fast or slow.
    """

    def after_prepare(self, execution: Execution) -> None:
        """Compare the part that the worker will time with the scenario's."""
        wanted = part_of(execution.scenario)
        if execution.prepared.get("part") != wanted:
            raise RefusalError(
                Status.UNSUPPORTED, f"that commit's worker does not time {wanted} on its own"
            )
