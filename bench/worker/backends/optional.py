"""Functions that the optional backends share.

Each of these backends compiles the whole model for inference from contiguous inputs, and takes and
returns arrays instead of tensors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task

if TYPE_CHECKING:
    from collections.abc import Collection


def load(module: str, name: str, *, extra: str = "") -> None:
    """Import a package; the extra that installs it is called as its module is, unless given.

    Raises:
        ImportError: it is not installed.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{name} is not installed: `pip install 'pillqc-bench[{extra or module}]'`"
        ) from error


def check(scenario: Scenario, name: str, dtypes: Collection[Dtype]) -> None:
    """Check that such a backend can run the scenario.

    Raises:
        NotImplementedError: it cannot run this task, mode, layout or dtype.
    """
    if scenario.task is Task.TRAINING:
        raise NotImplementedError(f"{name} is for inference: it does not train")
    if scenario.mode is not Mode.COMPILE or scenario.layout is not Layout.CONTIGUOUS:
        raise NotImplementedError(f"{name} compiles from contiguous inputs and has no other way")
    if scenario.dtype not in dtypes:
        raise NotImplementedError(f"this backend does not run {name} in {scenario.dtype}")


def as_tensors(results: list[Any]) -> Any:  # noqa: ANN401 - as many as the model has
    """Convert one array to a tensor, or several to a tuple."""
    tensors = tuple(torch.from_numpy(result) for result in results)
    return tensors[0] if len(tensors) == 1 else tensors
