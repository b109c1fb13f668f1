"""Freed memory that the process keeps for its next batch, not given back to the kernel."""

from __future__ import annotations

import ctypes
import os
import platform

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
"""Of `mallopt(3)`."""
_LARGEST = 2**31 - 1


def keep_heap() -> bool:
    """Have glibc keep what this process frees; whether it does.

    As glibc ships, activations go back to the kernel and are faulted in again, page by page, for
    every batch. At most 2 GiB of freed memory are kept. A user who has chosen GLIBC_TUNABLES, and a
    C library other than glibc, are left alone; another allocator in front of glibc's is not
    affected.
    """
    if "GLIBC_TUNABLES" in os.environ or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_MAX, 0)) and bool(libc.mallopt(_TRIM_THRESHOLD, _LARGEST))
