"""What the optional backends share: an import that says how to get it, and what they can run.

Each compiles the whole model by itself, for inference, from contiguous inputs, and takes and gives
arrays where PyTorch has tensors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task

if TYPE_CHECKING:
    from collections.abc import Collection


def load(module: str, name: str, *, extra: str = "") -> None:
    """Import a package; its extra is called as its module is, unless it is told.

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
    """Refuse what such a backend does not do.

    Raises:
        NotImplementedError: another task, mode, layout or dtype.
    """
    if scenario.task is Task.TRAINING:
        raise NotImplementedError(f"{name} is for inference: it does not train")
    if scenario.mode is not Mode.COMPILE or scenario.layout is not Layout.CONTIGUOUS:
        raise NotImplementedError(f"{name} compiles, from contiguous inputs, and has no other way")
    if scenario.dtype not in dtypes:
        raise NotImplementedError(f"{scenario.dtype} by {name} is not built")


def as_model_gives(results: list[Any]) -> Any:  # noqa: ANN401 - as many as the model has
    """Arrays as the model's outputs: one as it is, several as a tuple."""
    tensors = tuple(torch.from_numpy(result) for result in results)
    return tensors[0] if len(tensors) == 1 else tensors
