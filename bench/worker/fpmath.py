"""Allow oneDNN to multiply fp32 data in bf16 or tf32, and read back what is allowed.

Tensors stay fp32. PyTorch has settings for it since 2.9 and IPEX one of its own; an older PyTorch
leaves oneDNN's variable, which oneDNN reads once, when it is loaded, and a setting for matrix
products alone, which a model's own code may have changed. All of them permit it, and none says that
a kernel made use of it: the log does (`bench.worker.kernels`).
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import version
from typing import Any

VARIABLES = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
"""oneDNN's, the first of them that is set."""
_IPEX = "intel_extension_for_pytorch"
_OF_PRODUCTS = {"medium": "bf16", "high": "tf32"}
"""What `torch.set_float32_matmul_precision` allows. Newer PyTorch enters it into its settings."""


def set_variable(value: str) -> None:
    """Set oneDNN's variable if this PyTorch has no settings; call it before torch is imported."""
    if not _has_settings():
        os.environ[VARIABLES[-1]] = value.upper()


def allow(value: str) -> None:
    """Allow `bf16` or `tf32` for the whole process, after the backend was imported.

    IPEX has no tf32 on the CPU, so its copy of oneDNN keeps fp32 then.
    """
    import torch

    if _has_settings():
        mkldnn: Any = torch.backends.mkldnn
        mkldnn.conv.fp32_precision = value
        mkldnn.matmul.fp32_precision = value
    ipex = sys.modules.get(_IPEX)
    if ipex is not None and value == "bf16":
        ipex.set_fp32_math_mode(mode=ipex.FP32MathMode.BF32, device="cpu")


def allowed() -> str | None:
    """Return what this process allows: `bf16` or `tf32`, both if its parts differ; None is fp32."""
    import torch

    default = next((os.environ[name].lower() for name in VARIABLES if name in os.environ), "")
    found = {default}
    if _has_settings():
        mkldnn: Any = torch.backends.mkldnn
        settings = {mkldnn.conv.fp32_precision, mkldnn.matmul.fp32_precision}
        found = {default if one == "none" else one for one in settings}
    else:
        found.add(_OF_PRODUCTS.get(torch.get_float32_matmul_precision(), default))
    ipex = sys.modules.get(_IPEX)
    if ipex is not None:
        reduced = int(ipex.get_fp32_math_mode(device="cpu")) == int(ipex.FP32MathMode.BF32)
        found.add("bf16" if reduced else "")
    names = sorted({"fp32" if name in ("", "strict", "ieee") else name for name in found})
    return None if names == ["fp32"] else ", ".join(names)


@cache
def _has_settings() -> bool:
    """Return whether this PyTorch has settings for it, without importing it."""
    major, minor = version("torch").split(".")[:2]
    return (int(major), int(minor)) >= (2, 9)
