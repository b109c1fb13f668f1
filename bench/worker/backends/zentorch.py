"""Run the model with zentorch, AMD's counterpart: `pip install 'pillqc-bench[zentorch]'`.

It is a backend of `torch.compile`, set up as AMD documents it: `dynamic=False`, Inductor's freezing
(`zentorch.freezing_enabled()` is deprecated since 2.14.0.1). It puts operators of AMD's library
ZenDNN into the graph and leaves the rest of it to Inductor. Those have `zentorch::` before their
name in a profile of one call, so the profile shows what it replaced; PyTorch's oneDNN logs what it
did not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile

from bench.machine.cpu import read_cpu
from bench.plan.scenario import Dtype, Layout, Mode
from bench.worker import graphs
from bench.worker.backends import Prepared, optional
from bench.worker.backends.stock import compiled, compute_dtype, hold_weights_in, lay_out, verbose

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.plan.scenario import Scenario
    from bench.worker.workload.inputs import Inputs

__all__ = ["IMPORTS", "load", "prepare", "verbose"]

IMPORTS: tuple[str, ...] = ("zentorch",)
_NAME = "zentorch"
_AMD = "AuthenticAMD"


def load() -> None:
    """Import zentorch, which registers its backend.

    Raises:
        ImportError: it is not installed, does not fit this PyTorch, or this CPU is not AMD's.
    """
    optional.load("zentorch", _NAME)
    vendor = read_cpu(Path("/")).vendor
    if vendor != _AMD:
        raise ImportError(f"zentorch is made for AMD's CPUs, and this one is of {vendor}")


def prepare(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    optimizer: torch.optim.Optimizer | None = None,  # noqa: ARG001 - `Backend` has it
) -> Prepared:
    """Set the model up as stock's compiled mode does, for zentorch's compiler.

    Raises:
        NotImplementedError: zentorch does not run this task, mode, layout or dtype.
    """
    optional.check(scenario, _NAME, (Dtype.FP32, Dtype.BF16), layout=Layout.CHANNELS_LAST)
    dtype = compute_dtype(scenario)
    lay_out(model.eval(), scenario.layout)
    if dtype is not None:
        hold_weights_in(model, dtype)
    prepared = Prepared(model=compiled(model, "zentorch", freezing=True), autocast=dtype)

    def evidence() -> dict[str, Any]:
        nodes = executed(lambda: prepared(example))
        return {**graphs.evidence(Mode.COMPILE), "nodes": nodes}

    return replace(prepared, evidence=evidence)


def executed(call: Callable[[], object]) -> dict[str, int]:
    """Count the operators that one call runs, without those that they run themselves."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as profiled:
        call()
    ran = Counter(event.name for event in profiled.events() or () if _is_outermost(event))
    return dict(sorted(ran.items()))


def _is_outermost(event: Any) -> bool:  # noqa: ANN401 - the profiler's events have no types
    """Return whether the event is an operator that no other operator called."""
    parent = event.cpu_parent
    while parent is not None and "::" not in parent.name:
        parent = parent.cpu_parent
    return "::" in event.name and parent is None
