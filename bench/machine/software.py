"""Installed packages, and environment variables that change speed."""

from __future__ import annotations

import os
import re
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELEVANT = re.compile(
    r"OMP_.*|KMP_.*|GOMP_.*|MKL_.*|OPENBLAS_.*|DNNL_.*|ONEDNN_.*|ATEN_.*|IPEX_.*|TORCH.*|PYTORCH.*"
    r"|LD_PRELOAD|LD_LIBRARY_PATH|GLIBC_TUNABLES|MALLOC_.*|TCMALLOC_.*|JEMALLOC_.*|CPUINFO_.*"
    r"|PYTHONMALLOC|PYTHONHASHSEED"
)


def packages() -> dict[str, str]:
    """Every installed package and its version, under its normalised name (`scikit-learn`)."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return dict(sorted(found.items()))


def variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that allocators, OpenMP, MKL, oneDNN, PyTorch and IPEX listen to."""
    source = os.environ if environment is None else environment
    return {name: source[name] for name in sorted(source) if _RELEVANT.fullmatch(name)}
