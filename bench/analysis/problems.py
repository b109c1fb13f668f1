"""Read the arithmetic of one primitive from oneDNN's description of its problem. Pure.

    shape_of(row)      # of a row of kernels.csv: operations, bytes, and what identifies the problem

oneDNN describes a convolution as `mb1_ic3oc64_ih224oh224kh3sh1dh0ph1_iw224ow224kw3sw1dw0pw1`
(images, channels in and out, size in and out, kernel; `g` for groups, `id` for volumes), an inner
product as `mb8ic512oc2`, and a matrix product as `225x512:512x2`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.store.records import KernelRow

    Key = tuple[object, ...]

_NUMBERS = re.compile(r"([a-z]+)(\d+)")
_PRODUCT = re.compile(r"(\d+(?:x\d+)+):(\d+(?:x\d+)+)")
_SIZES = ("id", "ih", "iw"), ("od", "oh", "ow"), ("kd", "kh", "kw")
_BYTES = {"f32": 4, "bf16": 2, "f16": 2, "u8": 1, "s8": 1, "s32": 4}
DTYPES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "u8": "int8", "s8": "int8"}
"""oneDNN's names for types and ours."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What one primitive computes."""

    key: Key
    """The same for the same arithmetic, whichever primitive, library, dtype or layout does it."""
    words: str
    """`64→128, 3x3, 112x112`; `225x512 by 512x2`."""
    flop: float
    """Operations; a multiply-add is two."""
    elements: Mapping[str, int]
    """Numbers in each tensor: `src`, `wei`, `dst`."""

    @property
    def channels(self) -> tuple[object, object] | None:
        """Channels in and out of a convolution."""
        return (self.key[3], self.key[4]) if self.key[0] == "convolution" else None


def shape_of(row: KernelRow) -> Shape | None:
    """Return the shape of a kernel's arithmetic; None if it does none that is known."""
    if row.primitive in ("convolution", "deconvolution"):
        return _convolution(row.primitive, dict(_NUMBERS.findall(row.problem)))
    if row.primitive == "inner_product":
        return _inner_product(dict(_NUMBERS.findall(row.problem)))
    if row.primitive == "matmul":
        return _matrix_product(row.problem)
    return None


def bytes_of(row: KernelRow, shape: Shape) -> int:
    """Return the bytes of a kernel's tensors, each read or written once."""
    types = dict(part.split(":", 1) for part in row.data_types.split() if ":" in part)
    return sum(_BYTES.get(types.get(name, ""), 4) * n for name, n in shape.elements.items())


def dtype_of(row: KernelRow) -> str | None:
    """Return the dtype that a kernel computes in, as the run's peaks name it."""
    first = next((p for p in row.data_types.split() if p.startswith("src:")), "")
    return DTYPES.get(first.removeprefix("src:"))


def _convolution(primitive: str, found: Mapping[str, str]) -> Shape | None:
    if not {"mb", "ic", "oc", "iw", "ow", "kw"} <= found.keys():
        return None
    number = {name: int(value) for name, value in found.items()}
    images, groups, taken, given = (number.get(name, 1) for name in ("mb", "g", "ic", "oc"))
    inside, outside, kernel = ([number.get(name, 1) for name in names] for names in _SIZES)
    weights = taken * given // max(1, groups) * math.prod(kernel)
    places = inside if primitive == "deconvolution" else outside
    size = "x".join(str(number[name]) for name in _SIZES[0] if name in number)
    window = "x".join(str(number[name]) for name in _SIZES[2] if name in number)
    return Shape(
        key=(primitive, images, groups, taken, given, *inside, *outside, *kernel),
        words=f"{taken}→{given}, {window}, {size}",
        flop=2.0 * images * weights * math.prod(places),
        elements={
            "src": images * taken * math.prod(inside),
            "wei": weights,
            "dst": images * given * math.prod(outside),
        },
    )


def _inner_product(found: Mapping[str, str]) -> Shape | None:
    if not {"mb", "ic", "oc"} <= found.keys():
        return None
    sizes = [int(found.get(name, 1)) for name in ("id", "ih", "iw")]
    return _product(1, int(found["mb"]), int(found["ic"]) * math.prod(sizes), int(found["oc"]))


def _matrix_product(problem: str) -> Shape | None:
    match = _PRODUCT.match(problem)
    if match is None:
        return None
    left, right = ([int(part) for part in text.split("x")] for text in match.groups())
    return _product(math.prod(left[:-2]), left[-2], left[-1], right[-1])


def _product(batch: int, rows: int, inner: int, columns: int) -> Shape:
    several = f"{batch} of " if batch > 1 else ""
    return Shape(
        key=("product", batch, rows, inner, columns),
        words=f"{several}{rows}x{inner} by {inner}x{columns}",
        flop=2.0 * batch * rows * inner * columns,
        elements={
            "src": batch * rows * inner,
            "wei": batch * inner * columns,
            "dst": batch * rows * columns,
        },
    )
