"""Count the floating point operations of a call; a multiplication with an addition is two.

    with operations() as counter:
        model(images)
    counter.get_total_flops()

Those of convolutions and products count, as kernels do them. PyTorch's counter alone errs:

- It takes a convolution's padding for input. Libraries skip it, and where a kernel reaches far
  beyond a small input (dilation 24 on 16 pixels, three frames of which one exists) it is most of
  the nominal work: such a call would seem to run above the machine's peak.
- It takes operators that it does not know for no work at all: attention and recurrent layers are
  one such operator each on a CPU.
"""

from __future__ import annotations

from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_LIBRARIES = ("aten", "prim", "profiler", "torchvision")
"""Those whose operators are known."""
_WITHOUT_FORMULA = (
    "aten::_cdist_forward",
    "aten::_native_multi_head_attention",
    "aten::_transformer_encoder_layer_fwd",
    "aten::_trilinear",
    "aten::_weight_int4pack_mm_for_cpu",
    "aten::_weight_int8pack_mm",
    "aten::conv_tbc",
    "torchvision::deform_conv2d",
)
"""Their operators that multiply, and that nothing here counts."""


@contextmanager
def operations() -> Iterator[FlopCounterMode]:
    """Count the operations of what is called within it; attention takes no fast path there.

    Raises:
        NotImplementedError: an operator cannot be counted, so the sum would be wrong.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _Countable(), counter:  # type: ignore[no-untyped-call] # PyTorch's
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


class _Countable(TorchDispatchMode):
    """Lets through what can be counted; it sees what the counter inside it has taken apart."""

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - PyTorch's
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - PyTorch's
        """Call the operator.

        Raises:
            NotImplementedError: it multiplies, or may, and has no formula.
        """
        name = func.name().partition(".")[0]
        known = func.namespace in _LIBRARIES and name not in _WITHOUT_FORMULA
        if not known or any(map(_is_sparse, args)):
            raise NotImplementedError(f"the operations of {name} cannot be counted")
        return func(*args, **(kwargs or {}))


def _is_sparse(argument: object) -> bool:
    """Return whether it is a tensor with values left out, which PyTorch counts as if there."""
    return isinstance(argument, torch.Tensor) and argument.layout is not torch.strided


def _formulas() -> dict[Any, Callable[..., int]]:
    """Return the formulas that PyTorch has not, or has otherwise, by operator.

    Not every PyTorch has every operator.
    """
    aten = torch.ops.aten
    by_name: dict[str, Callable[..., int]] = {
        "convolution": _forward,
        "convolution_backward": _backward,
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "mkldnn_rnn_layer": _recurrent,
        "dot": _product,
        "vdot": _product,
        "mv": _product,
        "_int_mm": _product,
        "addmv": _added_product,
        "addbmm": _added_product,
        "_addmm_activation": _added_product,
    }
    return {getattr(aten, name): by_name[name] for name in by_name if hasattr(aten, name)}


def _attention(
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    _dropout: float = 0.0,
    is_causal: bool = False,
    **_: object,
) -> int:
    """Return twice the products of queries with keys, and of what they give with values.

    A causal query meets no later key, and the kernel skips those.
    """
    *heads, queries, width = map(int, query)
    keys = int(key[-2])
    met = sum(min(number + 1, keys) if is_causal else keys for number in range(queries))
    return 2 * prod(heads) * met * (width + int(value[-1]))


def _recurrent(
    x: Sequence[int], weight: Sequence[int], recurrent: Sequence[int], *_: object, **__: object
) -> int:
    """Return twice the products of one layer in one direction; `x` is (time, batch, width)."""
    return 2 * int(x[0]) * int(x[1]) * (prod(map(int, weight)) + prod(map(int, recurrent)))


def _product(left: Sequence[int], right: Sequence[int], *_: object, **__: object) -> int:
    """Return twice the products of matrices, or of a matrix or vector with a vector."""
    columns = int(right[-1]) if len(right) > 1 else 1
    return 2 * prod(map(int, left)) * columns


def _added_product(
    _sum: object, left: Sequence[int], right: Sequence[int], *_: object, **__: object
) -> int:
    """Count a product that is added to something."""
    return _product(left, right)


def _forward(
    x: Sequence[int],
    weight: Sequence[int],
    _bias: object,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    *_: object,
    out_shape: Sequence[int],
    **__: object,
) -> int:  # more than 8 parameters: as PyTorch passes them
    """Return twice the products of a weight with an input that exists.

    `weight` is (output channels, input channels of a group, *kernel), for a transposed convolution
    (input channels, output channels of a group, *kernel), which scatters each input.
    """
    moved, limits = (x[2:], out_shape[2:]) if transposed else (out_shape[2:], x[2:])
    kernel = weight[2:]
    steps = (_each(values, kernel) for values in (stride, padding, dilation))
    places = prod(_inside(*sizes) for sizes in zip(moved, limits, kernel, *steps, strict=True))
    return 2 * int(x[0]) * int(weight[0]) * int(weight[1]) * places


def _backward(grad_out: Sequence[int], *forward: Any, **_: object) -> int:  # noqa: ANN401 - PyTorch's
    """Count the gradients of input and weight: each multiplies what the forward pass did.

    `forward` are the forward pass's arguments and, last, which gradients are wanted.
    """
    *arguments, wanted = forward
    gradients = sum(map(bool, wanted[:2]))
    return gradients * _forward(*arguments, out_shape=grad_out)


def _inside(moved: int, limit: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Count the pairs of position and tap of one dimension that lie within the limit."""

    def before(end: int, tap: int) -> int:
        """Return how many positions at the start lie before `end`."""
        reached = -((tap * dilation - padding - end) // stride)  # rounded up
        return min(max(reached, 0), moved)

    return sum(before(limit, tap) - before(0, tap) for tap in range(kernel))


def _each(steps: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Return a step for each dimension: one value may stand for all."""
    return [*steps] * (len(kernel) if len(steps) == 1 else 1)
