"""Rounds of one comparison group: balanced orders, blocks, the noise around them, when to stop."""

from __future__ import annotations

import statistics as stdlib_statistics
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import noise, schedule
from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements
from bench.errors import WorkerError
from bench.records import NoiseRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from bench.lane import Lane
    from bench.policy import Policy
    from bench.scenarios import Dtype


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
    first_launch: int = 0
    """Number of the first launch; later than 0 where a cut run goes on."""
    blocks_ms: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    """By lane; those of an earlier part of the run count too."""
    wait_for_idle: Callable[[float], object] = noise.wait_for_idle
    best_gflop_per_s: float = 0.0
    """The fastest probe's fp32 arithmetic: no peak of this run can be lower."""
    _probes_ns: list[int] = field(default_factory=list)

    def run(
        self,
        group: str,
        launch: int,
        lanes: Sequence[Lane],
        limit: int,
        *,
        within_s: float = float("inf"),
    ) -> int:
        """Up to `limit` rounds of these lanes. Returns how many were run.

        Rounds beyond the minimum only `within_s`. The first launch has no other deadline inside a
        group, so that whatever is begun gets its minimum.
        """
        if not lanes:
            return 0  # all of them failed before: that ends this group, and not the run
        seed = self.policy.order_seed + zlib.crc32(f"{group}/{launch}".encode())
        orders = schedule.round_orders([lane.name for lane in lanes], seed=seed)
        active = {lane.name: lane for lane in lanes}
        settle = self._settle_calls(lanes)
        slow = self._brief(lanes)
        started = self.clock()
        for number in range(limit):
            widths = self._half_widths(active)
            left_s = self.left_s() if launch > self.first_launch else float("inf")
            if number >= self.min_rounds:
                left_s = min(left_s, within_s - (self.clock() - started))
                active = self._still_wide(active, widths)
            reason = schedule.should_stop(
                list(widths.values()),
                target=self.target_half_width,
                rounds=number,
                min_rounds=self.min_rounds,
                max_rounds=limit,
                deadline_left_s=left_s,
                round_cost_s=(self.clock() - started) / number if number else 0.0,
            )
            if not active or reason is not None:
                return number
            self.say(f"round {number + 1}/{limit}")
            order = [active[name] for name in next(orders) if name in active]
            self._round(group, launch, number, order, settle)
            enough = slow if number + 1 >= self.policy.budget.emulated_rounds else ()
            active = {lane.name: lane for lane in order if lane.usable and lane.name not in enough}
        return limit

    def _settle_calls(self, lanes: Sequence[Lane]) -> dict[str, int]:
        """How many calls each lane discards at the start of a block: all alike, as policy says.

        None where emulation is slow: seconds outlast a cold start however fast the others are.
        """
        rule = self.policy.block
        typical = [lane.typical_ms for lane in lanes]
        slow = bool(typical) and stdlib_statistics.median(typical) >= rule.settle_below_ms
        calls, brief = 0 if slow else rule.settle_calls, self._brief(lanes)
        return {lane.name: 0 if lane.name in brief else calls for lane in lanes}

    def _still_wide(self, active: dict[str, Lane], widths: Mapping[str, float]) -> dict[str, Lane]:
        """The lanes whose intervals rounds can still narrow; baselines and control always.

        A lane that is precise rests for the rest of the launch, so that time goes to the others.
        """
        target = self.target_half_width
        baselines = {lane.name for lane in self._tuned(active).values()}
        return {
            name: lane
            for name, lane in active.items()
            if not lane.may_rest or name in baselines or widths.get(name, 0.0) > target
        }

    def widest(self, lanes: Sequence[Lane]) -> list[float]:
        """The half-widths of these lanes' intervals that are not yet narrow enough."""
        widths = self._half_widths({lane.name: lane for lane in lanes}, rounds_only=False)
        return [width for width in widths.values() if width > self.target_half_width]

    def _brief(self, lanes: Collection[Lane]) -> frozenset[str]:
        """The lanes that have had enough after a few rounds: an emulated dtype that is slow."""
        default = next((lane for lane in lanes if lane.is_default), None)
        slow_ms = self.policy.budget.emulated_slow * default.typical_ms if default else 0.0
        return frozenset(lane.name for lane in lanes if lane.emulated and lane.typical_ms > slow_ms)

    def _round(
        self,
        group: str,
        launch: int,
        number: int,
        lanes: Sequence[Lane],
        settle: Mapping[str, int],
    ) -> None:
        probe_ratio = self._probe(lanes)
        pids = [lane.worker.pid for lane in lanes]
        before = noise.read_noise(pids)
        for position, lane in enumerate(lanes):
            self._block(lane, number, position, settle[lane.name])
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

    def _block(self, lane: Lane, number: int, position: int, settle: int) -> None:
        """One block, measured again where other work disturbed it; what was disturbed is kept."""
        rule = self.policy.noise
        for attempt in range(1 + rule.max_repeats):
            if attempt:
                self.wait_for_idle(rule.idle_wait_s)
            pids = [lane.worker.pid]
            before = noise.read_noise(pids)

            def saw_other_work(before: noise.Reading = before, pids: list[int] = pids) -> bool:
                return noise.saw_other_work(
                    noise.difference(before, noise.read_noise(pids)), self.policy.noise
                )

            try:
                block = lane.run_block(
                    number, position, settle=settle, saw_other_work=saw_other_work
                )
            except WorkerError as error:
                lane.usable = False
                self.failed(lane, error)
                return
            if block.invalid:
                self.note(f"A block of {lane.name} does not count: {block.invalid}.")
            if not block.disturbed:
                break
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

    def _half_widths(
        self, active: Mapping[str, Lane], *, rounds_only: bool = True
    ) -> dict[str, float]:
        """The wider of each lane's intervals, over stock default and over stock tuned.

        `rounds_only` leaves out what processes differ by, which no further round narrows.
        Slow emulated lanes hold nothing up. Which lane is stock tuned is asked afresh each time.
        """
        default = next((lane for lane in active.values() if lane.is_default), None)
        tuned, brief = self._tuned(active), self._brief(active.values())
        blocks = {name: found for name in active if (found := self.blocks_ms.get(name))}
        judge = Judge(Measurements(groups={"": blocks}), self.policy)
        return {
            name: max(
                judge.half_width(name, baseline.name if baseline else "", rounds_only=rounds_only)
                for baseline in (default, tuned.get(lane.scenario.dtype))
                if baseline is not lane
            )
            for name, lane in active.items()
            if name not in brief and not lane.is_default
        }

    def _tuned(self, active: Mapping[str, Lane]) -> dict[Dtype, Lane]:
        """The fastest stock lane of each dtype by its blocks so far."""
        fastest: dict[Dtype, tuple[float, Lane]] = {}
        for name, lane in active.items():
            blocks = self.blocks_ms.get(name)
            if not blocks or not lane.may_be_tuned:
                continue
            took = (stdlib_statistics.median(blocks.values()), lane)
            dtype = lane.scenario.dtype
            fastest[dtype] = min(fastest.get(dtype, took), took, key=lambda one: one[0])
        return {dtype: lane for dtype, (_, lane) in fastest.items()}
