"""What a user's model takes: any nesting of tensors, by place and by keyword, as one argument.

    inputs, call = arranged((tokens, {"mask": mask}))     # a tuple of tensors, and how to pass them
    Takes(module, call)(inputs)                           # module(tokens, mask=mask)

Tracing, compiling and measuring know models of one argument: a tensor, or a tuple of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
"""What every prepared model is given."""
_PAIR = 2


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in the tuple."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Call:
    """How a model is called: what it is given, with places where tensors belong."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether it takes one tensor and nothing else."""
        return self.args == (Place(0),) and not self.kwargs

    def holds(self, size: int) -> bool:
        """Whether a list or tuple in it has that length: a batch may be one of tensors."""
        return any(_holds(part, size) for part in (*self.args, *self.kwargs.values()))


def only_tensor(inputs: Inputs, what: str) -> torch.Tensor:
    """The tensor, for what takes one alone.

    Raises:
        NotImplementedError: there are several.
    """
    if isinstance(inputs, tuple):
        raise NotImplementedError(f"{what} takes one tensor here, and the model takes several")
    return inputs


def tensors_of(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """All tensors of it."""
    return inputs if isinstance(inputs, tuple) else (inputs,)


def arranged(given: object) -> tuple[tuple[torch.Tensor, ...], Call]:
    """The tensors in order and the call that they belong to.

    A tuple is passed by place, a mapping by keyword, a tuple of a tuple and a mapping by both, and
    anything else as the only argument. Lists, tuples and mappings in it may hold tensors; whatever
    else they hold is passed as it is.
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


class Takes(torch.nn.Module):
    """A model that is given one tuple of tensors and calls the user's own as that is called."""

    def __init__(self, inner: torch.nn.Module, call: Call) -> None:
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, inputs: Inputs) -> Any:  # noqa: ANN401 - whatever the user's model gives
        """The user's model, called in its own way."""
        args = [_filled(arg, inputs) for arg in self.call.args]
        return self.inner(*args, **{n: _filled(v, inputs) for n, v in self.call.kwargs.items()})


def _taken(value: object, tensors: list[torch.Tensor]) -> object:
    """The value with places for its tensors, which are added to the list."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return Place(len(tensors) - 1)
    if isinstance(value, Mapping):
        return {name: _taken(part, tensors) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_taken(part, tensors) for part in value])
    return value


def _filled(value: Any, inputs: Inputs) -> Any:  # noqa: ANN401 - of any nesting
    """The value with tensors in their places."""
    if isinstance(value, Place):
        return inputs[value.number]
    if isinstance(value, dict):
        return {name: _filled(part, inputs) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_filled(part, inputs) for part in value])
    return value


def _holds(value: object, size: int) -> bool:
    if isinstance(value, dict):
        return any(_holds(part, size) for part in value.values())
    if isinstance(value, (list, tuple)):
        return len(value) == size or any(_holds(part, size) for part in value)
    return False
