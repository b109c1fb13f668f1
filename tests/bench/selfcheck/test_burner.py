"""The neighbour that takes a core: it takes it, and it is gone afterwards."""

from __future__ import annotations

import time

import psutil
import pytest

from bench.selfcheck.burner import bursts


@pytest.mark.slow
def test_it_burns_while_inside_and_is_gone_afterwards() -> None:
    """It must have used the CPU, or the check beside it shows nothing."""
    with bursts(0.05, 0.1) as pid:
        process = psutil.Process(pid)
        deadline = time.monotonic() + 60
        while sum(process.cpu_times()[:2]) < 0.3:
            assert time.monotonic() < deadline, "it never used the CPU"
            time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_it_is_gone_after_a_failure_too() -> None:
    """A neighbour that stayed would disturb everything after."""
    with pytest.raises(RuntimeError), bursts(0.05, 0.1) as pid:
        raise RuntimeError
    assert not psutil.pid_exists(pid)
