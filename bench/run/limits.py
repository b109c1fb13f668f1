"""What the run must know about the machine before it can choose what to measure.

One stock worker finds the machine's peak, and the largest batch whose call stays under the limits
of time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil

from bench.plan.matrix import INFERENCE_BATCHES, Exclusion
from bench.plan.scenario import Dtype, Phase, Task, stock_default
from bench.worker import protocol
from pillqc.limits import free_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy

_MIB = 1 << 20
_LIKELY_GROWTH = 1.7
"""A batch twice as large takes at least this many times as long: VGG-16 is bound by arithmetic."""
_OTHERS_HOLD_MORE = 1.3
"""What a prepared, idle worker holds on average, against the stock default's: IPEX, traces and
packed weights add to most (341 to 890 MiB, 560 on average, were seen beside 430). Used only to
leave a batch out before memory runs out."""


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
    worker: WorkerHandle, wanted: tuple[int, ...], *, participants: int, policy: Policy
) -> Limits:
    """Measure the peak and find the largest batch worth measuring.

    `participants` is how many workers will be alive together.

    Raises:
        WorkerError: the stock worker could not even do this.
    """
    greeting = worker.greet(policy.start_timeout_s)
    tried: dict[int, _Tried] = {}
    excluded: list[Exclusion] = []
    batch = 1
    while batch <= max(wanted) and not excluded:
        tried[batch] = _try_batch(worker, batch, policy)
        reason = _why_not(batch, tried[batch], participants, policy)
        if reason and batch > 1:
            del tried[batch]
            what = f"{INFERENCE_BATCHES} of {batch} and above"
            excluded.append(Exclusion(what=what, reason=reason))
        elif batch < max(wanted) and tried[batch].seconds * _LIKELY_GROWTH > policy.max_call_s:
            excluded.append(_twice_is_too_slow(batch, tried[batch].seconds, policy))
        batch *= 2
    return Limits(
        peak=_ask_peak(worker, policy),
        largest_batch=max(tried),
        excluded=tuple(excluded),
        call_s={batch: found.seconds for batch, found in tried.items()},
        model=_model(tried[1].prepared),
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
    reply = worker.ask("peak", policy.prepare_timeout_s, dtypes=[str(dtype) for dtype in Dtype])
    return {key: reply[key] for key in ("gflop_per_s", "memory_gb_per_s")}


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """What one batch size of the stock default took."""

    prepared: protocol.PrepareReply
    seconds: float
    peak_mib: float
    prepared_mib: float
    """The worker's own pages before its first call."""
    at_rest_mib: float
    """The same after some calls, while it waits."""


def _try_batch(worker: WorkerHandle, batch: int, policy: Policy) -> _Tried:
    scenario = protocol.encode(stock_default(Task.INFERENCE, batch))
    reply = worker.ask("prepare", policy.prepare_timeout_s, scenario=scenario)
    prepared_mib = _own_pages_mib(worker.pid)
    worker.ask("call", policy.call_timeout_s, n=1, phase=str(Phase.FIRST_CALL))
    calls = worker.ask("call", policy.call_timeout_s, n=2, phase=str(Phase.WARMUP))
    peak_mib = float(worker.ask("memory", policy.call_timeout_s)["peak_rss_mb"])
    at_rest_mib = _own_pages_mib(worker.pid)
    worker.ask("release", policy.call_timeout_s)
    return _Tried(
        prepared=cast("protocol.PrepareReply", reply),
        seconds=min(calls["wall_ns"]) / 1e9,
        peak_mib=peak_mib,
        prepared_mib=peak_mib if prepared_mib is None else prepared_mib,
        at_rest_mib=peak_mib if at_rest_mib is None else at_rest_mib,
    )


def _model(prepared: protocol.PrepareReply) -> dict[str, Any]:
    flop = prepared["flop_per_call"]
    return {
        **prepared.get("model", {}),
        "parameters": prepared["parameters"],
        "gflop_per_image": flop / 1e9 if flop else None,
    }


def _twice_is_too_slow(batch: int, seconds: float, policy: Policy) -> Exclusion:
    return Exclusion(
        what=f"{INFERENCE_BATCHES} above {batch}",
        reason=f"one stock default call of {batch} takes {seconds:.2f} s here: twice as many would "
        f"pass the limit of {policy.max_call_s:.0f} s a call",
    )


def _why_not(batch: int, tried: _Tried, participants: int, policy: Policy) -> str | None:
    if tried.seconds > policy.max_call_s:
        return (
            f"one stock default call of {batch} takes {tried.seconds:.2f} s here, over the limit "
            f"of {policy.max_call_s:.0f} s a call"
        )
    kept_mib = max(0.0, tried.at_rest_mib - tried.prepared_mib)
    need = (
        participants * (tried.prepared_mib * _OTHERS_HOLD_MORE + kept_mib) + tried.peak_mib
    ) / 1024
    limit = _memory_limit_gib(policy)
    if need > limit:
        return (
            f"{participants} workers with a batch of {batch} would need about {need:.1f} GiB, and "
            f"{limit:.1f} GiB may be used"
        )
    return None


def _own_pages_mib(pid: int) -> float | None:
    """Anonymous memory only.

    Pages of libraries are held once for all workers. The first worker is alone, so the kernel would
    count them (300 MiB of torch) as its unique ones, and seventeen times that is a batch left out.
    """
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return None
    return float((memory.rss - memory.shared) / _MIB)


def _memory_limit_gib(policy: Policy, root: Path = Path("/")) -> float:
    """What all workers together may hold: a share of what this machine and its group have left."""
    return policy.budget.free_memory_share * free_memory(root) / _MIB / 1024
