"""What a user's module may do that would be timed, or blamed on a backend, as something else.

made = at_rest(made)                    # in eval mode, whatever its `train` does
refuse_unlike(made, "shop.model:load")  # what every scenario would run under a wrong label
refuse_unsteady(made, images, name)     # what gives other outputs call by call
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch._dynamo.eval_frame import OptimizedModule

from bench.errors import BenchError
from bench.worker.workload.inputs import tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.worker.workload.inputs import Inputs

_RANDOM = 1e-3
"""Share of an output's largest value that sums in another order never make up."""


def at_rest(made: torch.nn.Module) -> torch.nn.Module:
    """The module in eval mode, where `eval` and `train` do what PyTorch's do from now on.

    A class may have a method `train` that is a training loop, or a switch that returns nothing;
    `eval`, which everybody calls, calls it.
    """
    kinds = {type(part) for part in made.modules()}
    if not all(_is_switch(kind) for kind in kinds):
        made.train = partial(_set_mode, made)  # type: ignore[method-assign] # the point of it
    elif type(made).train is not torch.nn.Module.train:
        made.train = partial(_switched, made)  # type: ignore[method-assign] # as above
    return made.eval()


def _is_switch(kind: type[torch.nn.Module]) -> bool:
    """Whether its `train` takes the mode alone."""
    if kind.train is torch.nn.Module.train:
        return True
    try:
        _itself, *parameters = inspect.signature(kind.train).parameters.values()
    except ValueError:
        return False
    return len(parameters) == 1 and (
        parameters[0].name == "mode" or isinstance(parameters[0].default, bool)
    )


def _set_mode(made: torch.nn.Module, mode: bool = True) -> torch.nn.Module:
    for part in made.modules():
        part.training = mode
    return made


def _switched(made: torch.nn.Module, mode: bool = True) -> torch.nn.Module:
    type(made).train(made, mode)
    return made


def refuse_unlike(made: torch.nn.Module, name: str) -> None:
    """Refuse a module that is something else already than what scenarios make of it.

    Raises:
        BenchError: it was scripted, traced or compiled, or holds weights of another type than fp32.
    """
    done = {torch.jit.ScriptModule: "TorchScript", OptimizedModule: "compiled"}
    for kind, what in done.items():
        if any(isinstance(part, kind) for part in made.modules()):
            raise BenchError(
                f"--model {name} is {what} already, so that nothing would be timed as it is: "
                "return the plain module, scenarios script and compile it themselves"
            )
    others = {weight.dtype for weight in made.parameters() if weight.is_floating_point()}
    others -= {torch.float32}
    if others:
        kinds = ", ".join(sorted(str(dtype) for dtype in others))
        raise BenchError(
            f"--model {name} holds weights in {kinds}, which would run as fp32: return it in "
            "torch.float32 (`model.float()`), scenarios choose the type themselves"
        )


def refuse_unsteady(
    call: Callable[[Inputs], Sequence[torch.Tensor]], images: Inputs, name: str
) -> None:
    """Refuse a module whose outputs cannot be compared with those of its next call.

    Raises:
        BenchError: it changes its input, or the same input gives other outputs.
    """
    before = [tensor.clone() for tensor in tensors_of(images)]
    first = [tensor.clone() for tensor in call(images)]
    if not all(torch.equal(one, two) for one, two in zip(tensors_of(images), before, strict=True)):
        raise BenchError(
            f"--model {name} changes its input in place, and the same tensor goes into every call: "
            "let `forward` begin with a copy (`x = x.clone()`)"
        )
    second = call(images)
    same = len(first) == len(second)
    if not (same and all(_agree(one, two) for one, two in zip(first, second, strict=True))):
        raise BenchError(
            f"--model {name} gives other outputs for the same input at every call, in eval mode "
            "too, so that no way of running it could be told right from wrong: take out what is "
            "random (dropout is for training), or what it keeps from call to call"
        )


def _agree(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, two)
    scale = float(one.nan_to_num(0, 0, 0).abs().max()) if one.numel() else 0.0
    return torch.allclose(one, two, rtol=0, atol=_RANDOM * scale, equal_nan=True)


@contextmanager
def switches_kept(option: str, path: str) -> Iterator[None]:
    """The user's code inside must leave PyTorch's switches as they are.

    Raises:
        BenchError: it changed one, so that all scenarios would run under it and none says so.
    """
    before = _switches()
    yield
    changed = [name for name, value in _switches().items() if value != before[name]]
    if changed:
        raise BenchError(
            f"{option} {path} changed {' and '.join(changed)} for the whole process: leave that "
            "out, every worker gets its settings from here (`--threads`, `--vary`)"
        )


def _switches() -> dict[str, object]:
    return {
        "the number of threads": torch.get_num_threads(),
        "whether oneDNN is used": torch.backends.mkldnn.enabled,
        "the default type": torch.get_default_dtype(),
        "whether gradients are kept": torch.is_grad_enabled(),
        "which algorithms are allowed": torch.are_deterministic_algorithms_enabled(),
    }
