"""Rounds of one comparison group: balanced orders, blocks, the noise around them, when to stop."""

from __future__ import annotations

import statistics as stdlib_statistics
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import noise, schedule, statistics
from bench.errors import WorkerError
from bench.records import NoiseRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.lane import Lane
    from bench.policy import Policy

_STOPPING_DRAWS = 1000
"""Draws of the bootstrap that decides whether to go on; the verdict's own has many more."""


@dataclass(kw_only=True)
class Rounds:
    """Runs the rounds of a run, group after group, and keeps what later rounds need of them.

    `record` takes each round's noise row; `failed` is told of a lane that broke; `note` takes
    sentences for the reader; `left_s` says what the budget still has.
    """

    run_id: str
    policy: Policy
    target_half_width: float
    min_rounds: int
    record: Callable[[NoiseRow], None]
    failed: Callable[[Lane, WorkerError], None]
    note: Callable[[str], None]
    say: Callable[[str], None]
    left_s: Callable[[], float]
    clock: Callable[[], float]
    blocks_ms: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    """By lane; those of an earlier part of the run count too."""
    best_gflop_per_s: float = 0.0
    """The fastest probe's fp32 arithmetic: no peak of this run can be lower."""
    _probes_ns: list[int] = field(default_factory=list)

    def run(self, group: str, launch: int, lanes: Sequence[Lane], limit: int) -> int:
        """Up to `limit` rounds of these lanes. Returns how many were run.

        The first launch has no deadline inside a group, so that whatever is begun gets its minimum.
        """
        seed = self.policy.verdict.seed + zlib.crc32(f"{group}/{launch}".encode())
        orders = schedule.round_orders([lane.name for lane in lanes], seed=seed)
        active = {lane.name: lane for lane in lanes}
        started = self.clock()
        for number in range(limit):
            reason = schedule.should_stop(
                self._half_widths(active),
                target=self.target_half_width,
                rounds=number,
                min_rounds=self.min_rounds,
                max_rounds=limit,
                deadline_left_s=self.left_s() if launch else float("inf"),
                round_cost_s=(self.clock() - started) / number if number else 0.0,
            )
            if not active or reason is not None:
                return number
            self.say(f"round {number + 1}/{limit}")
            order = [active[name] for name in next(orders) if name in active]
            self._round(group, launch, number, order)
            active = {lane.name: lane for lane in order if self._goes_on(lane, number)}
        return limit

    def _goes_on(self, lane: Lane, number: int) -> bool:
        """An emulated dtype has had enough after a few rounds; a broken lane for good."""
        enough = lane.emulated and number + 1 >= self.policy.budget.emulated_rounds
        return lane.usable and not enough

    def _round(self, group: str, launch: int, number: int, lanes: Sequence[Lane]) -> None:
        probe_ratio = self._probe(lanes)
        pids = [lane.worker.pid for lane in lanes]
        before = noise.read_noise(pids)
        for position, lane in enumerate(lanes):
            self._block(lane, number, position)
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
            )
        )

    def _block(self, lane: Lane, number: int, position: int) -> None:
        try:
            invalid = lane.run_block(number, position)
        except WorkerError as error:
            lane.usable = False
            self.failed(lane, error)
            return
        if invalid:
            self.note(f"A block of {lane.name} does not count: {invalid}.")
        self.blocks_ms.setdefault(lane.name, {}).update(lane.blocks_ms)

    def _probe(self, lanes: Sequence[Lane]) -> float | None:
        """The calibrated probe's time over the run's median so far, from the stock worker."""
        stock = next((lane for lane in lanes if lane.scenario.is_stock_default), None)
        if stock is None:
            return None
        try:
            reply = stock.worker.ask("probe", self.policy.call_timeout_s)
        except WorkerError:
            return None
        self.best_gflop_per_s = max(self.best_gflop_per_s, float(reply.get("gflop_per_s", 0.0)))
        self._probes_ns.append(int(reply["compute_ns"]) + int(reply["memory_ns"]))
        return self._probes_ns[-1] / stdlib_statistics.median(self._probes_ns)

    def _half_widths(self, active: Mapping[str, Lane]) -> list[float]:
        """Half-widths of the speedups over the stock default; emulated lanes hold nothing up."""
        default = next((lane for lane in active.values() if lane.is_default), None)
        baseline = self.blocks_ms.get(default.name, {}) if default else {}
        return [
            self._half_width(baseline, self.blocks_ms.get(name, {}))
            for name, lane in active.items()
            if not lane.emulated and not lane.is_default
        ]

    def _half_width(
        self, baseline: Mapping[tuple[int, int], float], blocks: Mapping[tuple[int, int], float]
    ) -> float:
        if not baseline.keys() & blocks.keys():
            return float("inf")
        return statistics.speedup(
            statistics.paired_log_ratios(baseline, blocks),
            draws=_STOPPING_DRAWS,
            seed=self.policy.verdict.seed,
            confidence=self.policy.verdict.confidence,
        ).half_width
