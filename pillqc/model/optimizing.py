"""Optimise a model for training with IPEX, and convert it back to plain weights.

    running, optimizer = ipex_optimize(torch.bfloat16)(model, optimizer)
    model.load_state_dict(plain_state(model, running))

Load weights and the optimizer's state before the optimisation: IPEX accepts them afterwards, too,
and computes garbage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from torch import Tensor

Optimize = Callable[[nn.Module, torch.optim.Optimizer], tuple[nn.Module, torch.optim.Optimizer]]
"""Replaces a model in training mode and its optimizer by faster ones, before the first step."""


def load_ipex(dtype: torch.dtype, *, instead: str) -> Any:  # noqa: ANN401 - it ships no types
    """Import Intel Extension for PyTorch, which changes PyTorch, for computing in that dtype.

    Raises:
        PillqcError: it is not installed, was built for another PyTorch, or does not support the
            dtype on this CPU; the sentence ends with what to do `instead`.
    """
    try:
        import intel_extension_for_pytorch as ipex
    except (ImportError, SystemExit, AttributeError) as error:
        # with another version of torch its import prints a line and raises one of these
        raise PillqcError(
            f"intel-extension-for-pytorch cannot be used ({error}); {instead}"
        ) from error
    if dtype is torch.bfloat16 and not ipex._C.onednn_has_bf16_support():  # noqa: SLF001 - there is no public function
        raise PillqcError(f"intel-extension-for-pytorch has no bf16 on this CPU; {instead} or fp32")
    return ipex


def ipex_optimize(dtype: torch.dtype = torch.float32) -> Optimize:
    """Return a function that calls `ipex.optimize` for training, as the tutorial does."""

    def optimize(
        model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        ipex = load_ipex(dtype, instead="train with --backend stock")
        optimized: tuple[nn.Module, torch.optim.Optimizer] = ipex.optimize(
            model.train(), optimizer=optimizer, dtype=dtype
        )
        return optimized

    return optimize


def replaced_layers(model: nn.Module) -> int:
    """Count the layers that are IPEX's: they prove that optimising had an effect."""
    return sum(type(module).__name__.startswith("_IPEX") for module in model.modules())


def plain_state(model: nn.Module, running: nn.Module) -> dict[str, Tensor]:
    """Return the weights of `running` with the names and layout of the plain model."""
    learnt = running.state_dict()
    names = model.state_dict().keys()
    missing = names - learnt.keys()
    if missing:
        raise PillqcError(f"the optimised model lost {min(missing)}; train without it")
    return {
        name: (learnt[name].float() if learnt[name].is_floating_point() else learnt[name])
        .detach()
        .contiguous()
        .clone()
        for name in names
    }


def trained_state(model: nn.Module, running: nn.Module) -> dict[str, Tensor]:
    """Return the part of `plain_state` that training changes."""
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    return {name: value for name, value in plain_state(model, running).items() if name in trains}
