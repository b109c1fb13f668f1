"""Find the machine's peak, and the largest batch within the limits of time and memory.

One stock worker measures both before the scenarios are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil

from bench.errors import WorkerError
from bench.plan.matrix import INFERENCE_BATCHES, Exclusion
from bench.plan.scenario import Dtype, Phase, Status, Task, stock_default
from bench.worker import protocol
from pillqc.limits import free_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.engine.worker_process import WorkerHandle
    from bench.plan.thresholds import Policy

_MIB = 1 << 20
_LIKELY_GROWTH = 1.7
"""By how much a call of twice the batch takes longer at least: VGG-16 is bound by arithmetic."""
_OTHERS_HOLD_MORE = 1.3
"""Memory of an average idle worker over stock default's: IPEX, traces and packed weights add to it
(341 to 890 MiB, 560 on average, were measured beside 430)."""
_BYTES_A_PARAMETER = 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the machine can do."""

    peak: dict[str, Any]
    """`gflop_per_s` by dtype and `memory_gb_per_s`, measured in this run."""
    largest_batch: int
    excluded: tuple[Exclusion, ...]
    """Why batch sizes above `largest_batch` are left out."""
    model: dict[str, Any]
    """`name`, `weights`, `trained`, `threshold`, `parameters`, `gflop_per_image`."""
    data: dict[str, Any]
    """`source`, `root`, `images`, `sha256`."""


def find_limits(
    worker: WorkerHandle,
    wanted: tuple[int, ...],
    *,
    participants: int,
    policy: Policy,
    own: bool = False,
    training_batch: int | None = None,
) -> Limits:
    """Measure the peak and find the largest batch worth measuring.

    `participants` is the number of workers that will be alive together. A model of the user's `own`
    may have weights of gigabytes, so that not even a batch of 1 fits, or take no larger batch; its
    functions are tried, training steps with `training_batch` items if any will be measured.

    Raises:
        WorkerError: the stock worker or a function of the user's failed, or the workers would not
            fit into memory.
    """
    greeting = worker.greet(policy.start_timeout_s)
    if own:
        worker.ask("rehearse", policy.prepare_timeout_s, training_batch=training_batch)
    tried: dict[int, _Tried] = {}
    excluded: list[Exclusion] = []
    batch = 1
    while batch <= max(wanted) and not excluded:
        try:
            tried[batch] = _try_batch(worker, batch, policy)
        except WorkerError as error:
            if batch == 1 or not own:
                raise
            what = f"{INFERENCE_BATCHES} of {batch} and above"
            excluded.append(Exclusion(what=what, reason=f"stock default failed: {error.reason}"))
            break
        beyond_memory = _beyond_memory(batch, tried[batch], participants, policy)
        if beyond_memory and batch == 1 and own:
            raise WorkerError(
                Status.OUT_OF_MEMORY,
                f"{beyond_memory}: measure fewer ways at a time with --only, or use a larger "
                "machine",
            )
        reason = _too_slow(batch, tried[batch], policy) or beyond_memory
        if reason and batch > 1:
            del tried[batch]
            what = f"{INFERENCE_BATCHES} of {batch} and above"
            excluded.append(Exclusion(what=what, reason=reason))
        elif batch < max(wanted) and tried[batch].seconds * _LIKELY_GROWTH > policy.max_call_s:
            excluded.append(
                Exclusion(
                    what=f"{INFERENCE_BATCHES} above {batch}",
                    reason=f"one stock default call of {batch} takes {tried[batch].seconds:.2f} s "
                    "on this machine: twice as many would exceed the limit of "
                    f"{policy.max_call_s:g} s a call",
                )
            )
        batch *= 2
    prepared = tried[1].prepared
    flop = prepared["flop_per_call"]
    return Limits(
        peak=_ask_peak(worker, policy),
        largest_batch=max(tried),
        excluded=tuple(excluded),
        model={
            **prepared.get("model", {}),
            "parameters": prepared["parameters"],
            "gflop_per_image": flop / 1e9 if flop else None,
        },
        data=greeting.get("hello", {}).get("data", {}),
    )


def measure_peak(worker: WorkerHandle, policy: Policy) -> dict[str, Any]:
    """Return the peak as a fresh stock worker measures it.

    Raises:
        WorkerError: the worker failed.
    """
    worker.greet(policy.start_timeout_s)
    return _ask_peak(worker, policy)


def larger_peak(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the higher of two readings, for each dtype and for memory.

    A slowed machine reads too low and nothing makes it read too high.
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
    """The time and memory of one batch size of stock default."""

    prepared: protocol.PrepareReply
    seconds: float
    peak_mib: float
    prepared_mib: float
    """The worker's own memory before its first call."""
    at_rest_mib: float
    """Its own memory after some calls, while it waits."""


def _try_batch(worker: WorkerHandle, batch: int, policy: Policy) -> _Tried:
    scenario = protocol.encode(stock_default(Task.INFERENCE, batch))
    reply = worker.ask("prepare", policy.prepare_timeout_s, scenario=scenario)
    prepared_mib = own_pages_mib(worker.pid)
    worker.ask("call", policy.call_timeout_s, n=1, phase=str(Phase.FIRST_CALL))
    calls = worker.ask("call", policy.call_timeout_s, n=2, phase=str(Phase.WARMUP))
    peak_mib = float(worker.ask("memory", policy.call_timeout_s)["peak_rss_mb"])
    worker.ask("rest", policy.call_timeout_s)
    at_rest_mib = own_pages_mib(worker.pid)
    worker.ask("release", policy.call_timeout_s)
    return _Tried(
        prepared=cast("protocol.PrepareReply", reply),
        seconds=min(calls["wall_ns"]) / 1e9,
        peak_mib=peak_mib,
        prepared_mib=peak_mib if prepared_mib is None else prepared_mib,
        at_rest_mib=peak_mib if at_rest_mib is None else at_rest_mib,
    )


def _too_slow(batch: int, tried: _Tried, policy: Policy) -> str | None:
    if tried.seconds > policy.max_call_s:
        return (
            f"one stock default call of {batch} takes {tried.seconds:.2f} s on this machine, over "
            f"the limit of {policy.max_call_s:g} s a call"
        )
    return None


def _beyond_memory(batch: int, tried: _Tried, participants: int, policy: Policy) -> str | None:
    """Say that the workers together would not fit; each may hold its weights twice."""
    weights_mib = tried.prepared.get("parameters", 0) * _BYTES_A_PARAMETER / _MIB
    idle_mib = max(tried.prepared_mib * _OTHERS_HOLD_MORE, tried.prepared_mib + weights_mib)
    kept_mib = max(0.0, tried.at_rest_mib - tried.prepared_mib)
    need = (participants * (idle_mib + kept_mib) + tried.peak_mib) / 1024
    limit = memory_limit_gib(policy)
    if need > limit:
        return (
            f"{participants} workers with a batch of {batch} would need about {need:.1f} GiB, and "
            f"{limit:.1f} GiB may be used"
        )
    return None


def own_pages_mib(pid: int) -> float | None:
    """Return a process's anonymous memory; None where it has exited.

    The kernel counts library pages (300 MiB of torch) as unique to the first worker, although all
    workers will share them.
    """
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return None
    return float((memory.rss - memory.shared) / _MIB)


def memory_limit_gib(policy: Policy, root: Path = Path("/")) -> float:
    """Return the memory for all workers: a share of what machine and control group have free."""
    return policy.budget.free_memory_share * free_memory(root) / _MIB / 1024
