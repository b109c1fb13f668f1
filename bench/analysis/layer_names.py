"""Name layers by what they compute. Pure.

oneDNN's log names no layer. Convolutions whose channels are VGG-16's, in its order, are called as
in its paper (`conv3_2`); any other layer is called by its shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.analysis.problems import Key, Shape

_VGG16 = (
    ((3, 64), ("conv1_1",)),
    ((64, 64), ("conv1_2",)),
    ((64, 128), ("conv2_1",)),
    ((128, 128), ("conv2_2",)),
    ((128, 256), ("conv3_1",)),
    ((256, 256), ("conv3_2", "conv3_3")),
    ((256, 512), ("conv4_1",)),
    ((512, 512), ("conv4_2", "conv4_3")),
    ((512, 512), ("conv5_1", "conv5_2", "conv5_3")),
)
"""Channels in and out, and the layers that do the same arithmetic, in order."""
_DIRECTIONS = {
    "": "",
    "backward_data": ", gradient of its input",
    "backward_weights": ", gradient of its weights",
}
_NOUNS = {"product": "matrix product"}

Names = dict["Key", tuple[str, ...]]


def of_vgg16(*orders: Iterable[Shape]) -> Names:
    """Return the layers that do each arithmetic, if a sequence begins as VGG-16 does; else none.

    A sequence holds each forward arithmetic once, in the order in which it first runs.
    """
    for order in orders:
        shapes = [shape for shape in order if shape.channels is not None]
        shapes = shapes[: len(_VGG16)]  # a head may follow
        if [shape.channels for shape in shapes] == [channels for channels, _ in _VGG16]:
            return {shape.key: names for shape, (_, names) in zip(shapes, _VGG16, strict=True)}
    return {}


def one_by_one(
    shape: Shape, direction: str, count: int, known: Mapping[Key, tuple[str, ...]]
) -> Sequence[str] | None:
    """Name `count` kernels that do the same arithmetic, in the order in which they run.

    None where they cannot be told apart: their number is not that of the layers. A backward pass
    runs from the last layer to the first, and may leave out the first ones.
    """
    tail = _DIRECTIONS.get(direction, f", {direction}")
    names = known.get(shape.key)
    if names is None:
        several = (f" ({number + 1} of {count})" if count > 1 else "" for number in range(count))
        return [f"{by_shape(shape)}{one}{tail}" for one in several]
    if direction and count <= len(names):
        return [f"{name}{tail}" for name in names[::-1][:count]]
    return [f"{name}{tail}" for name in names] if count == len(names) else None


def together(shape: Shape, direction: str, known: Mapping[Key, tuple[str, ...]]) -> str:
    """Name kernels of the same arithmetic that cannot be told apart."""
    tail = _DIRECTIONS.get(direction, f", {direction}")
    names = known.get(shape.key)
    if names is None:
        return f"{by_shape(shape)}{tail}"
    return f"{names[0]}{tail}" if len(names) == 1 else f"{names[0]} to {names[-1]}{tail}"


def by_shape(shape: Shape) -> str:
    """Name a layer by what it computes: `convolution 64→128, 3x3, 112x112`."""
    kind = str(shape.key[0])
    return f"{_NOUNS.get(kind, kind)} {shape.words}"
