"""One scenario in one worker during one launch: prepare, first call, check, warm up, blocks.

A execution turns replies into rows and facts; it decides nothing. Every call that was ever timed
becomes a row of `iterations.csv`, in the order it happened.
"""

from __future__ import annotations

import math
import statistics as stdlib_statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from bench.analysis.measurements import upper_share
from bench.analysis.steady import calls_before_level, is_steady
from bench.errors import WorkerError
from bench.machine import energy
from bench.plan.scenario import Mode, Phase, Status
from bench.store.records import IterationRow
from bench.worker import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.engine.participants import Participant
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import Policy

    Turn = Callable[["Execution", int, int], float]


@dataclass(frozen=True, kw_only=True)
class Block:
    """What became of one turn."""

    invalid: str | None = None
    """Why it does not count, if the worker says so: a sentence."""
    disturbed: bool = False
    """Whether other work took its CPUs, so that it does not count either."""


@dataclass(kw_only=True)
class Execution:
    """A scenario that takes part in the rounds of one launch.

    `record` gets every row as it comes. `turn(execution, round, position)` replaces a block of
    calls: it returns the block's time in ms.
    """

    run_id: str
    participant: Participant
    launch: int
    worker: WorkerHandle
    policy: Policy
    record: Callable[[IterationRow], None]
    turn: Turn | None = None
    known_trend_calls: int | None = None
    """After so many warm-up calls an earlier launch of it was level; None where that is unknown."""
    prepared: protocol.PrepareReply = field(default_factory=protocol.PrepareReply)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    steady: bool = True
    usable: bool = True
    blocks_ms: dict[tuple[int, int], float] = field(default_factory=dict)
    spent_s: float = 0.0
    first_call_ms: float = 0.0
    joules: float | None = None
    """Energy of its blocks, where the host counts it."""
    joules_images: int = 0
    _calls: int = 0
    _warm_ms: list[float] = field(default_factory=list)
    _cpu_shares: list[float] = field(default_factory=list)

    @property
    def scenario(self) -> Scenario:
        """What its worker runs."""
        return self.participant.scenario

    @property
    def name(self) -> str:
        """The participant's, because several may run the same scenario."""
        return self.participant.name

    @property
    def is_control(self) -> bool:
        """Whether it is the second worker of a base."""
        return self.participant.is_control

    @property
    def is_base(self) -> bool:
        """Whether the others of its group are held against it."""
        return not (self.participant.base or self.participant.is_control)

    @property
    def emulated(self) -> bool:
        """Whether the worker says that its dtype has no native instructions here."""
        return self.prepared.get("native_dtype") is False

    @property
    def warm_ms(self) -> list[float]:
        """Its warm-up calls, in order."""
        return self._warm_ms

    def prepare(self) -> None:
        """Set the model up and make its very first call."""
        self.build()
        self.count_first_call(self.ask_first_call())

    def build(self) -> None:
        """Have the worker set the model up."""
        reply = self._ask(
            "prepare", self.policy.prepare_timeout_s, scenario=protocol.encode(self.scenario)
        )
        self.prepared = cast("protocol.PrepareReply", reply)

    def ask_first_call(self) -> protocol.CallReply:
        """Have the worker make its very first call: compiled modes compile in it.

        It is not written down here: executions may ask side by side, and rows are one thread's.
        """
        return self._ask_calls(1, Phase.FIRST_CALL, self.policy.prepare_timeout_s)

    def count_first_call(self, reply: protocol.CallReply) -> None:
        """Write a first call down."""
        (self.first_call_ms,) = self._record(reply, Phase.FIRST_CALL, slice(0, None), None, None)

    @property
    def opening_s(self) -> float:
        """What its first call and warm-up took."""
        return (self.first_call_ms + sum(self._warm_ms)) / 1000

    @property
    def later_opening_s(self) -> float:
        """What its first call and warm-up will take in a later launch, where caches are warm."""
        typical_s = self.typical_ms / 1000
        compiling_s = max(0.0, self.first_call_ms / 1000 - 2 * typical_s)
        calls = 2 + (self.known_trend_calls or 0) + self._later_calls()
        return calls * typical_s + compiling_s * self.policy.budget.warm_compile_share

    def outputs(self, path: Path, *, within_s: float | None = None) -> protocol.OutputsReply:
        """Have the worker write its outputs for the parity check to `path`.

        Of the images that it gets through `within_s`, or of all. The calls that this takes count as
        warm-up. A worker of another commit may not time them.
        """
        timeout_s = self.policy.prepare_timeout_s + (within_s or 0.0)
        message = self._ask("outputs", timeout_s, path=str(path), within_s=within_s)
        reply = cast("protocol.OutputsReply", message)
        if reply.get("wall_ns"):
            self._warm_ms.extend(self._record(reply, Phase.WARMUP, slice(0, None), None, None))
        return reply

    def warm_up_once(self) -> float:
        """One warm-up call; its milliseconds."""
        reply = self._ask_calls(1, Phase.WARMUP, self.policy.call_timeout_s)
        self._warm_ms.extend(self._record(reply, Phase.WARMUP, slice(0, None), None, None))
        self._had_less_cpu(reply, slice(0, None))
        return self._warm_ms[-1]

    def warm_up(self) -> None:
        """Call until steady, or until the cap; `steady` tells which."""
        rule = self.policy.steady_state
        while not self._is_warm():
            if len(self._warm_ms) >= rule.max_calls or sum(self._warm_ms) > rule.max_seconds * 1000:
                self.steady = False
                return
            self.warm_up_once()
        self.steady = True

    def _is_warm(self) -> bool:
        if self.known_trend_calls is None:
            return is_steady(self._warm_ms, self.policy.steady_state)
        if not self._warm_ms:
            return False
        return len(self._warm_ms) >= self.known_trend_calls + self._later_calls()

    def _later_calls(self) -> int:
        """Warm-up calls of a later launch, beyond those before it was level."""
        rule = self.policy.steady_state
        slow = self.typical_ms > rule.slow_call_ms and self.scenario.mode is not Mode.TORCHSCRIPT
        return rule.later_slow_calls if slow else rule.later_calls

    @property
    def trend_calls(self) -> int | None:
        """Warm-up calls before its times were level; None where they never were."""
        return calls_before_level(self._warm_ms, self.policy.steady_state)

    def read_conditions(self) -> None:
        """Ask what the worker runs under, now that all is loaded that will be.

        A worker of another commit may not know the question: then its greeting's answer stands.
        """
        try:
            reply = self._ask("conditions", self.policy.call_timeout_s)
            self.conditions = reply.get("conditions", self.conditions)
        except WorkerError:
            if not self.worker.alive:
                raise

    @property
    def typical_ms(self) -> float:
        """What a call takes, by the latest warm-up calls."""
        return stdlib_statistics.median(self._warm_ms[-5:])

    def run_block(
        self,
        round_number: int,
        position: int,
        *,
        settle: int,
        saw_other_work: Callable[[], bool] = lambda: False,
    ) -> Block:
        """One turn, its first `settle` calls discarded.

        The block is disturbed where it had less CPU time than this scenario usually has and
        `saw_other_work()`, asked afterwards, says that the kernel saw some. The first alone may be
        the scenario's own stall, which is part of its time.
        """
        if self.turn is not None:
            self.blocks_ms[(self.launch, round_number)] = self.turn(self, round_number, position)
            return Block()
        rule = self.policy.block
        wanted = math.ceil(rule.min_block_ms / self.typical_ms)
        timed = min(max(wanted, rule.min_calls), rule.max_calls)
        before = energy.read_energy()
        reply = self._ask_calls(settle + timed, Phase.TIMED, self.policy.call_timeout_s)
        self._add_energy(energy.used(before, energy.read_energy()), settle + timed)
        disturbed = self._had_less_cpu(reply, slice(settle, None)) and saw_other_work()
        self._record(reply, Phase.WARMUP, slice(0, settle), round_number, position)
        invalid = reply.get("invalid")
        phase = Phase.WARMUP if invalid else Phase.TIMED
        times = self._record(
            reply, phase, slice(settle, None), round_number, position, disturbed=disturbed
        )
        if not (invalid or disturbed):
            self.blocks_ms[(self.launch, round_number)] = stdlib_statistics.median(times)
        return Block(invalid=str(invalid) if invalid else None, disturbed=disturbed)

    def _had_less_cpu(self, reply: protocol.TimedReply, which: slice) -> bool:
        """Whether the calls had less CPU time for their wall time than the execution's blocks have.

        Against its least disturbed ones so far, warm-up included, this one among them.
        """
        walls, cpus = sum(reply["wall_ns"][which]), sum(reply["cpu_ns"][which])
        if not walls:
            return False
        self._cpu_shares.append(cpus / walls)
        usual = upper_share(self._cpu_shares)
        return bool(cpus / walls < self.policy.noise.min_cpu_share * usual)

    def _add_energy(self, joules: float | None, calls: int) -> None:
        if joules is not None:
            self.joules = (self.joules or 0.0) + joules
            self.joules_images += calls * self.scenario.batch_size

    def kernels(self) -> protocol.KernelsReply:
        """What oneDNN and the mode say they ran, from one untimed call."""
        reply = self._ask("kernels", self.policy.prepare_timeout_s)
        return cast("protocol.KernelsReply", reply)

    def memory(self) -> protocol.MemoryReply:
        """The worker's peak and present memory."""
        return cast("protocol.MemoryReply", self._ask("memory", self.policy.call_timeout_s))

    def release(self) -> None:
        """Drop the model, so that the worker can serve the next group."""
        self._ask("release", self.policy.call_timeout_s)

    def _ask(self, op: str, timeout_s: float, **fields: object) -> protocol.Message:
        return self.worker.ask(op, timeout_s, **fields)

    def _ask_calls(self, n: int, phase: Phase, timeout_s: float) -> protocol.CallReply:
        """Have the worker make `n` calls.

        Raises:
            WorkerError: it failed, or is another commit's and does not return the times.
        """
        reply = self._ask("call", timeout_s, n=n, phase=str(phase))
        if missing := [name for name in ("wall_ns", "cpu_ns") if name not in reply]:
            raise WorkerError(
                Status.UNSUPPORTED,
                f"its reply to `call` has no {', '.join(missing)}: that commit's worker speaks "
                "another protocol",
            )
        return cast("protocol.CallReply", reply)

    def _record(
        self,
        reply: protocol.TimedReply,
        phase: Phase,
        which: slice,
        round_number: int | None,
        position: int | None,
        *,
        disturbed: bool | None = None,
    ) -> list[float]:
        """Write the chosen calls of a reply as rows and return their times in ms."""
        walls: list[int] = reply["wall_ns"][which]
        cpus: list[int] = reply["cpu_ns"][which]
        unknown: list[int | None] = [None] * len(reply["wall_ns"])
        pages: list[int | None] = reply.get("page_faults", unknown)[which]
        for wall_ns, cpu_ns, page_faults in zip(walls, cpus, pages, strict=True):
            self.record(
                IterationRow(
                    run_id=self.run_id,
                    scenario=self.name,
                    launch=self.launch,
                    round=round_number,
                    position=position,
                    iteration=self._calls,
                    phase=str(phase),
                    wall_ns=wall_ns,
                    cpu_ns=cpu_ns,
                    page_faults=page_faults,
                    disturbed=disturbed if phase is Phase.TIMED else None,
                )
            )
            self._calls += 1
            self.spent_s += wall_ns / 1e9
        return [wall_ns / 1e6 for wall_ns in walls]
