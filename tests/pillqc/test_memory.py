"""`keep_heap` keeps freed memory in the process."""

from __future__ import annotations

import os
import platform

import pytest

from tests.fresh_process import python

_FAULTS = """
import resource
from pillqc.memory import keep_heap

def faults():
    bytearray(40_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        bytearray(40_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_heap(), faults())
"""


def measured(**environment: str) -> tuple[int, bool, int]:
    """Pages faulted before, whether it took, and pages faulted after, in a fresh process."""
    base = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    before, took, after = python("-c", _FAULTS, env=base | environment).stdout.split()
    return int(before), took == "True", int(after)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_a_kept_heap_is_not_faulted_in_again() -> None:
    """Each of five times 40 MB, as a batch's activations are."""
    before, took, after = measured()
    assert took
    assert before > 1000
    assert after < 100


def test_a_users_own_tunables_stay() -> None:
    """A deliberate setting is kept."""
    _, took, _ = measured(GLIBC_TUNABLES="glibc.malloc.check=0")
    assert not took
