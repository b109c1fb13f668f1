"""Folders become samples, and every odd file has a defined outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageOps

from pillqc.data import decoding
from pillqc.data.decoding_process import read_image
from pillqc.data.images import MEAN, STD, load_images, normalised
from pillqc.errors import DataError
from tests.pillqc.odd_files import USELESS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


_GREY = np.full((8, 8), 100, np.uint8)
_RGB = np.full((8, 8, 3), (100, 50, 25), np.uint8)


def _palette(path: Path) -> None:
    Image.fromarray(_RGB).quantize(4).save(path)


def _transparent(path: Path) -> None:
    image = Image.fromarray(_RGB).convert("RGBA")
    image.putalpha(Image.fromarray(np.where(np.arange(64).reshape(8, 8) < 32, 255, 0).astype("u1")))
    image.save(path)


def _sixteen_bit(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(path)


def _cmyk(path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 0, 0, 155)).save(path)


@pytest.mark.parametrize(
    ("name", "write", "corner"),
    [
        ("grey.png", lambda p: Image.fromarray(_GREY).save(p), (100, 100, 100)),
        ("palette.png", _palette, (100, 50, 25)),
        ("alpha.png", _transparent, (100, 50, 25)),
        ("deep.png", _sixteen_bit, (100, 100, 100)),
        ("print.tif", _cmyk, (100, 100, 100)),
        ("bits.png", lambda p: Image.new("1", (8, 8), 1).save(p), (255, 255, 255)),
    ],
)
def test_odd_modes_become_rgb(
    tmp_path: Path, name: str, write: Callable[[Path], None], corner: tuple[int, int, int]
) -> None:
    """Greyscale, palette, alpha, 16-bit, CMYK and 1-bit files keep their brightness."""
    write(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == corner


def test_what_is_transparent_becomes_black(tmp_path: Path) -> None:
    """Transparent pixels look like the background, whatever colour they carry."""
    _transparent(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").getpixel((0, 7)) == (0, 0, 0)


@pytest.mark.parametrize("name", ["t.png", "t.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_turned_upright(tmp_path: Path, orientation: int, name: str) -> None:
    """By EXIF's orientation, as Pillow does it."""
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as stored:
        expected = ImageOps.exif_transpose(stored)
    assert np.array_equal(np.asarray(read_image(tmp_path / name)), np.asarray(expected))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        *USELESS.values(),
        (lambda _: None, "no such file"),
        (lambda p: p.mkdir(), "a folder"),
        (lambda p: p.symlink_to(p.with_name("gone")), "leads nowhere"),
        (lambda p: Image.new("F", (8, 8)).save(p, "TIFF"), "no defined range"),
        (lambda p: Image.new("LAB", (8, 8)).save(p, "TIFF"), "LAB"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_path_and_reason(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    """Never a crash in the middle of training, always the file and what is wrong with it."""
    path = tmp_path / "x.png"
    write(path)
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)


def test_images_that_only_warn_in_pillow_are_refused_by_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own limit holds below Pillow's."""
    monkeypatch.setattr(decoding, "MAX_PIXELS", 10)
    Image.fromarray(_GREY).save(tmp_path / "big.png")
    with pytest.raises(DataError, match="megapixels"):
        read_image(tmp_path / "big.png")


def test_images_are_normalised_with_imagenets_mean_and_deviation() -> None:
    """An image of ImageNet's mean colour becomes 0."""
    mean = tuple(round(255 * m) for m in MEAN)
    pixels = normalised(Image.new("RGB", (4, 4), mean), 2)
    assert pixels.shape == (3, 2, 2)
    assert pixels.dtype == np.float32
    assert np.abs(pixels).max() < 0.5 / 255 / min(STD)


def test_every_pixel_is_normalised_by_its_own_channel() -> None:
    """To the bit as the formula gives it, however the planes are laid out on the way."""
    colours = np.random.default_rng(3).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    pixels = normalised(Image.fromarray(colours), 5)
    scaled = colours.astype(np.float32) * np.float32(1 / 255)
    expected = (scaled - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
    assert np.array_equal(pixels.transpose(1, 2, 0), expected)
    assert pixels.flags.c_contiguous


@pytest.mark.torch
def test_a_batch_of_files_becomes_one_tensor(tmp_path: Path) -> None:
    """(N, 3, size, size), in the order of the paths; nothing becomes an empty batch."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    Image.new("RGB", (9, 5), (255, 255, 255)).save(paths[0])
    Image.new("RGB", (4, 4)).save(paths[1])
    images = load_images(paths, 6)
    assert images.shape == (2, 3, 6, 6)
    assert images[0].min() > images[1].max()
    assert load_images([], 6).shape == (0, 3, 6, 6)
