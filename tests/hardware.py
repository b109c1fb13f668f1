"""What some tests need of the machine: the CPU's own flags say so, no library that is tested."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def _flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split())
    return set()


FLAGS = _flags()
ONEDNN_HAS_BF16 = {"avx512bw", "avx512vl", "avx512dq"} <= FLAGS or "avx_ne_convert" in FLAGS
"""oneDNN has bf16 kernels, native or emulated; without them PyTorch's own are left."""

needs_ipex = pytest.mark.skipif(
    importlib.util.find_spec("intel_extension_for_pytorch") is None, reason="IPEX is not installed"
)
needs_onednn_bf16 = pytest.mark.skipif(
    not ONEDNN_HAS_BF16, reason="oneDNN has no bf16 on this CPU: no AVX-512"
)
needs_vnni = pytest.mark.skipif(
    not FLAGS & {"avx512_vnni", "avx_vnni"},
    reason="8-bit products saturate on this CPU: it has no VNNI",
)
