"""Allow oneDNN to multiply fp32 data in bf16 or tf32, and read back what is allowed.

Tensors stay fp32. PyTorch has settings for it since 2.9 and IPEX one of its own; an older PyTorch
leaves oneDNN's variable, which oneDNN reads when it makes its first primitive. All of them permit
it, and none says that a kernel made use of it: the log does (`bench.worker.kernels`).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

VARIABLE = "DNNL_DEFAULT_FPMATH_MODE"
_PLAIN = ("", "none", "ieee")
_IPEX = "intel_extension_for_pytorch"


def allow(value: str) -> None:
    """Allow `bf16` or `tf32` for the whole process, before any primitive exists.

    IPEX has no tf32 on the CPU, so its copy of oneDNN keeps fp32 then.
    """
    mkldnn: Any = torch.backends.mkldnn
    if _has_settings():
        mkldnn.conv.fp32_precision = value
        mkldnn.matmul.fp32_precision = value
    else:
        os.environ[VARIABLE] = value.upper()
    ipex = sys.modules.get(_IPEX)
    if ipex is not None and value == "bf16":
        ipex.set_fp32_math_mode(mode=ipex.FP32MathMode.BF32, device="cpu")


def allowed() -> str | None:
    """Return what this process allows: `bf16` or `tf32`, both if its parts differ; None is fp32."""
    mkldnn: Any = torch.backends.mkldnn
    if _has_settings():
        found = {mkldnn.conv.fp32_precision, mkldnn.matmul.fp32_precision}
    else:
        found = {os.environ.get(VARIABLE, "").lower()}
    ipex = sys.modules.get(_IPEX)
    if ipex is not None:
        reduced = int(ipex.get_fp32_math_mode(device="cpu")) == int(ipex.FP32MathMode.BF32)
        found.add("bf16" if reduced else "")
    names = sorted({"fp32" if name in _PLAIN else str(name) for name in found})
    return None if names == ["fp32"] else ", ".join(names)


def _has_settings() -> bool:
    return hasattr(torch.backends.mkldnn, "conv")
