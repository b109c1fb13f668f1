"""Refuse a user's module that would be timed, or blamed on a backend, as something else.

made = in_eval_mode(made)                       # also if its `train` does something else
refuse_converted(made, "shop.model:load")       # it would run under a wrong label
refuse_changing_outputs(made, images, name)     # its outputs could not be compared
"""

from __future__ import annotations

import copy
import inspect
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen

from bench.errors import BenchError
from bench.worker import fpmath, graphs
from bench.worker.workload.inputs import same_values, tensors_of
from bench.worker.workload.operations import operations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.worker.workload.inputs import Inputs

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
"""Packages of modules that hold quantised weights."""
_COMPARED_VALUES = 16
"""Of each weight, to tell random weights from loaded ones."""
_RANDOM = 1e-3
"""A share of an output's largest value that rounding in another order cannot reach."""


def in_eval_mode(made: torch.nn.Module) -> torch.nn.Module:
    """Put the module in eval mode, and make its `eval` and `train` set the mode and return it.

    A class may define `train` as a training loop, or as a switch that returns nothing, and `eval`
    calls `train`.
    """
    kinds = {type(part) for part in made.modules()}
    if not all(_is_switch(kind) for kind in kinds):
        made.train = partial(_set_mode, made)  # type: ignore[method-assign] # on purpose
    elif type(made).train is not torch.nn.Module.train:
        made.train = partial(_switched, made)  # type: ignore[method-assign] # on purpose
    return made.eval()


def _is_switch(kind: type[torch.nn.Module]) -> bool:
    """Return whether its `train` takes the mode and nothing else."""
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


def refuse_converted(made: torch.nn.Module, name: str) -> None:
    """Refuse a module that has already been converted as only scenarios should.

    Raises:
        BenchError: a part is scripted, traced, exported, compiled or quantised, or holds weights
            that are not fp32.
    """
    for path, part in made.named_modules():
        done = _conversion(part)
        if done is not None:
            where = f" in its part {path}" if path else ""
            raise BenchError(
                f"--model {name} is {done} already{where}, so every scenario would time that: "
                "return the plain module, scenarios convert it themselves"
            )
    others = {weight.dtype for weight in made.parameters() if weight.is_floating_point()}
    others -= {torch.float32}
    if others:
        kinds = ", ".join(sorted(str(dtype) for dtype in others))
        raise BenchError(
            f"--model {name} holds weights in {kinds}, which would run as fp32: return it in "
            "torch.float32 (`model.float()`), scenarios choose the dtype themselves"
        )


def _conversion(part: torch.nn.Module) -> str | None:
    """Return what has been done to a module itself, if anything has."""
    kind = type(part)
    if isinstance(part, torch.jit.ScriptModule):
        return "TorchScript"
    # `compile`, a method of every module, leaves no other trace
    if graphs.is_compiled(part) or part._compiled_call_impl is not None:  # noqa: SLF001
        return "compiled"
    # an export has no train mode; quantised as PyTorch 2 does it, it is one still
    if isinstance(part, GraphModule) and isinstance(part.graph._codegen, _PyTreeCodeGen):  # noqa: SLF001
        return "exported"
    # `FloatFunctional` lies beside the quantised modules and is none
    is_quantised = kind.__module__.startswith(_QUANTISED) and "Float" not in kind.__name__
    return "quantised" if is_quantised else None


@contextmanager
def compiling_refused(name: str) -> Iterator[None]:
    """Refuse a module that calls `torch.compile` on a part of itself, as a decorator does.

    Raises:
        BenchError: a graph was compiled inside.
    """
    before = graphs.compiled()
    yield
    if graphs.compiled() != before:
        raise BenchError(
            f"--model {name} compiles a part of itself with torch.compile, so every scenario would "
            "time that: return the plain module, scenarios compile it themselves"
        )


def refuse_changing_outputs(
    call: Callable[[Inputs], Sequence[torch.Tensor]], images: Inputs, name: str
) -> None:
    """Refuse a module whose next call gives other outputs.

    Raises:
        BenchError: it changes its input, or gives other outputs for the same input.
    """
    before = tuple(tensor.clone() for tensor in tensors_of(images))
    first = [tensor.clone() for tensor in call(images)]
    if not same_values(tensors_of(images), before):
        raise BenchError(
            f"--model {name} changes its input in place, and every call gets the same tensor: "
            "start `forward` with a copy (`x = x.clone()`)"
        )
    second = call(images)
    same = len(first) == len(second)
    if not (same and all(_agree(one, two) for one, two in zip(first, second, strict=True))):
        raise BenchError(
            f"--model {name} gives other outputs for the same input at every call, in eval mode "
            "too, so outputs cannot be compared: remove what is random (dropout is for training) "
            "or what it keeps from call to call"
        )


def _agree(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, two)
    scale = float(one.nan_to_num(0, 0, 0).abs().max()) if one.numel() else 0.0
    return torch.allclose(one, two, rtol=0, atol=_RANDOM * scale, equal_nan=True)


@contextmanager
def settings_kept(option: str, path: str) -> Iterator[None]:
    """Check that the code inside leaves PyTorch's process-wide settings unchanged.

    Raises:
        BenchError: it changed one, which would apply to all scenarios and show in none.
    """
    before = _settings()
    yield
    changed = [name for name, value in _settings().items() if value != before[name]]
    if changed:
        raise BenchError(
            f"{option} {path} changed {' and '.join(changed)} for the whole process: remove "
            "that; options set them for every worker (`--threads`, `--vary`)"
        )


def _settings() -> dict[str, object]:
    return {
        "the number of threads": torch.get_num_threads(),
        "whether oneDNN is used": torch.backends.mkldnn.enabled,
        "what fp32 numbers are multiplied in": fpmath.allowed(),
        "the default type": torch.get_default_dtype(),
        "whether gradients are kept": torch.is_grad_enabled(),
        "which algorithms are allowed": torch.are_deterministic_algorithms_enabled(),
    }


def without_history(made: torch.nn.Module) -> torch.nn.Module:
    """Detach the tensors that modules keep beside their parameters, as old `weight_norm` does.

    Their history cannot be copied, and IPEX gets a copy. `forward` computes them again.
    """
    for part in made.modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                setattr(part, name, value.detach())
    return made


def counted_flop(model: torch.nn.Module, images: Inputs) -> int | None:
    """Count the operations of a call of a copy; None if it fails, or they cannot be counted."""
    shared = {id(parameter): parameter for parameter in model.parameters()}
    try:
        with operations() as counter, torch.no_grad():
            copy.deepcopy(model, shared)(images)
        return int(counter.get_total_flops()) or None
    except Exception:  # noqa: BLE001 - the user's code may do anything; the figure is optional
        return None


def values_of(made: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Return the first values of each weight by its name."""
    return [
        (name, weight.detach().reshape(-1)[:_COMPARED_VALUES].clone())
        for name, weight in made.named_parameters()
    ]
