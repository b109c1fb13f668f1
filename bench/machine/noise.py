"""Read from the kernel's counters how quiet the machine was between two moments.

    before = read_noise(pids)
    ...  # measure
    noise = difference(before, read_noise(pids))
    is_quiet(noise, probe_ratio, policy)

Work that competes inside a virtual machine shows as pressure, and that on a crowded host as steal,
so both are read: of our own control group and of the CPUs that the watched processes are bound to,
where the kernel reports it. Other CPUs of a shared host do not matter. Time for which the group's
own CPU quota stops threads is separate, as no neighbour causes it. A counter that is missing, or
that went backwards (a migrated container, a reused process id), reads as None: neither quiet nor
noisy.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.machine import files, topology, worker_settings
from pillqc import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from bench.plan.thresholds import NoisePolicy

_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")

_SOME_TOTAL = re.compile(r"^some .*\btotal=(\d+)", re.ASCII | re.MULTILINE)
_SWITCHES = re.compile(r"^nonvoluntary_ctxt_switches:\s*(\d+)", re.ASCII | re.MULTILINE)

_STAT_FIELDS = 8
"""user nice system idle iowait irq softirq steal; guest time is already part of user and nice."""

_OVERSHOOT = 1.05
"""Counters and clock are read microseconds apart, so a share may pass 1 by a little; beyond this
the counter is of another interval."""


@dataclass(frozen=True, kw_only=True)
class Jiffies:
    """CPU time of the watched CPUs since boot, in the kernel's ticks."""

    steal: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The counters at one moment; None if the host does not have one."""

    monotonic_ns: int
    waited_us: int | None
    """Time in which some runnable task of our group (else of the host) waited for a CPU."""
    jiffies: Jiffies | None
    others_us: int | None = None
    """CPU time of the watched CPUs for other processes than the watched ones."""
    slack_us: int = 0
    """Error of `others_us`: a tick for each CPU."""
    throttled_us: int | None = None
    """CPU time for which our group's quota stopped its threads."""
    switches: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Involuntary context switches of each (process, thread)."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What happened between two readings; None if it is unknown."""

    cpu_pressure: float | None
    """Share of the time in which some runnable task waited for a CPU."""
    steal: float | None
    """Share of the watched CPUs' time that the hypervisor took."""
    involuntary_switches: int | None
    """How often the kernel took a CPU away from the watched processes' threads."""
    throttled: float | None = None
    """CPU time for which our own CPU quota stopped threads, as a share of the time, at most 1."""


def read_noise(pids: Sequence[int] = (), root: Path = Path("/")) -> Reading:
    """Read the counters; `pids` are the watched processes."""
    cpus = {cpu for pid in pids for cpu in files.allowed(root / f"proc/{pid}/status")}
    cpus = cpus or {*files.allowed(root / "proc/self/status")}
    ticks = _ticks(root, cpus)
    own = [_own_ticks(root / f"proc/{pid}/stat") for pid in pids]
    pressure = _SOME_TOTAL.search(limits.cpu_pressure(root) or "")
    return Reading(
        monotonic_ns=time.monotonic_ns(),
        waited_us=int(pressure[1]) if pressure else None,
        jiffies=Jiffies(steal=ticks[-1], total=sum(ticks)) if ticks else None,
        others_us=(_busy(ticks) - sum(own)) * _TICK_US if ticks and own else None,
        slack_us=max(1, len(cpus)) * _TICK_US,
        throttled_us=limits.throttled_us(root),
        switches=dict(_switches(pids, root)),
    )


def difference(before: Reading, after: Reading) -> Noise:
    """Return what happened between two readings."""
    return Noise(
        cpu_pressure=_pressure(before, after),
        steal=_steal(before.jiffies, after.jiffies),
        involuntary_switches=_new_switches(before.switches, after.switches),
        throttled=_throttled(before, after),
    )


def is_quiet(noise: Noise, probe_ratio: float | None, policy: NoisePolicy) -> bool:
    """Return whether no counter shows a disturbance of the round."""
    calm = not saw_other_work(noise, policy) and _within(noise.throttled, policy.max_throttled)
    return calm and _within(probe_ratio, policy.max_probe_ratio)


class Seen(Protocol):
    """What the kernel saw in an interval: a `Noise`, or a row of noise.csv."""

    @property
    def cpu_pressure(self) -> float | None:
        """Share of the time in which some runnable task waited for a CPU."""

    @property
    def steal(self) -> float | None:
        """Share of the watched CPUs' time that the hypervisor took."""

    @property
    def throttled(self) -> float | None:
        """CPU time for which our own CPU quota stopped threads, as a share of the time."""


def saw_other_work(noise: Seen, policy: NoisePolicy) -> bool:
    """Return whether other work competed for CPUs: pressure, or steal by the hypervisor.

    The kernel counts a thread that a quota stops as pressure too, so that is subtracted.
    """
    waited = None if noise.cpu_pressure is None else noise.cpu_pressure - (noise.throttled or 0.0)
    return not (_within(waited, policy.max_cpu_pressure) and _within(noise.steal, policy.max_steal))


def wait_for_idle(
    within_s: float,
    *,
    busy: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Wait, at most so long, until the workers' CPUs are idle; return whether they are.

    All workers are stopped meanwhile, so what keeps CPUs busy is other work.
    """
    is_busy = busy or cpus_busy
    ends = clock() + within_s
    while is_busy():
        if clock() >= ends:
            return False
    return True


_IDLE_WINDOW_S = 0.05
"""Five ticks of the kernel's clock: one tick of housekeeping does not count."""


def cpus_busy(root: Path = Path("/")) -> bool:
    """Return whether more than a tick of CPU time was used in a short window."""
    cores = worker_settings.worker_cpus(topology.affinity(root), root)
    cpus = {cpu for core in cores for cpu in topology.siblings(core, root) or (core,)}
    before = _ticks(root, cpus)
    time.sleep(_IDLE_WINDOW_S)
    after = _ticks(root, cpus)
    return before is not None and after is not None and _busy(after) - _busy(before) > 1


def _busy(ticks: Sequence[int]) -> int:
    """Return the CPU time that was not idle, waiting for a disk or stolen."""
    return sum(ticks) - ticks[3] - ticks[4] - ticks[7]


def _within(value: float | None, limit: float) -> bool:
    return value is None or value <= limit


def _pressure(before: Reading, after: Reading) -> float | None:
    if before.waited_us is None or after.waited_us is None:
        return None
    elapsed_us = _elapsed_us(before, after)
    share = _share(after.waited_us - before.waited_us, elapsed_us)
    if share is None or before.others_us is None or after.others_us is None:
        return share
    # the pressure may be of other CPUs: on ours a thread waits no longer than others compute there
    others_us = after.others_us - before.others_us + after.slack_us
    return min(share, max(0.0, others_us / elapsed_us))


def _throttled(before: Reading, after: Reading) -> float | None:
    """Return the stopped share, at most 1: threads on several CPUs are stopped at once."""
    if before.throttled_us is None or after.throttled_us is None:
        return None
    elapsed_us, stopped_us = _elapsed_us(before, after), after.throttled_us - before.throttled_us
    return min(1.0, stopped_us / elapsed_us) if elapsed_us > 0 and stopped_us >= 0 else None


def _elapsed_us(before: Reading, after: Reading) -> float:
    return (after.monotonic_ns - before.monotonic_ns) / 1000


def _steal(before: Jiffies | None, after: Jiffies | None) -> float | None:
    if before is None or after is None:
        return None
    return _share(after.steal - before.steal, after.total - before.total)


def _share(part: float, whole: float) -> float | None:
    """Return `part` of `whole` in 0..1; None if they cannot be of one interval."""
    if whole <= 0 or part < 0 or part > whole * _OVERSHOOT:
        return None
    return min(part / whole, 1.0)


def _new_switches(
    before: Mapping[tuple[int, int], int], after: Mapping[tuple[int, int], int]
) -> int | None:
    """Return the switches since `before`, without threads that ended in between."""
    if not before or not after:
        return None
    growth = [count - before.get(thread, 0) for thread, count in after.items()]
    return None if min(growth) < 0 else sum(growth)


def _ticks(root: Path, cpus: Collection[int]) -> list[int] | None:
    """Sum /proc/stat's lines of these CPUs; if some are missing, take its line of all CPUs."""
    text = files.text(root / "proc/stat") or ""
    lines = {
        name: line.split() for name, _, line in (row.partition(" ") for row in text.split("\n"))
    }
    chosen = [lines[f"cpu{cpu}"] for cpu in cpus if f"cpu{cpu}" in lines]
    if len(chosen) < len(cpus) or not chosen:
        chosen = [lines.get("cpu", [])]
    try:
        counts = [[int(tick) for tick in line[:_STAT_FIELDS]] for line in chosen]
    except ValueError:
        return None
    whole = all(len(count) == _STAT_FIELDS for count in counts)
    return [sum(column) for column in zip(*counts, strict=True)] if whole else None


def _own_ticks(path: Path) -> int:
    """Return user and system time of a process; its name, in brackets, may have any text."""
    fields = (files.text(path) or "").rpartition(")")[2].split()
    try:
        return int(fields[11]) + int(fields[12])
    except (IndexError, ValueError):
        return 0


def _switches(pids: Sequence[int], root: Path) -> Iterable[tuple[tuple[int, int], int]]:
    """Yield per thread, since a process's own `status` counts its first thread only."""
    for pid in pids:
        for thread, folder in files.numbered(root / f"proc/{pid}/task", ""):
            if found := _SWITCHES.search(files.text(folder / "status") or ""):
                yield (pid, thread), int(found[1])
