"""List installed packages, and environment variables that change speed."""

from __future__ import annotations

import os
import re
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

STEERING = re.compile(
    # OpenMP runtimes and what else has threads
    r"(OMP|GOMP|KMP|LIBOMP|TBB)_\w+"
    # libraries of arithmetic
    r"|(MKL|MKLDNN|DNNL|ONEDNN|OPENBLAS|GOTO|BLIS|VECLIB|NUMEXPR|ACL|CPUINFO)_\w+"
    # PyTorch, its compilers, and further backends
    r"|ATEN_\w+|TORCH\w*|PYTORCH\w*|FUNCTORCH_\w+|TRITON_\w+|IPEX_\w+|LRU_CACHE_CAPACITY"
    r"|(OV|OPENVINO|ORT|ONNXRUNTIME|KINETO|ITT|INTEL_LIBITTNOTIFY\d*)_\w+"
    # allocators and the loader
    r"|(MALLOC|TCMALLOC|JEMALLOC|MIMALLOC)_\w+|_RJEM_MALLOC_CONF|GLIBC_TUNABLES"
    r"|LD_(PRELOAD|AUDIT|DEBUG|PROFILE|BIND_NOW|USE_LOAD_BIAS)"
    # the interpreter
    r"|PYTHON(MALLOC|MALLOCSTATS|HASHSEED|DEVMODE|DEBUG|OPTIMIZE|INSPECT|VERBOSE|TRACEMALLOC"
    r"|PROFILEIMPORTTIME|ASYNCIODEBUG|DUMPREFS|PERFSUPPORT|FAULTHANDLER|_\w+)"
)
"""Variables that can change how fast the same code runs, or make it write a log."""

_HARMLESS = re.compile(r"TORCH_(HOME|INDEX)|PYTHON_(HISTORY|COLORS|BASIC_REPL)")
"""Folders of downloaded models, settings of the prompt."""

SET_FOR_WORKERS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TORCH_WARM_POOL",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "TORCHINDUCTOR_CACHE_DIR",
)
"""Steering variables that are set for every worker, whatever the shell says."""


def packages() -> dict[str, str]:
    """Return every installed package by its normalised name (`scikit-learn`), with its version."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return dict(sorted(found.items()))


def variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that allocators, OpenMP, MKL, oneDNN, PyTorch and IPEX read."""
    source = os.environ if environment is None else environment
    names = {*steering(source), *({"LD_LIBRARY_PATH"} & {*source})}
    return {name: source[name] for name in sorted(names)}


def steering(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that steer the libraries of a worker, sorted."""
    return sorted(
        name for name in environment if STEERING.fullmatch(name) and not _HARMLESS.fullmatch(name)
    )


def unsteered(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without those variables; glibc's tunables of the loader stay."""
    cleared = {*steering(environment)}
    kept = {name: value for name, value in environment.items() if name not in cleared}
    tunables = environment.get("GLIBC_TUNABLES", "").split(":")
    needed = ":".join(one for one in tunables if one.startswith("glibc.rtld."))
    return kept | ({"GLIBC_TUNABLES": needed} if needed else {})
