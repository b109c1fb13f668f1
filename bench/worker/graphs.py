"""Read, compare and release the graphs that PyTorch has compiled in this process."""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch._dynamo.utils as dynamo

from bench.plan.scenario import Mode
from bench.worker import kernels

_GENERATED = "torch._inductor.runtime.compile_tasks."
_CPP_SOURCE = "cpp_wrapper_src"
"""A name in generated modules whose kernels are called by C++."""


def evidence(mode: Mode) -> dict[str, Any]:
    """Return fused nodes (TorchScript), or the number of graphs and their breaks (compile).

    Compile also has, where there are any, the products for which Inductor chose between kernels
    that it timed (`tuned`), and the graphs that C++ runs (`cpp_wrappers`).
    """
    if mode is Mode.TORCHSCRIPT:
        return {"nodes": kernels.graph_nodes(_script_graph())}
    if mode is Mode.COMPILE:
        breaks = sum(dynamo.counters["graph_break"].values())
        found = {"graphs": identity(mode), "breaks": breaks}
        tuned = dynamo.counters["inductor"]["select_algorithm_autotune"]
        if tuned:
            found["tuned"] = tuned
        by_cpp = sum(hasattr(sys.modules[name], _CPP_SOURCE) for name in _generated())
        if by_cpp:
            found["cpp_wrappers"] = by_cpp
        return found
    return {}


def identity(mode: Mode) -> object:
    """Return a value that changes when the model is compiled again; None in eager mode."""
    if mode is Mode.TORCHSCRIPT:
        return hash(_script_graph())
    if mode is Mode.COMPILE:
        return dynamo.counters["stats"]["unique_graphs"]
    return None


def forget() -> None:
    """Release all compiled code of this process, and the packed weights that it holds.

    Inductor keeps each generated module with its constants (70 MB of weights for the inspector)
    under a name in `sys.modules`.
    """
    torch.compiler.reset()
    dynamo.counters.clear()
    if "torch._inductor.codecache" in sys.modules:  # else nothing was compiled
        from torch._inductor.codecache import PyCodeCache

        PyCodeCache.cache_clear()
        for name in _generated():
            del sys.modules[name]


def _generated() -> list[str]:
    """Return the names of the modules that Inductor has generated."""
    return [name for name in sys.modules if name.startswith(_GENERATED)]


def _script_graph() -> str:
    return str(torch.jit.last_executed_optimized_graph())  # type: ignore[attr-defined] # not in __all__
