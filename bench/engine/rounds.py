"""Rounds of one comparison group: balanced orders, blocks, the noise around them, when to stop."""

from __future__ import annotations

import statistics as stdlib_statistics
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine import schedule
from bench.errors import WorkerError
from bench.machine import noise
from bench.store.records import NoiseRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from bench.analysis.measurements import Key
    from bench.engine.execution import Execution
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy


@dataclass(kw_only=True)
class Rounds:
    """Runs the rounds of a run, group after group, and keeps what later rounds need of them.

    `record` takes each round's noise row; `failed` is told of an execution that broke; `note` takes
    sentences for the reader.
    """

    run_id: str
    policy: Policy
    record: Callable[[NoiseRow], None]
    failed: Callable[[Execution, WorkerError], None]
    note: Callable[[str], None]
    say: Callable[[str], None]
    clock: Callable[[], float]
    blocks_ms: dict[str, dict[str, dict[Key, float]]] = field(default_factory=dict)
    """By group and execution, since an execution may stand in several: ms by (launch, round)."""
    wait_for_idle: Callable[[float], object] = noise.wait_for_idle
    probe: WorkerHandle | None = None
    """A worker that measures nothing else: in any other, the probe would change the heap."""
    best_gflop_per_s: float = 0.0
    """The fastest probe's fp32 arithmetic: no peak of this run can be lower."""
    _probes_ns: list[int] = field(default_factory=list)

    def run(
        self,
        group: str,
        launch: int,
        executions: Sequence[Execution],
        limit: int,
        *,
        within_s: float = float("inf"),
        at_least: int = 0,
        orders: Iterator[tuple[str, ...]] | None = None,
    ) -> int:
        """Up to `limit` rounds of these executions, `within_s`. Returns how many were run.

        The first `at_least` are run whatever they take. `orders` goes on with balanced orders that
        began in an earlier call; by default every launch has its own.
        """
        if not executions:
            return 0  # all of them failed before: that ends this group, and not the run
        seed = self.policy.order_seed + zlib.crc32(f"{group}/{launch}".encode())
        orders = orders or schedule.round_orders(
            [execution.name for execution in executions], seed=seed
        )
        active = {execution.name: execution for execution in executions}
        settle = self._settle_calls(executions)
        slow = self._brief(executions)
        started = self.clock()
        for number in range(limit):
            spent_s = self.clock() - started
            next_s = spent_s / number if number else 0.0
            if not active or (number >= at_least and spent_s + next_s > within_s):
                return number
            self.say(f"round {number + 1}/{limit}")
            order = [active[name] for name in next(orders) if name in active]
            self._round(group, launch, number, order, settle)
            enough = slow if number + 1 >= self.policy.budget.emulated_rounds else ()
            active = {
                execution.name: execution
                for execution in order
                if execution.usable and execution.name not in enough
            }
        return limit

    def _settle_calls(self, executions: Sequence[Execution]) -> dict[str, int]:
        """Return how many calls each execution discards at the start of a block: all the same.

        None where emulation is slow: seconds outlast a cold start however fast the others are.
        """
        rule = self.policy.block
        typical = [execution.typical_ms for execution in executions]
        slow = bool(typical) and stdlib_statistics.median(typical) >= rule.settle_below_ms
        calls, brief = 0 if slow else rule.settle_calls, self._brief(executions)
        return {execution.name: 0 if execution.name in brief else calls for execution in executions}

    def _brief(self, executions: Collection[Execution]) -> frozenset[str]:
        """Name the executions that a few rounds are enough for: an emulated dtype that is slow."""
        default = next((execution for execution in executions if execution.is_base), None)
        slow_ms = self.policy.budget.emulated_slow * default.typical_ms if default else 0.0
        return frozenset(
            execution.name
            for execution in executions
            if execution.emulated and execution.typical_ms > slow_ms
        )

    def _round(
        self,
        group: str,
        launch: int,
        number: int,
        executions: Sequence[Execution],
        settle: Mapping[str, int],
    ) -> None:
        probe_ratio = self._probe()
        pids = [execution.worker.pid for execution in executions]
        before = noise.read_noise(pids)
        for position, execution in enumerate(executions):
            self._block(execution, number, position, settle[execution.name])
            if execution.blocks_ms:
                kept = self.blocks_ms.setdefault(group, {})
                kept.setdefault(execution.name, {}).update(execution.blocks_ms)
        seen = noise.difference(before, noise.read_noise(pids))
        self.record(
            NoiseRow(
                run_id=self.run_id,
                launch=launch,
                group=group,
                round=number,
                cpu_pressure=seen.cpu_pressure,
                steal=seen.steal,
                involuntary_switches=seen.involuntary_switches,
                probe_ratio=probe_ratio,
                quiet=noise.is_quiet(seen, probe_ratio, self.policy.noise),
                throttled=seen.throttled,
            )
        )

    def _block(self, execution: Execution, number: int, position: int, settle: int) -> None:
        """One block, measured again where other work disturbed it; what was disturbed is kept."""
        rule = self.policy.noise
        for attempt in range(1 + rule.max_repeats):
            if attempt:
                self.wait_for_idle(rule.idle_wait_s)
            pids = [execution.worker.pid]
            before = noise.read_noise(pids)

            def saw_other_work(before: noise.Reading = before, pids: list[int] = pids) -> bool:
                return noise.saw_other_work(
                    noise.difference(before, noise.read_noise(pids)), self.policy.noise
                )

            try:
                block = execution.run_block(
                    number, position, settle=settle, saw_other_work=saw_other_work
                )
            except WorkerError as error:
                execution.usable = False
                self.failed(execution, error)
                return
            if block.invalid:
                self.note(f"A block of {execution.name} does not count: {block.invalid}.")
            if not block.disturbed:
                break

    def _probe(self) -> float | None:
        """The calibrated probe's time over the run's median so far; None where there is none."""
        if self.probe is None or not self.probe.alive:
            return None
        try:
            reply = self.probe.ask("probe", self.policy.call_timeout_s)
        except WorkerError as error:
            self.note(f"The probe's worker failed: {error.reason}.")
            return None
        self.best_gflop_per_s = max(self.best_gflop_per_s, float(reply["gflop_per_s"]))
        self._probes_ns.append(int(reply["compute_ns"]) + int(reply["memory_ns"]))
        return self._probes_ns[-1] / stdlib_statistics.median(self._probes_ns)
