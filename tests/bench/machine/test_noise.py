"""How quiet the machine was, from fake /proc trees."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine.noise import (
    Jiffies,
    Noise,
    Reading,
    cpus_busy,
    difference,
    is_quiet,
    read_noise,
    saw_other_work,
)
from bench.plan.thresholds import NoisePolicy
from tests.fake_files import write

if TYPE_CHECKING:
    from pathlib import Path

SECOND_NS = 1_000_000_000
START = Reading(
    monotonic_ns=5 * SECOND_NS,
    waited_us=1_000_000,
    jiffies=Jiffies(steal=10, total=1000),
    switches={(7, 7): 100, (7, 8): 50},
)
QUIET = Noise(cpu_pressure=0.0, steal=0.0, involuntary_switches=0)


def later(**changes: object) -> Reading:
    """A reading one second after `START` in which nothing else changed."""
    return replace(START, **{"monotonic_ns": 6 * SECOND_NS, **changes})  # type: ignore[arg-type] # a test's shorthand


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host with all the files, and a process 7 of two threads."""
    write(
        tmp_path,
        "proc/pressure/cpu",
        "some avg10=0.00 avg60=0.02 avg300=0.15 total=14807796\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=99",
    )
    write(tmp_path, "proc/stat", "cpu  1 2 3 4 5 6 7 8 900 900\ncpu0 1 1 1 1 1 1 1 1 1 1")
    for thread, count in ((7, 11), (9, 22)):
        status = f"Name:\tx\nvoluntary_ctxt_switches:\t5000\nnonvoluntary_ctxt_switches:\t{count}"
        write(tmp_path, f"proc/7/task/{thread}/status", status)
    return tmp_path


def test_counters_are_read_from_the_kernels_files(host: Path) -> None:
    """Pressure is the `some` total, steal the eighth tick, guest time is not counted twice."""
    reading = read_noise([7], host)
    assert reading.waited_us == 14807796
    assert reading.jiffies == Jiffies(steal=8, total=36)


def test_every_thread_of_a_process_counts(host: Path) -> None:
    """A worker's OpenMP threads are switched too, and the process's own file leaves them out."""
    assert read_noise([7], host).switches == {(7, 7): 11, (7, 9): 22}


def test_a_host_without_the_files_says_nothing(tmp_path: Path) -> None:
    """Without /proc every figure is unknown, and that is no failure."""
    reading = read_noise([1, 2], tmp_path)
    assert (reading.waited_us, reading.jiffies, reading.switches) == (None, None, {})
    assert difference(reading, read_noise([1, 2], tmp_path)) == Noise(
        cpu_pressure=None, steal=None, involuntary_switches=None
    )


@pytest.mark.parametrize(
    "text", ["", "cpu", "cpu  1 2 3", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8", "\x00\xff"]
)
def test_a_strange_stat_file_says_nothing(tmp_path: Path, text: str) -> None:
    """Old kernels have fewer columns, sandboxes invent their own files."""
    write(tmp_path, "proc/stat", text)
    write(tmp_path, "proc/pressure/cpu", text)
    reading = read_noise(root=tmp_path)
    assert (reading.jiffies, reading.waited_us) == (None, None)


OWN = "proc/7/status"


def moment(root: Path, second: int, *, others: int, own: int, waited_us: int) -> Reading:
    """A reading at that second; `others` and `own` are ticks on CPU 1, which process 7 is bound to.

    CPU 0 is a neighbour's and always busy.
    """
    write(root, OWN, "Cpus_allowed_list:\t1")
    idle = 100 * second - others - own
    lines = (f"cpu0 {100 * second} 0 0 0 0 0 0 50", f"cpu1 {others + own} 0 0 {idle} 0 0 0 0")
    write(root, "proc/stat", "\n".join(("cpu 9 9 9 9 9 9 9 9", *lines)))
    write(root, "proc/7/stat", f"7 (a) b) R 0 0 0 0 0 0 0 0 0 0 {own} 0 0")
    write(root, "proc/pressure/cpu", f"some avg10=0.00 avg60=0.00 avg300=0.00 total={waited_us}")
    return replace(read_noise([7], root), monotonic_ns=second * SECOND_NS)


@pytest.mark.parametrize(
    ("others", "own", "waited_us", "pressure", "quiet"),
    [(5, 900, 9_000_000, (5 + 1) / 1000, True), (500, 500, 5_000_000, 0.5, False)],
)
def test_only_a_neighbour_on_our_own_cpus_is_noise(
    host: Path, others: int, own: int, waited_us: int, pressure: float, quiet: bool
) -> None:
    """The host's pressure and steal are of other CPUs too; our threads wait for others on ours."""
    noise = difference(
        moment(host, 0, others=0, own=0, waited_us=0),
        moment(host, 10, others=others, own=own, waited_us=waited_us),
    )
    assert noise.steal == 0
    assert noise.cpu_pressure == pytest.approx(pressure)
    assert is_quiet(noise, None, NoisePolicy()) is quiet


@pytest.mark.parametrize(
    ("groups", "folder"),
    [
        ("0::/", "sys/fs/cgroup"),
        ("0::/a/b", "sys/fs/cgroup/a/b"),
        ("0::/a/b", "sys/fs/cgroup/a"),
        ("4:memory:/x\n0::/a", "sys/fs/cgroup/unified/a"),
    ],
)
def test_pressure_is_that_of_our_own_group_if_known(host: Path, groups: str, folder: str) -> None:
    """On a shared host the rest of the machine is none of our business."""
    write(host, "proc/self/cgroup", groups)
    write(host, f"{folder}/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5")
    assert read_noise([7], host).waited_us == 5


@pytest.mark.parametrize(
    ("groups", "path", "text"),
    [
        ("0::/a/b", "sys/fs/cgroup/a/b/cpu.stat", "usage_usec 9\nthrottled_usec 7000"),
        ("0::/a/b", "sys/fs/cgroup/a/cpu.stat", "nr_throttled 3\nthrottled_usec 7000"),
        ("2:cpu,cpuacct:/d", "sys/fs/cgroup/cpu,cpuacct/d/cpu.stat", "throttled_time 7000000"),
        ("2:cpu:/host/name\n0::/", "sys/fs/cgroup/cpu/cpu.stat", "throttled_time 7000000"),
    ],
)
def test_throttled_time_is_read(host: Path, groups: str, path: str, text: str) -> None:
    """Version 2 counts microseconds, version 1 nanoseconds; a group above may have the quota."""
    assert read_noise([7], host).throttled_us is None
    write(host, "proc/self/cgroup", groups)
    write(host, path, text)
    assert read_noise([7], host).throttled_us == 7000


def test_being_stopped_by_our_own_quota_is_no_other_work() -> None:
    """The kernel counts it as pressure too; the round is noisy, and no neighbour is blamed."""
    start = replace(START, throttled_us=0)
    noise = difference(start, later(throttled_us=400_000, waited_us=1_450_000))
    assert (noise.throttled, noise.cpu_pressure) == (0.4, 0.45)
    assert not saw_other_work(noise, NoisePolicy())
    assert not is_quiet(noise, None, NoisePolicy())
    assert difference(start, later(throttled_us=9_000_000)).throttled == 1.0
    assert difference(later(throttled_us=5), later(throttled_us=4)).throttled is None


def test_only_our_own_cpus_must_be_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour that computes on other CPUs of a shared host is not waited for."""

    def elapse(busy_cpu: int) -> bool:
        def tick(_seconds: float) -> None:
            ticks = [f"cpu{n} {50 if n == busy_cpu else 0} 0 0 0 0 0 0 0" for n in (0, 1)]
            write(tmp_path, "proc/stat", "\n".join(("cpu 50 0 0 0 0 0 0 0", *ticks)))

        zero = "\n".join(f"cpu{n} 0 0 0 0 0 0 0 0" for n in (0, 1))
        write(tmp_path, "proc/stat", f"cpu 0 0 0 0 0 0 0 0\n{zero}")
        monkeypatch.setattr("time.sleep", tick)
        return cpus_busy(tmp_path)

    write(tmp_path, "proc/self/status", "Cpus_allowed_list:\t1")
    write(tmp_path, "sys/devices/system/cpu/online", "0-1")
    assert not elapse(0)
    assert elapse(1)


def test_a_process_that_ended_is_left_out(host: Path) -> None:
    """A worker that crashed during the round must not take the figures of the others along."""
    assert read_noise([7, 4_000_000], host).switches == {(7, 7): 11, (7, 9): 22}


def test_shares_are_of_the_interval_and_switches_of_threads_old_and_new() -> None:
    """0.25 s of one waited, 5 of 200 ticks stolen; a thread that was started counts from zero."""
    noise = difference(
        START,
        later(
            waited_us=1_250_000,
            jiffies=Jiffies(steal=15, total=1200),
            switches={(7, 7): 103, (7, 12): 4},
        ),
    )
    assert noise.cpu_pressure == pytest.approx(0.25)
    assert noise.steal == pytest.approx(0.025)
    assert noise.involuntary_switches == 3 + 4
    assert difference(later(switches={}), later(switches={})).involuntary_switches is None
    assert difference(START, later(waited_us=2_000_500)).cpu_pressure == 1.0  # just above one


@pytest.mark.parametrize(
    ("after", "field"),
    [
        (later(waited_us=999_999), "cpu_pressure"),
        (later(waited_us=9_000_000), "cpu_pressure"),
        (later(monotonic_ns=START.monotonic_ns), "cpu_pressure"),
        (later(waited_us=None), "cpu_pressure"),
        (later(jiffies=Jiffies(steal=9, total=1200)), "steal"),
        (later(jiffies=Jiffies(steal=11, total=900)), "steal"),
        (later(jiffies=Jiffies(steal=500, total=1001)), "steal"),
        (later(jiffies=START.jiffies), "steal"),
        (later(jiffies=None), "steal"),
        (later(switches={(7, 7): 99}), "involuntary_switches"),
    ],
)
def test_counters_that_cannot_be_right_are_unknown(after: Reading, field: str) -> None:
    """Counters going backwards, or faster than time, come from a migration and mean nothing."""
    assert getattr(difference(START, after), field) is None


numbers = st.none() | st.integers(0, 10**12)
ticks = st.none() | st.builds(Jiffies, steal=st.integers(0, 10**9), total=st.integers(0, 10**9))
readings = st.builds(
    Reading,
    monotonic_ns=st.integers(0, 10**15),
    waited_us=numbers,
    jiffies=ticks,
    others_us=numbers,
    throttled_us=numbers,
    switches=st.dictionaries(
        st.tuples(st.integers(1, 3), st.integers(1, 5)), st.integers(0, 10**9), max_size=4
    ),
)


@given(before=readings, after=readings)
def test_no_pair_of_readings_gives_a_share_outside_0_to_1(before: Reading, after: Reading) -> None:
    """Whatever the kernel says, a share is a share and a count is not negative."""
    noise = difference(before, after)
    for share in (noise.cpu_pressure, noise.steal, noise.throttled):
        assert share is None or 0 <= share <= 1
    assert noise.involuntary_switches is None or noise.involuntary_switches >= 0


@pytest.mark.parametrize(
    ("changes", "probe", "quiet"),
    [
        ({}, 1.0, True),
        ({"cpu_pressure": 0.2, "steal": 0.05}, 1.25, True),
        ({"cpu_pressure": None, "steal": None, "involuntary_switches": None}, None, True),
        ({"cpu_pressure": 0.21}, 1.0, False),
        ({"steal": 0.051}, 1.0, False),
        ({}, 1.26, False),
        ({}, float("nan"), False),
    ],
)
def test_each_limit_alone_makes_a_round_noisy(
    changes: dict[str, float | None], probe: float | None, quiet: bool
) -> None:
    """The limit itself is still quiet, and so is what is unknown: the report shows empty cells."""
    policy = NoisePolicy(max_cpu_pressure=0.2, max_steal=0.05, max_probe_ratio=1.25)
    noise = replace(QUIET, **changes)  # type: ignore[arg-type] # a test's shorthand
    assert is_quiet(noise, probe, policy) is quiet


def test_this_host_can_be_read() -> None:
    """The real /proc of the machine that runs the tests gives consistent figures."""
    pid = os.getpid()
    before = read_noise([pid])
    after = read_noise([pid])
    assert after.monotonic_ns >= before.monotonic_ns
    if before.switches:
        assert (pid, pid) in before.switches
        assert difference(before, after).involuntary_switches is not None
