"""What the run must know about the machine before it can choose what to measure.

One stock worker finds the machine's peak, and the largest batch whose call stays under the limits
of time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from bench import protocol
from bench.scenarios import Exclusion, Phase, Task, stock_default

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.client import WorkerHandle
    from bench.policy import Policy

_MIB = 1 << 20
_LIKELY_GROWTH = 1.7
"""A batch twice as large takes at least this many times as long: VGG-16 is bound by arithmetic."""
_PREPARED_MIB = 250.0
"""A prepared lane keeps weights, prepacked weights and its batch: 60 MB each for VGG-16, doubled
by a frozen trace. An upper estimate, used only to leave a batch out before memory runs out."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the machine can do; times are of the stock default."""

    peak: dict[str, Any]
    """`gflop_per_s` by dtype and `memory_gb_per_s`, measured by library calls in this run."""
    largest_batch: int
    excluded: tuple[Exclusion, ...]
    """Why batch sizes above `largest_batch` are left out."""
    call_s: dict[int, float]
    """Seconds of one stock default call, by batch size."""
    model: dict[str, Any]
    """`name`, `weights`, `trained`, `threshold`, `parameters`, `gflop_per_image`."""
    data: dict[str, Any]
    """`source`, `root`, `images`, `sha256`."""


def find_limits(
    worker: WorkerHandle, wanted: tuple[int, ...], *, lanes: int, policy: Policy
) -> Limits:
    """Measure the peak and find the largest batch worth measuring.

    `lanes` is how many workers will be alive together.

    Raises:
        WorkerError: the stock worker could not even do this.
    """
    greeting = worker.greet(policy.start_timeout_s)
    peak = _ask_peak(worker, policy)
    call_s: dict[int, float] = {}
    excluded: list[Exclusion] = []
    model: dict[str, Any] = {}
    batch = 1
    while batch <= max(wanted):
        reply, seconds, peak_mib = _try_batch(worker, batch, policy)
        if batch == 1:
            model = {
                **reply.get("model", {}),
                "parameters": reply["parameters"],
                "gflop_per_image": reply["flop_per_call"] / 1e9,
            }
        reason = _why_not(batch, seconds, peak_mib, lanes, worker.pid, policy)
        if reason and batch > 1:
            excluded.append(
                Exclusion(what=f"inference batches of {batch} and above", reason=reason)
            )
            break
        call_s[batch] = seconds
        if batch < max(wanted) and seconds * _LIKELY_GROWTH > policy.max_call_s:
            excluded.append(
                Exclusion(
                    what=f"inference batches above {batch}",
                    reason=f"one stock default call of {batch} takes {seconds:.2f} s here: twice "
                    f"as many would pass the limit of {policy.max_call_s:.0f} s a call",
                )
            )
            break
        batch *= 2
    return Limits(
        peak=peak,
        largest_batch=max(call_s),
        excluded=tuple(excluded),
        call_s=call_s,
        model=model,
        data=greeting.get("hello", {}).get("data", {}),
    )


def measure_peak(worker: WorkerHandle, policy: Policy) -> dict[str, Any]:
    """The peak as a fresh stock worker finds it.

    Raises:
        WorkerError: it could not.
    """
    worker.greet(policy.start_timeout_s)
    return _ask_peak(worker, policy)


def larger_peak(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The higher of two readings, for each dtype and for memory.

    A slowed machine reads too low and nothing makes it read too high, so the higher is nearer.
    """
    rates = {
        dtype: max(one["gflop_per_s"].get(dtype, 0.0), other["gflop_per_s"].get(dtype, 0.0))
        for dtype in {**one["gflop_per_s"], **other["gflop_per_s"]}
    }
    memory = max(one["memory_gb_per_s"], other["memory_gb_per_s"])
    return {"gflop_per_s": rates, "memory_gb_per_s": memory}


def _ask_peak(worker: WorkerHandle, policy: Policy) -> dict[str, Any]:
    reply = worker.ask("peak", policy.prepare_timeout_s, dtypes=["fp32", "bf16"])
    return {key: reply[key] for key in ("gflop_per_s", "memory_gb_per_s")}


def _try_batch(
    worker: WorkerHandle, batch: int, policy: Policy
) -> tuple[protocol.Message, float, float]:
    """Prepare reply, seconds of a warm call, and peak memory in MiB of one batch size."""
    scenario = protocol.encode(stock_default(Task.INFERENCE, batch))
    reply = worker.ask("prepare", policy.prepare_timeout_s, scenario=scenario)
    worker.ask("call", policy.call_timeout_s, n=1, phase=str(Phase.FIRST_CALL))
    calls = worker.ask("call", policy.call_timeout_s, n=2, phase=str(Phase.WARMUP))
    memory = worker.ask("memory", policy.call_timeout_s)
    worker.ask("release", policy.call_timeout_s)
    return reply, min(calls["wall_ns"]) / 1e9, float(memory["peak_rss_mb"])


def _why_not(
    batch: int, seconds: float, peak_mib: float, lanes: int, pid: int, policy: Policy
) -> str | None:
    if seconds > policy.max_call_s:
        return (
            f"one stock default call of {batch} takes {seconds:.2f} s here, over the limit of "
            f"{policy.max_call_s:.0f} s a call"
        )
    need, limit = _memory_gib(lanes, peak_mib, pid), _memory_limit_gib(policy)
    if need > limit:
        return (
            f"{lanes} workers with a batch of {batch} would need about {need:.1f} GiB, and "
            f"{limit:.1f} GiB may be used"
        )
    return None


def _memory_gib(lanes: int, peak_mib: float, pid: int) -> float:
    """What all lanes need together: each one's own pages at rest, and one of them at its peak."""
    try:
        process = psutil.Process(pid)
        at_rest = process.memory_full_info().uss / _MIB
    except psutil.Error:
        at_rest = peak_mib
    return (lanes * (at_rest + _PREPARED_MIB) + peak_mib) / 1024


def _memory_limit_gib(policy: Policy) -> float:
    free = psutil.virtual_memory().available / _MIB / 1024
    return min(policy.budget.max_memory_gib, policy.budget.free_memory_share * free)
