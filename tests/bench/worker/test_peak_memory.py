from __future__ import annotations

from pathlib import Path

import pytest

from bench.worker.peak_memory import HighWater
from tests.fresh_process import python


def process(folder: Path, peak_kb: int, resident_kb: int = 1024) -> Path:
    """A process folder with these two values."""
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{peak_kb} kB\nVmRSS:\t{resident_kb} kB\n")
    return folder


def test_the_kernels_values_are_read_in_mib(tmp_path: Path) -> None:
    """They are in KiB there."""
    water = HighWater(process(tmp_path, 2048))
    assert (water.peak_mb(), water.resident_mb()) == (2.0, 1.0)


def test_what_is_left_out_does_not_count(tmp_path: Path) -> None:
    """The peak before is kept, the one inside is forgotten."""
    water = HighWater(process(tmp_path, 4096))
    water.start()
    with water.left_out():
        process(tmp_path, 999_999)
    process(tmp_path, 2048)  # as the kernel resets its mark
    assert water.peak_mb() == 4.0
    assert (tmp_path / "clear_refs").read_text() == "5"


def test_the_mark_is_set_back_even_when_what_is_left_out_fails(tmp_path: Path) -> None:
    """A failing probe must not raise the scenario's peak."""
    water = HighWater(process(tmp_path, 4096))
    with pytest.raises(ValueError, match="no"), water.left_out():
        raise ValueError("no")
    assert (tmp_path / "clear_refs").read_text() == "5"


def test_a_process_that_may_not_set_its_mark_back_goes_on(tmp_path: Path) -> None:
    """Its peak then covers all of its life."""
    (tmp_path / "clear_refs").mkdir()
    water = HighWater(process(tmp_path, 4096))
    water.start()
    assert water.peak_mb() == 4.0


REAL = """
import mmap
from bench.worker.peak_memory import HighWater
from tests.fresh_process import python

MIB = 1 << 20

def touched(mib):
    memory = mmap.mmap(-1, mib * MIB)
    for start in range(0, mib * MIB, MIB):
        memory[start : start + MIB] = bytes(MIB)
    return memory

water = HighWater()
water.start()
start = water.peak_mb()
with water.left_out(), touched(100):
    pass
print(water.peak_mb() - start)
with touched(60):
    print(water.resident_mb() - start)
print(water.peak_mb() - start)
"""


def test_the_real_kernel_forgets_what_was_left_out() -> None:
    """100 MiB inside, 60 outside, in a process that nothing else has left its memory in."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("not Linux")
    done = python("-c", REAL)
    after_inside, while_outside, after_outside = map(float, done.stdout.split())
    assert after_inside < 50
    assert while_outside > 50
    assert after_outside > 50
