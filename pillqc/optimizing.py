"""Optional faster forms of a model while it trains, and the way back to plain weights.

    running, optimizer = ipex_optimize(torch.bfloat16)(model, optimizer)
    model.load_state_dict(plain_state(model, running))

Load weights and the optimizer's state before, never after: IPEX accepts them then and computes
garbage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from torch import Tensor

Optimize = Callable[[nn.Module, torch.optim.Optimizer], tuple[nn.Module, torch.optim.Optimizer]]
"""Turns a model in training mode and its optimizer into faster ones, before the first step."""


def ipex_optimize(dtype: torch.dtype = torch.float32) -> Optimize:
    """`ipex.optimize(model=..., optimizer=..., dtype=...)`, as the tutorial calls it."""

    def optimize(
        model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        try:
            import intel_extension_for_pytorch as ipex
        except (ImportError, SystemExit, AttributeError) as error:
            # on a mismatch with torch its import prints a line and calls what does not exist
            raise PillqcError(
                f"intel-extension-for-pytorch cannot be used here ({error}); "
                "train with --backend stock"
            ) from error
        optimized: tuple[nn.Module, torch.optim.Optimizer] = ipex.optimize(
            model.train(), optimizer=optimizer, dtype=dtype
        )
        return optimized

    return optimize


def replaced_layers(model: nn.Module, running: nn.Module) -> int:
    """How many layers an optimised copy has of IPEX's; 0 means that nothing was optimised."""
    if running is model:
        return 0
    return sum(1 for m in running.modules() if type(m).__name__.startswith("_IPEX"))


def plain_state(model: nn.Module, running: nn.Module) -> dict[str, Tensor]:
    """What `running` has learnt, under the names and in the layout of the plain model."""
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
    """The part of `plain_state` that training changes."""
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    return {name: value for name, value in plain_state(model, running).items() if name in trains}
