"""Keep freed memory in the process for the next batch, instead of returning it to the kernel."""

from __future__ import annotations

import ctypes
import os
import platform

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
"""Parameters of `mallopt(3)`."""
_LARGEST = 2**31 - 1


def keep_heap() -> bool:
    """Make glibc keep up to 2 GiB of freed memory; return whether it does.

    By default the memory of activations is returned to the kernel and faulted in again, page by
    page, for every batch. Nothing is changed where the user sets GLIBC_TUNABLES or the C library is
    not glibc; another allocator in front of glibc's is not affected.
    """
    if "GLIBC_TUNABLES" in os.environ or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_MAX, 0)) and bool(libc.mallopt(_TRIM_THRESHOLD, _LARGEST))
