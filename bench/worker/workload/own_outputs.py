"""Flatten the outputs of a user's model, tensors in any nesting, into one tuple of tensors.

flatten({"map": a, "boxes": [b, None], "unit": "mm"}, "shop.model:load")       # (a, b)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from bench.errors import BenchError
from bench.worker.workload.users_code import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.worker.workload.inputs import Inputs

_SKIPPED = (str, bytes, int, float, complex, type(None))
"""They stand beside tensors: names, sizes, a loss that is absent."""


class Flat(torch.nn.Module):
    """A model whose nested outputs come as one tuple of tensors, to be traced and compiled."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Inputs) -> tuple[torch.Tensor, ...]:
        """Return the output tensors in order."""
        return flatten(self.inner(images), "the model")


def flatten(result: object, name: str) -> tuple[torch.Tensor, ...]:
    """Return every tensor of a result in order; None, texts and plain numbers are skipped.

    Raises:
        BenchError: there is no tensor, or something else than tensors and their containers.
    """
    found = tuple(_tensors(result, name))
    if not found:
        raise _no_outputs(result, name)
    return found


def _tensors(result: object, name: str) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result
    elif not isinstance(result, _SKIPPED):
        for part in _parts(result, name):
            yield from _tensors(part, name)


def _parts(result: object, name: str) -> Sequence[object]:
    if isinstance(result, Mapping):
        return tuple(result.values())
    if isinstance(result, (tuple, list)):
        return result
    if hasattr(result, "__dataclass_fields__"):
        return [getattr(result, field) for field in result.__dataclass_fields__]
    raise _no_outputs(result, name)


def _no_outputs(result: object, name: str) -> BenchError:
    kind = kind_of(result)
    hint = "; `use_cache=False` in a configuration of transformers leaves it out"
    return BenchError(
        f"--model {name} returned {kind}: its outputs must be a tensor, or a tuple, list, dict or "
        f"dataclass with tensors in it{hint if kind.endswith('Cache') else ''}"
    )


def refuse_incomparable(outputs: Sequence[torch.Tensor], name: str) -> None:
    """Refuse outputs in which no difference could be seen.

    Raises:
        BenchError: a tensor is sparse, nested or quantised, or holds NaN.
    """
    for tensor in outputs:
        if not is_dense(tensor):
            raise BenchError(
                f"--model {name} returned a sparse, nested or quantised tensor, whose numbers "
                "cannot be compared: return `to_dense()`, `to_padded_tensor(0)` or `dequantize()`"
            )
        if tensor.isnan().any():
            raise BenchError(
                f"--model {name} returned NaN for these inputs, and NaN differs from everything: "
                "give it inputs that it can work on (--inputs)"
            )


def is_dense(tensor: torch.Tensor) -> bool:
    """Return whether the tensor is an array of plain numbers."""
    odd = tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized
    return not odd


def full_precision(tensor: torch.Tensor) -> torch.Tensor:
    """Return bf16 and fp16 as fp32, which NumPy has."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def container_of(result: object) -> str:
    """Return `mapping`, `dataclass` or `nested` for outputs that are no tuple of tensors."""
    if isinstance(result, Mapping):
        return "mapping"
    return "dataclass" if hasattr(result, "__dataclass_fields__") else "nested"
