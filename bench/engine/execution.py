"""Take one participant through a launch: prepare, first call, warm-up, blocks, evidence.

An execution turns the worker's replies into rows and facts and decides nothing. Every timed call
becomes a row of `iterations.csv`, in the order in which the calls were made.
"""

from __future__ import annotations

import math
import statistics
from contextlib import suppress
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

_ALL = slice(None)


@dataclass(frozen=True, kw_only=True)
class Block:
    """The result of one block."""

    invalid: str | None = None
    """Why the block does not count, in the worker's words."""
    disturbed: bool = False
    """Whether the block does not count because other work took its CPUs."""
    ms: float | None = None
    """The median of its calls, if they count."""


@dataclass(frozen=True)
class CallLimit:
    """How long a call may take, and why a scenario whose call takes longer is left out."""

    seconds: float
    reason: str


@dataclass(kw_only=True)
class Execution:
    """One participant in one worker during one launch.

    `record` takes each row as it comes. `turn(execution, round, position)` replaces a block of
    calls and returns the block's time in ms. Its many fields are what one launch finds out.
    """

    run_id: str
    participant: Participant
    launch: int
    worker: WorkerHandle
    policy: Policy
    record: Callable[[IterationRow], None]
    turn: Turn | None = None
    known_trend_calls: int | None = None
    """Warm-up calls of an earlier launch before its times were level; None where unknown."""
    prepared: protocol.PrepareReply = field(default_factory=protocol.PrepareReply)
    """The reply to `prepare`."""
    conditions: Mapping[str, Any] = field(default_factory=dict)
    first_call_limit: CallLimit | None = None
    steady: bool = True
    usable: bool = True
    blocks_ms: dict[tuple[int, int], float] = field(default_factory=dict)
    """By (launch, round)."""
    spent_s: float = 0.0
    """Inside all calls so far."""
    first_call_ms: float = 0.0
    warm_ms: list[float] = field(default_factory=list)
    """Its warm-up calls, in order."""
    joules: float | None = None
    """Energy of its blocks; None where the host has no counters."""
    joules_images: int = 0
    _calls: int = 0
    _cpu_shares: list[float] = field(default_factory=list)

    @property
    def scenario(self) -> Scenario:
        """The scenario that its worker runs."""
        return self.participant.scenario

    @property
    def name(self) -> str:
        """The participant's name, since several participants may run one scenario."""
        return self.participant.name

    @property
    def is_control(self) -> bool:
        """Whether it is the second process of a base."""
        return self.participant.is_control

    @property
    def is_base(self) -> bool:
        """Whether the others of its group are compared with it."""
        return not (self.participant.base or self.participant.is_control)

    @property
    def emulated(self) -> bool:
        """Whether this CPU has no native instructions for its dtype."""
        return self.prepared.get("native_dtype") is False

    # ---- until it is warm ------------------------------------------------------------------

    def prepare(self) -> None:
        """Set the model up and make the first call."""
        self.build()
        self.record_first_call(self.ask_first_call())

    def build(self) -> None:
        """Set the model up in the worker."""
        scenario = protocol.encode(self.scenario)
        reply = self.worker.ask("prepare", self.policy.prepare_timeout_s, scenario=scenario)
        self.prepared = cast("protocol.PrepareReply", reply)

    def ask_first_call(self) -> protocol.CallReply:
        """Make the first call, in which compiled modes compile, and return the reply.

        Runs on a pool thread; the main thread records the result.

        Raises:
            WorkerError: the worker failed, or the call took longer than `first_call_limit`.
        """
        limit = self.first_call_limit
        timeout_s = limit.seconds if limit else self.policy.prepare_timeout_s
        try:
            reply = self._ask_calls(1, Phase.FIRST_CALL, timeout_s)
        except WorkerError as error:
            if limit and error.status is Status.TIMEOUT:
                raise WorkerError(Status.UNAVAILABLE, limit.reason) from error
            raise
        self.rest()
        return reply

    def record_first_call(self, reply: protocol.CallReply) -> None:
        """Record the first call."""
        (self.first_call_ms,) = self._record(reply, Phase.FIRST_CALL)

    def outputs(
        self, path: Path, *, within_s: float | None = None, most_images: int | None = None
    ) -> protocol.OutputsReply:
        """Have the worker write its outputs to `path`; return its reply.

        It processes images for `within_s` or up to `most_images`, where given, else all of them.
        Its calls count as warm-up calls; a worker of another commit may not time them.
        """
        timeout_s = self.policy.prepare_timeout_s + (within_s or 0.0)
        limits = {"within_s": within_s, "most_images": most_images}
        message = self.worker.ask("outputs", timeout_s, path=str(path), **limits)
        reply = cast("protocol.OutputsReply", message)
        if reply.get("wall_ns"):
            self.warm_ms.extend(self._record(reply, Phase.WARMUP))
        return reply

    def warm_up(self) -> None:
        """Make calls until they are steady or the limit is reached; set `steady`."""
        rule = self.policy.steady_state
        while not self._is_warm():
            if len(self.warm_ms) >= rule.max_calls or sum(self.warm_ms) > rule.max_seconds * 1000:
                self.steady = False
                return
            self.warm_up_once()
        self.steady = True

    def warm_up_once(self) -> float:
        """Make one warm-up call and return its milliseconds."""
        reply = self._ask_calls(1, Phase.WARMUP, self.policy.call_timeout_s)
        self.warm_ms.extend(self._record(reply, Phase.WARMUP))
        self._had_less_cpu(reply, _ALL)
        return self.warm_ms[-1]

    def _is_warm(self) -> bool:
        if self.known_trend_calls is None:
            return is_steady(self.warm_ms, self.policy.steady_state)
        return bool(self.warm_ms) and (
            len(self.warm_ms) >= self.known_trend_calls + self._later_calls()
        )

    def _later_calls(self) -> int:
        """Return the warm-up calls of a later launch beyond those before it was level."""
        rule = self.policy.steady_state
        slow = self.typical_ms > rule.slow_call_ms and self.scenario.mode is not Mode.TORCHSCRIPT
        return rule.later_slow_calls if slow else rule.later_calls

    def read_conditions(self) -> None:
        """Read the worker's conditions now that everything is loaded.

        A worker of another commit may not know the request; its greeting's conditions stay then.
        """
        try:
            reply = self.worker.ask("conditions", self.policy.call_timeout_s)
            self.conditions = reply.get("conditions", self.conditions)
        except WorkerError:
            if not self.worker.alive:
                raise

    # ---- durations -------------------------------------------------------------------------

    @property
    def typical_ms(self) -> float:
        """A call's typical duration: the median of the latest warm-up calls."""
        return statistics.median(self.warm_ms[-5:])

    @property
    def trend_calls(self) -> int | None:
        """Warm-up calls before its times were level; None where they never were."""
        return calls_before_level(self.warm_ms, self.policy.steady_state)

    @property
    def opening_s(self) -> float:
        """How long its first call and warm-up took."""
        return (self.first_call_ms + sum(self.warm_ms)) / 1000

    @property
    def later_opening_s(self) -> float:
        """How long its first call and warm-up would take in a later launch, with warm caches."""
        typical_s = self.typical_ms / 1000
        compiling_s = max(0.0, self.first_call_ms / 1000 - 2 * typical_s)
        calls = 2 + (self.known_trend_calls or 0) + self._later_calls()
        return calls * typical_s + compiling_s * self.policy.budget.warm_compile_share

    # ---- blocks ----------------------------------------------------------------------------

    def run_block(
        self,
        round_number: int,
        position: int,
        *,
        settle: int,
        saw_other_work: Callable[[], bool] = lambda: False,
    ) -> Block:
        """Run one block, whose first `settle` calls are discarded.

        A block is disturbed where it had less CPU time than this scenario usually has and
        `saw_other_work()`, called afterwards, confirms that the kernel saw other work. Less CPU
        time alone may be the scenario's own stall, which is part of its time.
        """
        if self.turn is not None:
            self.blocks_ms[(self.launch, round_number)] = self.turn(self, round_number, position)
            return Block()
        rule = self.policy.block
        wanted = math.ceil(rule.min_block_ms / self.typical_ms)
        calls = settle + min(max(wanted, rule.min_calls), rule.max_calls)
        before = energy.read_energy()
        reply = self._ask_calls(calls, Phase.TIMED, self.policy.call_timeout_s)
        joules = energy.used(before, energy.read_energy())
        if joules is not None:
            self.joules = (self.joules or 0.0) + joules
            self.joules_images += calls * self.scenario.batch_size
        timed = slice(settle, None)
        disturbed = self._had_less_cpu(reply, timed) and saw_other_work()
        invalid = reply.get("invalid")
        place = (round_number, position)
        self._record(reply, Phase.WARMUP, slice(0, settle), place)
        phase = Phase.WARMUP if invalid else Phase.TIMED
        times = self._record(reply, phase, timed, place, disturbed=disturbed)
        if invalid or disturbed:
            return Block(invalid=str(invalid) if invalid else None, disturbed=disturbed)
        block_ms = self.blocks_ms[(self.launch, round_number)] = statistics.median(times)
        return Block(ms=block_ms)

    def _had_less_cpu(self, reply: protocol.TimedReply, which: slice) -> bool:
        """Return whether the calls had less CPU time for their wall time than the best so far."""
        walls, cpus = sum(reply["wall_ns"][which]), sum(reply["cpu_ns"][which])
        if not walls:
            return False
        self._cpu_shares.append(cpus / walls)
        usual = upper_share(self._cpu_shares)
        return bool(cpus / walls < self.policy.noise.min_cpu_share * usual)

    # ---- after the rounds ------------------------------------------------------------------

    def kernels(self) -> protocol.KernelsReply:
        """Return what oneDNN and the mode report about one more call, which is no result."""
        reply = self.worker.ask("kernels", self.policy.prepare_timeout_s)
        return cast("protocol.KernelsReply", reply)

    def memory(self) -> protocol.MemoryReply:
        """Return the worker's peak and present memory."""
        reply = self.worker.ask("memory", self.policy.call_timeout_s)
        return cast("protocol.MemoryReply", reply)

    def rest(self) -> None:
        """End the worker's turn: its free heap goes back to the machine until the next one.

        A worker of another commit may not know the request; it gives its heap back after each call.
        """
        if self.worker.alive:  # else the next request tells
            with suppress(WorkerError):
                self.worker.ask("rest", self.policy.call_timeout_s)

    def release(self) -> None:
        """Drop the model, so that the worker can run another scenario."""
        self.worker.ask("release", self.policy.call_timeout_s)

    # ---- calls and rows --------------------------------------------------------------------

    def _ask_calls(self, n: int, phase: Phase, timeout_s: float) -> protocol.CallReply:
        """Have the worker make `n` calls.

        Raises:
            WorkerError: it failed, or is another commit's and does not return the times.
        """
        reply = self.worker.ask("call", timeout_s, n=n, phase=str(phase))
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
        which: slice = _ALL,
        place: tuple[int | None, int | None] = (None, None),
        *,
        disturbed: bool | None = None,
    ) -> list[float]:
        """Record the chosen calls of a reply as rows and return their times in ms.

        `place` is the block's (round, position).
        """
        walls: list[int] = reply["wall_ns"][which]
        unknown: list[int | None] = [None] * len(reply["wall_ns"])
        pages: list[int | None] = reply.get("page_faults", unknown)[which]
        for wall_ns, cpu_ns, page_faults in zip(walls, reply["cpu_ns"][which], pages, strict=True):
            self.record(
                IterationRow(
                    run_id=self.run_id,
                    scenario=self.name,
                    launch=self.launch,
                    round=place[0],
                    position=place[1],
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
