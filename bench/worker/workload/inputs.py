"""Arrange a model's inputs: one tensor, or any nesting of tensors, by position and by keyword.

    inputs, call = arranged((tokens, {"mask": mask}))     # a tuple of tensors, and how to pass them
    AdaptedModel(module, call)(inputs)                    # module(tokens, mask=mask)

Tracing, compiling and measuring need models of one argument: a tensor, or a tuple of tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, overload

import torch

from bench.plan.scenario import Layout
from bench.worker.backends.stock import CHANNELS_LAST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
"""The argument of every prepared model."""
_PAIR = 2


@dataclass(frozen=True)
class Place:
    """The place of a tensor in the tuple."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of a model, with a `Place` for each tensor."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether the model takes one tensor and nothing else."""
        return self.args == (Place(0),) and not self.kwargs

    def holds(self, size: int) -> bool:
        """Return whether a list or tuple has that length: a batch may be a list of tensors."""
        return any(_holds(part, size) for part in (*self.args, *self.kwargs.values()))


def only_tensor(inputs: Inputs, what: str) -> torch.Tensor:
    """Return the tensor, for a backend or model that takes only one.

    Raises:
        NotImplementedError: there are several.
    """
    if isinstance(inputs, tuple):
        raise NotImplementedError(f"{what} can take one tensor only, and the model takes several")
    return inputs


def tensors_of(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """Return the tensors as a tuple."""
    return inputs if isinstance(inputs, tuple) else (inputs,)


def same_values(one: Inputs, other: Inputs) -> bool:
    """Return whether all tensors have equal shapes and values, with NaN in the same places."""
    pairs = zip(tensors_of(one), tensors_of(other), strict=True)
    return all(left.shape == right.shape and _equal(left, right) for left, right in pairs)


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    return bool(((left == right) | (left.isnan() & right.isnan())).all())


@overload
def in_layout(images: torch.Tensor, layout: Layout) -> torch.Tensor: ...
@overload
def in_layout(images: Inputs, layout: Layout) -> Inputs: ...
def in_layout(images: Inputs, layout: Layout) -> Inputs:
    """Return images and volumes in the scenario's memory layout, other tensors contiguous."""
    if isinstance(images, tuple):
        return tuple(in_layout(one, layout) for one in images)
    known = CHANNELS_LAST if layout is Layout.CHANNELS_LAST else {}
    return images.contiguous(memory_format=known.get(images.dim(), torch.contiguous_format))


def arranged(given: object) -> tuple[tuple[torch.Tensor, ...], Call]:
    """Return the tensors in order, and the call that they belong to.

    A tuple is passed by position, a mapping by keyword, a tuple of a tuple and a mapping by both,
    and anything else as the only argument. Lists, tuples and mappings inside may hold tensors;
    other values are passed unchanged.
    """
    tensors: list[torch.Tensor] = []
    args: Sequence[object] = (given,)
    kwargs: Mapping[str, object] = {}
    if isinstance(given, Mapping):
        args, kwargs = (), given
    elif isinstance(given, tuple):
        both = len(given) == _PAIR and isinstance(given[0], tuple) and isinstance(given[1], Mapping)
        args, kwargs = given if both else (given, {})
    call = Call(
        args=tuple(_taken(arg, tensors) for arg in args),
        kwargs={str(name): _taken(value, tensors) for name, value in kwargs.items()},
    )
    return tuple(tensors), call


class AdaptedModel(torch.nn.Module):
    """A user's model as one that takes a single tuple of tensors."""

    def __init__(self, inner: torch.nn.Module, call: Call) -> None:
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, inputs: Inputs) -> Any:  # noqa: ANN401 - whatever the user's model gives
        """Call the user's model with its own arguments."""
        args = [_filled(arg, inputs) for arg in self.call.args]
        return self.inner(*args, **{n: _filled(v, inputs) for n, v in self.call.kwargs.items()})


def _taken(value: object, tensors: list[torch.Tensor]) -> object:
    """Return the value with places for its tensors, which are appended to the list."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return Place(len(tensors) - 1)
    if isinstance(value, Mapping):
        return {name: _taken(part, tensors) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return _as(value, [_taken(part, tensors) for part in value])
    return value


def _filled(value: Any, inputs: Inputs) -> Any:  # noqa: ANN401 - of any nesting
    """Return the value with tensors in their places."""
    if isinstance(value, Place):
        return inputs[value.number]
    if isinstance(value, dict):
        return {name: _filled(part, inputs) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return _as(value, [_filled(part, inputs) for part in value])
    return value


def _holds(value: object, size: int) -> bool:
    if isinstance(value, dict):
        return any(_holds(part, size) for part in value.values())
    if isinstance(value, (list, tuple)):
        return len(value) == size or any(_holds(part, size) for part in value)
    return False


def is_batch(tensors: Sequence[torch.Tensor], of_one: Sequence[torch.Tensor], size: int) -> bool:
    """Return whether some dimension is `size` times as long as in the inputs for one item.

    It need not be the first: recurrent layers have the time before it, and graphs count nodes.
    """
    return any(
        length == size * single != 0
        for tensor, other in zip(tensors, of_one, strict=False)
        for length, single in zip(tensor.shape, other.shape, strict=False)
    )


def mapped(value: object, change: Callable[[torch.Tensor], torch.Tensor]) -> object:
    """Return a copy of any nesting of tensors with each tensor changed, in order.

    Containers, mappings and dataclasses keep their types; other values are passed unchanged.
    """
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        parts = {name: mapped(part, change) for name, part in value.items()}
        if not isinstance(value, MutableMapping):
            return parts
        again = copy.copy(value)
        for name, part in parts.items():
            again[name] = part
        return again
    if isinstance(value, (list, tuple)):
        return _as(value, [mapped(part, change) for part in value])
    if is_dataclass(value) and not isinstance(value, type):
        found = copy.copy(value)
        for field in fields(value):
            part = mapped(getattr(value, field.name), change)
            object.__setattr__(found, field.name, part)  # frozen ones too
        return found
    return value


def _as(value: Any, parts: list[Any]) -> Any:  # noqa: ANN401 - a list, a tuple or a named tuple
    """Return the parts in a container of the value's type."""
    return value._make(parts) if hasattr(value, "_make") else type(value)(parts)
