"""Share functions among the optional backends.

Each of these backends compiles the whole model for inference. Those that are no compiler of PyTorch
take and return arrays instead of tensors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch

from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray


def load(module: str, name: str, *, extra: str = "") -> None:
    """Import a package; the extra that installs it is called as its module is, unless given.

    Raises:
        ImportError: it is not installed, or cannot be imported here.
    """
    try:
        importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            reason = f"{name} is not installed: `pip install 'pillqc-bench[{extra or module}]'`"
        else:
            reason = f"{name} could not be imported: {type(error).__name__}: {error}"
        raise ImportError(reason) from error


def check(
    scenario: Scenario,
    name: str,
    dtypes: Collection[Dtype],
    *,
    layout: Layout = Layout.CONTIGUOUS,
) -> None:
    """Check that such a backend can run the scenario.

    Raises:
        NotImplementedError: it cannot run this task, mode, layout or dtype.
    """
    if scenario.task is Task.TRAINING:
        raise NotImplementedError(f"{name} is for inference: it does not train")
    if scenario.mode is not Mode.COMPILE or scenario.layout is not layout:
        raise NotImplementedError(f"{name} compiles from {layout} inputs and has no other way")
    if scenario.dtype not in dtypes:
        raise NotImplementedError(f"this backend does not run {name} in {scenario.dtype}")


class ArrayModel(torch.nn.Module):
    """A function of arrays as a PyTorch module; it returns one tensor, or several as a tuple."""

    def __init__(self, run: Callable[[NDArray[Any]], list[NDArray[Any]]]) -> None:
        super().__init__()
        self._run = run

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Run the function on the images."""
        tensors = tuple(torch.from_numpy(result) for result in self._run(images.numpy()))
        return tensors[0] if len(tensors) == 1 else tensors
