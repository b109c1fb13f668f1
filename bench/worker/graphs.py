"""The graphs that PyTorch has compiled in this process: read them, compare them, release them."""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch._dynamo.utils as dynamo

from bench.plan.scenario import Mode
from bench.worker import kernels

_GENERATED = "torch._inductor.runtime.compile_tasks."


def evidence(mode: Mode) -> dict[str, Any]:
    """Return fused nodes (TorchScript), or the number of graphs and their breaks (compile)."""
    if mode is Mode.TORCHSCRIPT:
        return {"nodes": kernels.graph_nodes(_script_graph())}
    if mode is Mode.COMPILE:
        breaks = sum(dynamo.counters["graph_break"].values())
        return {"graphs": identity(mode), "breaks": breaks}
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
        for name in [name for name in sys.modules if name.startswith(_GENERATED)]:
            del sys.modules[name]


def _script_graph() -> str:
    return str(torch.jit.last_executed_optimized_graph())  # type: ignore[attr-defined] # not in __all__
