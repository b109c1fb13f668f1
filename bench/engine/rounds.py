"""Run the rounds of one group: balanced orders, blocks, the noise around them, when to stop."""

from __future__ import annotations

import statistics
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.engine import schedule
from bench.errors import WorkerError
from bench.machine import noise
from bench.store.events import Event, EventKind
from bench.store.records import NoiseRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.analysis.measurements import Key
    from bench.engine.execution import Execution
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy


@dataclass(kw_only=True)
class Rounds:
    """Runs the rounds of an experiment, group after group.

    `record` takes the noise row of each round, `record_event` blocks that do not count and failed
    probes, `failed` an execution whose worker broke.
    """

    run_id: str
    policy: Policy
    record: Callable[[NoiseRow], None]
    record_event: Callable[[Event], None]
    failed: Callable[[Execution, WorkerError], None]
    say: Callable[[str], None]
    clock: Callable[[], float]
    blocks_ms: dict[str, dict[str, dict[Key, float]]] = field(default_factory=dict)
    """ms by group, execution and (launch, round): an execution may be in several groups."""
    after_block: Callable[[Execution, float], object] = lambda *_: None
    """Called after every block that counts, with the median of its calls in ms."""
    wait_for_idle: Callable[[float], object] = noise.wait_for_idle
    probe: WorkerHandle | None = None
    """A worker that measures nothing else: the probe would change the heap of any other."""
    best_gflop_per_s: float = 0.0
    """The fastest probe's fp32 arithmetic: the peak of this run cannot be lower."""
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
        """Run up to `limit` rounds within that time; return how many were run.

        The first `at_least` are run however long they take. `orders` continues balanced orders that
        an earlier call began; by default each launch has its own.
        """
        if not executions:
            return 0
        if orders is None:
            seed = self.policy.order_seed + zlib.crc32(f"{group}/{launch}".encode())
            orders = schedule.round_orders([one.name for one in executions], seed=seed)
        slow_emulated = self._slow_emulated(executions)
        settle = self._settle_calls(executions, slow_emulated)
        active = {execution.name: execution for execution in executions}
        started = self.clock()
        for number in range(limit):
            spent_s = self.clock() - started
            next_s = spent_s / number if number else 0.0
            if not active or (number >= at_least and spent_s + next_s > within_s):
                return number
            self.say(f"round {number + 1}/{limit}")
            order = [active[name] for name in next(orders) if name in active]
            self._round(group, launch, number, order, settle)
            had_enough = number + 1 >= self.policy.budget.emulated_rounds
            active = {
                execution.name: execution
                for execution in order
                if execution.usable and not (had_enough and execution.name in slow_emulated)
            }
        return limit

    def _slow_emulated(self, executions: Sequence[Execution]) -> set[str]:
        """Return the executions of a slow emulated dtype, which get a few rounds only."""
        base = next((execution for execution in executions if execution.is_base), None)
        slow_ms = self.policy.budget.emulated_slow * base.typical_ms if base else 0.0
        return {one.name for one in executions if one.emulated and one.typical_ms > slow_ms}

    def _settle_calls(
        self, executions: Sequence[Execution], slow_emulated: set[str]
    ) -> dict[str, int]:
        """Return how many calls each execution discards at the start of a block.

        The cold start would count as part of a short call, and not of a long one. Two executions
        about as fast discard alike, or it would favour one; slow emulated dtypes discard none.
        """
        rule = self.policy.block
        limit_ms, settle = rule.settle_below_ms, {}
        for one in sorted(executions, key=lambda execution: execution.typical_ms):
            discards = one.typical_ms < limit_ms and one.name not in slow_emulated
            settle[one.name] = rule.settle_calls if discards else 0
            if discards:
                limit_ms = max(limit_ms, rule.settle_alike * one.typical_ms)
        return settle

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
        """Measure one block, and again where other work disturbed it; its rows are all kept."""
        rule = self.policy.noise
        for attempt in range(1 + rule.max_repeats):
            if attempt:
                self.wait_for_idle(rule.idle_wait_s)
            pids = [execution.worker.pid]
            before = noise.read_noise(pids)

            def saw_other_work(before: noise.Reading = before, pids: list[int] = pids) -> bool:
                seen = noise.difference(before, noise.read_noise(pids))
                return noise.saw_other_work(seen, self.policy.noise)

            try:
                block = execution.run_block(
                    number, position, settle=settle, saw_other_work=saw_other_work
                )
            except WorkerError as error:
                execution.usable = False
                self.failed(execution, error)
                return
            if block.invalid:
                self.record_event(
                    Event(
                        kind=EventKind.BLOCK_NOT_COUNTED,
                        subject=execution.name,
                        launch=execution.launch,
                        round=number,
                        reason=block.invalid,
                    )
                )
            if block.ms is not None:
                self._look(execution, block.ms)
            if not block.disturbed:
                break
        execution.rest()

    def _look(self, execution: Execution, block_ms: float) -> None:
        """Let the experiment look at more than times; these count even if that fails."""
        try:
            self.after_block(execution, block_ms)
        except WorkerError as error:
            self.record_event(
                Event(
                    kind=EventKind.EVIDENCE_MISSING,
                    subject=execution.name,
                    launch=execution.launch,
                    reason=error.reason,
                )
            )

    def _probe(self) -> float | None:
        """Return the calibrated probe's time over the run's median so far; None without a probe."""
        if self.probe is None or not self.probe.alive:
            return None
        try:
            reply = self.probe.ask("probe", self.policy.call_timeout_s)
        except WorkerError as error:
            self.record_event(Event(kind=EventKind.PROBE_FAILED, reason=error.reason))
            return None
        self.best_gflop_per_s = max(self.best_gflop_per_s, float(reply["gflop_per_s"]))
        self._probes_ns.append(int(reply["compute_ns"]) + int(reply["memory_ns"]))
        return self._probes_ns[-1] / statistics.median(self._probes_ns)
