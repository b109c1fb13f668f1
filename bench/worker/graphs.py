"""Read, compare and release the graphs that PyTorch has compiled in this process."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import Mode
from bench.worker import kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        breaks = sum(counters()["graph_break"].values())
        found = {"graphs": identity(mode), "breaks": breaks}
        tuned = counters()["inductor"]["select_algorithm_autotune"]
        if tuned:
            found["tuned"] = tuned
        by_cpp = sum(hasattr(sys.modules[name], _CPP_SOURCE) for name in _generated())
        if by_cpp:
            found["cpp_wrappers"] = by_cpp
        return found
    return {}


def counters() -> Mapping[str, Mapping[str, int]]:
    """Return what PyTorch's compiler has counted in this process.

    The compiler is not imported for that: it takes a second, and most processes compile nothing.
    """
    compiler = sys.modules.get("torch._dynamo.utils")
    return defaultdict(Counter) if compiler is None else compiler.counters


def compiled() -> int:
    """Return how many graphs were compiled in this process, by whatever backend."""
    return counters()["aot_autograd"]["total"]


def is_compiled(module: torch.nn.Module) -> bool:
    """Return whether it is what `torch.compile` returns for a module."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(module, compiler.OptimizedModule)


def identity(mode: Mode) -> object:
    """Return a value that changes when the model is compiled again; None in eager mode."""
    if mode is Mode.TORCHSCRIPT:
        return hash(_script_graph())
    if mode is Mode.COMPILE:
        return counters()["stats"]["unique_graphs"]
    return None


def forget() -> None:
    """Release all compiled code of this process, and the packed weights that it holds.

    Inductor keeps each generated module with its constants (70 MB of weights for the inspector)
    under a name in `sys.modules`.
    """
    if (compiler := sys.modules.get("torch._dynamo.utils")) is None:
        return  # nothing was compiled
    torch.compiler.reset()
    compiler.counters.clear()
    if "torch._inductor.codecache" in sys.modules:
        from torch._inductor.codecache import PyCodeCache

        PyCodeCache.cache_clear()
        for name in _generated():
            del sys.modules[name]


def _generated() -> list[str]:
    """Return the names of the modules that Inductor has generated."""
    return [name for name in sys.modules if name.startswith(_GENERATED)]


def _script_graph() -> str:
    return str(torch.jit.last_executed_optimized_graph())  # type: ignore[attr-defined] # not in __all__
