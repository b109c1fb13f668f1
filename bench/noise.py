"""How quiet the machine was between two moments, from the kernel's own counters.

    before = read_noise(pids)
    ...  # measure
    noise = difference(before, read_noise(pids))
    is_quiet(noise, probe_ratio, policy)

Pressure is read beside steal because neither shows everything: work that competes inside a virtual
machine shows as pressure while steal stays at zero; a crowded host shows the other way round.
A counter that a host lacks, or that went backwards (a migrated container, a reused process id),
reads as None: unknown is never reported as quiet nor as noisy.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bench.policy import NoisePolicy

_SOME_TOTAL = re.compile(r"^some .*\btotal=(\d+)", re.ASCII | re.MULTILINE)
_SWITCHES = re.compile(r"^nonvoluntary_ctxt_switches:\s*(\d+)", re.ASCII | re.MULTILINE)

_STAT_FIELDS = 8
"""user nice system idle iowait irq softirq steal; guest time is already part of user and nice."""

_OVERSHOOT = 1.05
"""Counters and clock are read microseconds apart, so a share may pass 1 by a little; beyond this
the counter did not count this interval."""


@dataclass(frozen=True, kw_only=True)
class Jiffies:
    """CPU time of the whole machine since boot, in the kernel's ticks."""

    steal: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The counters at one moment; None where the host does not say."""

    monotonic_ns: int
    waited_us: int | None
    """Time in which some runnable task waited for a CPU, since boot."""
    jiffies: Jiffies | None
    switches: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Involuntary context switches of each (process, thread)."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What happened between two readings; None where it is unknown."""

    cpu_pressure: float | None
    """Share of the time in which some runnable task waited for a CPU."""
    steal: float | None
    """Share of the machine's CPU time that the hypervisor took."""
    involuntary_switches: int | None
    """How often the kernel took a CPU away from the watched processes' threads."""


def read_noise(pids: Sequence[int] = (), root: Path = Path("/")) -> Reading:
    """The counters now; `pids` are the processes whose context switches are of interest."""
    return Reading(
        monotonic_ns=time.monotonic_ns(),
        waited_us=_first_number(_SOME_TOTAL, root / "proc/pressure/cpu"),
        jiffies=_jiffies(root / "proc/stat"),
        switches=dict(_switches(pids, root)),
    )


def difference(before: Reading, after: Reading) -> Noise:
    """What happened between two readings."""
    return Noise(
        cpu_pressure=_pressure(before, after),
        steal=_steal(before.jiffies, after.jiffies),
        involuntary_switches=_new_switches(before.switches, after.switches),
    )


def is_quiet(noise: Noise, probe_ratio: float | None, policy: NoisePolicy) -> bool:
    """Whether nothing that is known speaks against the round."""
    calm = not saw_other_work(noise, policy)
    return calm and _within(probe_ratio, policy.max_probe_ratio)


class Seen(Protocol):
    """What the kernel saw in some time: a `Noise`, or a round's row of noise.csv."""

    @property
    def cpu_pressure(self) -> float | None:
        """Share of the time in which some runnable task waited for a CPU."""

    @property
    def steal(self) -> float | None:
        """Share of the machine's CPU time that the hypervisor took."""


def saw_other_work(noise: Seen, policy: NoisePolicy) -> bool:
    """Whether the kernel saw other work compete for CPUs: pressure, or steal by the hypervisor."""
    return not (
        _within(noise.cpu_pressure, policy.max_cpu_pressure)
        and _within(noise.steal, policy.max_steal)
    )


def wait_for_idle(
    within_s: float,
    *,
    busy: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Wait until no CPU of this machine works, at most so long; whether none does.

    Called while all workers are stopped, so whatever is busy is other work.
    """
    is_busy = busy or _is_busy
    ends = clock() + within_s
    while is_busy():
        if clock() >= ends:
            return False
    return True


_IDLE_WINDOW_S = 0.05
"""Five ticks of the kernel's clock: one tick of housekeeping is no work."""


def _is_busy(root: Path = Path("/")) -> bool:
    """Whether more than a tick of CPU time was used in a short window."""
    before = _busy_jiffies(root / "proc/stat")
    time.sleep(_IDLE_WINDOW_S)
    after = _busy_jiffies(root / "proc/stat")
    return before is not None and after is not None and after - before > 1


def _busy_jiffies(path: Path) -> int | None:
    """CPU time of the whole machine that was neither idle nor waiting for a disk."""
    ticks = _ticks(path)
    return None if ticks is None else sum(ticks) - ticks[3] - ticks[4]


def _within(value: float | None, limit: float) -> bool:
    return value is None or value <= limit


def _pressure(before: Reading, after: Reading) -> float | None:
    if before.waited_us is None or after.waited_us is None:
        return None
    elapsed_us = (after.monotonic_ns - before.monotonic_ns) / 1000
    return _share(after.waited_us - before.waited_us, elapsed_us)


def _steal(before: Jiffies | None, after: Jiffies | None) -> float | None:
    if before is None or after is None:
        return None
    return _share(after.steal - before.steal, after.total - before.total)


def _share(part: float, whole: float) -> float | None:
    """`part` of `whole` in 0..1; None where the counters cannot belong to one interval."""
    if whole <= 0 or part < 0 or part > whole * _OVERSHOOT:
        return None
    return min(part / whole, 1.0)


def _new_switches(
    before: Mapping[tuple[int, int], int], after: Mapping[tuple[int, int], int]
) -> int | None:
    """Switches since `before`; threads that ended in between are not counted."""
    if not before or not after:
        return None
    growth = [count - before.get(thread, 0) for thread, count in after.items()]
    return None if min(growth) < 0 else sum(growth)


def _jiffies(path: Path) -> Jiffies | None:
    counts = _ticks(path)
    return None if counts is None else Jiffies(steal=counts[-1], total=sum(counts))


def _ticks(path: Path) -> list[int] | None:
    """The first line of /proc/stat: user nice system idle iowait irq softirq steal."""
    first, *_ = _text(path).split("\n", 1)
    name, *ticks = first.split() or [""]
    if name != "cpu" or len(ticks) < _STAT_FIELDS:
        return None
    try:
        return [int(tick) for tick in ticks[:_STAT_FIELDS]]
    except ValueError:
        return None


def _switches(pids: Sequence[int], root: Path) -> Iterable[tuple[tuple[int, int], int]]:
    """Per thread, because a process's own `status` counts its first thread only."""
    for pid in pids:
        for thread in _entries(root / f"proc/{pid}/task"):
            count = _first_number(_SWITCHES, thread / "status")
            if count is not None and thread.name.isdecimal():
                yield (pid, int(thread.name)), count


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []  # the process ended, or this host has no /proc


def _first_number(pattern: re.Pattern[str], path: Path) -> int | None:
    found = pattern.search(_text(path))
    return int(found[1]) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
