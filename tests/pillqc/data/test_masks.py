"""Masks of every kind say where the defect is, or are refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pillqc.data.images import Sample
from pillqc.data.masks import read_mask, survey_masks
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIDE = 40
WHERE = np.zeros((SIDE, SIDE), np.bool_)
WHERE[4:16, 8:30] = True
PAIRS = [("png", "png"), ("tif", "png"), ("png", "tif"), ("tif", "tif")]
"""Kinds of an image and its mask."""
BLANK = Image.new("L", (SIDE, SIDE))


def levels(value: float, dtype: type = np.uint8) -> NDArray[np.generic]:
    """The defect in one value on 0."""
    return np.where(WHERE, value, 0).astype(dtype)


def saved(value: float, dtype: type = np.uint8, **options: Any) -> Callable[[Path], None]:
    """A greyscale file of that."""
    return lambda path: Image.fromarray(levels(value, dtype)).save(path, **options)


def palette(colours: list[int]) -> Callable[[Path], None]:
    """Indices 0 and 1 in these colours."""

    def save(path: Path) -> None:
        image = Image.fromarray(levels(1)).convert("P")
        image.putdata(levels(1).ravel().tolist())
        image.putpalette(colours)
        image.save(path)

    return save


def rgba(background: tuple[int, ...], defect: tuple[int, ...]) -> Callable[[Path], None]:
    """Two colours with their opacity."""

    def save(path: Path) -> None:
        pixels = np.where(WHERE[..., None], defect, background).astype(np.uint8)
        Image.fromarray(pixels).save(path)

    return save


def class_ids(path: Path) -> None:
    """Three defects in one mask, each with the number of its class."""
    ids = levels(1)
    ids[4:8, 8:30], ids[12:16, 8:30] = 7, 200
    Image.fromarray(ids).save(path)


def bad(folder: Path, mask: Path | None, size: tuple[int, int] = (SIDE, SIDE)) -> Sample:
    """A bad sample with an image of that width and height."""
    path = folder / "image.png"
    Image.new("RGB", size).save(path)
    return Sample(path=path, defect="crack", bad=True, mask=mask, split="test")


@pytest.mark.parametrize(
    ("name", "save", "values"),
    [
        ("m.png", saved(255), "0/255"),
        ("m.png", saved(1), "0/1"),
        ("m.bmp", saved(1), "0/1"),
        ("m.png", class_ids, "0/1/7/200"),
        ("m.png", saved(3, np.uint16), "0/3"),
        ("m.png", saved(65535, np.uint16), "0/65535"),
        ("m.tif", saved(70_000, np.int32), "0/70000"),
        ("m.tif", saved(1, np.float32), "0/1"),
        ("m.png", lambda p: Image.fromarray(levels(255)).convert("1").save(p), "0/255"),
        ("m.jpg", saved(255, quality=70), "soft edges (from half white)"),
        ("m.png", palette([0, 0, 0, 128, 0, 0]), "0/128"),
        ("m.png", palette([68, 1, 84, 253, 231, 37]), "0/1"),
        ("m.png", palette([0, 0, 0, 0, 0, 0]), "0/1"),
        ("m.png", palette([255, 255, 255, 0, 0, 255]), "0/1"),
        ("m.png", rgba((0, 0, 0, 255), (0, 0, 1, 255)), "0/1"),
        ("m.png", rgba((0, 0, 0, 0), (0, 0, 0, 255)), "0/255"),
        ("m.png", rgba((255, 255, 255, 0), (255, 0, 0, 255)), "0/255"),
    ],
)
def test_whatever_is_not_background_counts(
    tmp_path: Path, name: str, save: Callable[[Path], None], values: str
) -> None:
    """0/1, class numbers, deep, palettes, colours, transparency: the same mask, and its values."""
    mask = tmp_path / name
    save(mask)
    sample = bad(tmp_path, mask)
    assert np.array_equal(read_mask(sample, SIDE), WHERE)
    survey = survey_masks([sample])
    assert (survey.used, survey.missing, survey.values) == (1, {}, values)
    assert survey.line.endswith(f"{values}, 1 used")


@pytest.mark.parametrize(("white", "dtype"), [(255, np.uint8), (65535, np.uint16), (1, np.float32)])
def test_a_soft_edge_counts_from_half_white(tmp_path: Path, white: int, dtype: type) -> None:
    """A drawing that was made smaller is no wider than it was, in any depth."""
    large = np.kron(WHERE, np.ones((5, 5))).astype(np.float32)
    turned = Image.fromarray(large).rotate(10).resize((SIDE, SIDE), Image.Resampling.BOX)
    Image.fromarray((np.asarray(turned) * white).astype(dtype)).save(tmp_path / "m.tif")
    mask = read_mask(bad(tmp_path, tmp_path / "m.tif"), SIDE)
    assert mask.sum() == pytest.approx(WHERE.sum(), rel=0.02)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (saved(0), "no set pixel"),
        (lambda p: Image.fromarray(255 - levels(255)).save(p), "inverted"),
        (lambda p: Image.fromarray(1 - levels(1)).save(p), "inverted"),
        (lambda p: Image.new("L", (SIDE, SIDE), 255).save(p), "100%"),
        (rgba((255, 255, 255, 255), (0, 0, 0, 255)), "inverted"),
        (saved(-1, np.int32, format="TIFF"), "negative"),
        (saved(np.nan, np.float32, format="TIFF"), "NaN"),
        (saved(255, format="GIF", save_all=True, append_images=[BLANK]), "2 pages"),
        (lambda p: Image.new("LAB", (SIDE, SIDE)).save(p, "TIFF"), "LAB"),
    ],
)
def test_a_mask_that_would_teach_that_defects_are_clean_is_refused(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    """Empty, inverted, or of values without a meaning: it is named, with the number of others."""
    mask = tmp_path / "m.png"
    make(mask)
    sample = bad(tmp_path, mask)
    with pytest.raises(DataError, match=words) as caught:
        survey_masks([sample, sample, sample])
    assert caught.value.path == mask
    assert "2 more masks" in str(caught.value)
    with pytest.raises(DataError, match=words):
        read_mask(sample, SIDE)


def test_half_covered_pixels_count_half_and_good_pills_have_none(
    tmp_path: Path,
) -> None:
    """A mask is a boolean image of the requested size."""
    mask = tmp_path / "m.png"
    Image.fromarray(np.where(np.arange(8) < 4, 255, 0).astype("u1")[None].repeat(8, 0)).save(mask)
    assert read_mask(bad(tmp_path, mask, (8, 8)), 4).tolist() == [[True, True, False, False]] * 4
    good = Sample(path=Path("y"), defect="good", bad=False, mask=None, split="test")
    assert not read_mask(good, 4).any()


def test_a_defect_that_is_finer_than_a_pixel_is_not_lost(tmp_path: Path) -> None:
    """A hairline of a large mask stays in a small one."""
    Image.fromarray(np.eye(400, dtype=np.uint8)).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(bad(tmp_path, tmp_path / "m.png"), SIDE), np.eye(SIDE) > 0)


def test_a_folder_of_masks_is_one_mask(tmp_path: Path) -> None:
    """Each part of a defect has a file."""
    folder = tmp_path / "000"
    folder.mkdir()
    for number, rows in enumerate((slice(0, 10), slice(10, 20))):
        part = np.zeros_like(WHERE)
        part[rows] = WHERE[rows]
        Image.fromarray(part.astype(np.uint8)).save(folder / f"{number}.png")
    sample = bad(tmp_path, folder)
    assert np.array_equal(read_mask(sample, SIDE), WHERE)
    assert survey_masks([sample]).values == "0/1"


def test_bad_images_without_a_mask_are_counted_by_defect(tmp_path: Path) -> None:
    """In the line, too."""
    saved(1)(tmp_path / "m.png")
    survey = survey_masks([bad(tmp_path, None), bad(tmp_path, tmp_path / "m.png")])
    assert (survey.used, survey.missing) == (1, {"crack": 1})
    assert survey.line.endswith("1 of crack")


def oriented(pixels: NDArray[np.uint8], path: Path, orientation: int | None) -> None:
    """Save with or without an orientation."""
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (6, lambda m: np.rot90(m, -1)),
        (8, np.rot90),
        (5, np.transpose),
        (7, lambda m: np.rot90(m.T, 2)),
    ],
)
@pytest.mark.parametrize("drawn", ["as stored", "upright", "with the same orientation"])
@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
def test_a_mask_lies_as_its_turned_image_does(
    tmp_path: Path,
    orientation: int,
    turned: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    drawn: str,
    kinds: tuple[str, str],
) -> None:
    """However it was drawn, if its size or its EXIF entry decides it; Pillow turns TIFFs itself."""
    stored = np.zeros((30, 40), np.uint8)
    stored[0:6, 0:12] = 1
    image, mask = (tmp_path / f"{name}.{kind}" for name, kind in zip("im", kinds, strict=True))
    sample = Sample(path=image, defect="crack", bad=True, mask=mask, split="test")
    oriented(np.zeros((30, 40, 3), np.uint8), image, orientation)
    upright = np.ascontiguousarray(turned(stored))
    own = orientation if drawn == "with the same orientation" else None
    oriented(upright if drawn == "upright" else stored, mask, own)
    expected = Image.fromarray(upright * np.uint8(255)).resize((SIDE, SIDE), Image.Resampling.BOX)
    assert np.array_equal(read_mask(sample, SIDE), np.asarray(expected) > 127)


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(2, np.fliplr), (3, lambda m: np.rot90(m, 2)), (4, np.flipud), (6, lambda m: np.rot90(m, -1))],
)
def test_a_mask_that_is_turned_like_its_image_needs_no_size_to_tell(
    tmp_path: Path,
    orientation: int,
    turned: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    kinds: tuple[str, str],
) -> None:
    """Its own entry does, also where turning leaves the size as it is."""
    stored = levels(255)
    image, mask = (tmp_path / f"{name}.{kind}" for name, kind in zip("im", kinds, strict=True))
    sample = Sample(path=image, defect="crack", bad=True, mask=mask, split="test")
    oriented(np.zeros((SIDE, SIDE, 3), np.uint8), image, orientation)
    oriented(stored.astype(np.uint8), mask, orientation)
    assert np.array_equal(read_mask(sample, SIDE), turned(stored.astype(np.uint8)) > 0)


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize(
    ("image", "orientation", "mask", "words"),
    [
        ((40, 40), 6, (40, 40), "40 x 40 .*40 x 40, turned"),
        ((40, 30), 3, (40, 30), "40 x 30 .*40 x 30, turned"),
        ((40, 40), None, (40, 30), "40 x 30 .*40 x 40.*aspect"),
        ((40, 30), None, (30, 40), "30 x 40 .*40 x 30.*aspect"),
    ],
)
def test_a_mask_of_which_nobody_knows_how_it_lies_is_refused(
    tmp_path: Path,
    image: tuple[int, int],
    orientation: int | None,
    mask: tuple[int, int],
    words: str,
    kind: str,
) -> None:
    """Both sizes are named."""
    sample = replace(bad(tmp_path, tmp_path / "m.png"), path=tmp_path / f"i.{kind}")
    oriented(np.zeros((*image[::-1], 3), np.uint8), sample.path, orientation)
    pixels = np.zeros(mask[::-1], np.uint8)
    pixels[2:9, 2:9] = 255
    oriented(pixels, tmp_path / "m.png", None)
    with pytest.raises(DataError, match=words):
        read_mask(sample, SIDE)


@pytest.mark.parametrize("size", [(20, 15), (80, 60), (39, 29)])
def test_a_mask_of_another_resolution_is_used(tmp_path: Path, size: tuple[int, int]) -> None:
    """Its aspect is the image's, up to a rounded pixel."""
    sample = bad(tmp_path, tmp_path / "m.png", (40, 30))
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[: size[1] // 2] = 255
    oriented(pixels, tmp_path / "m.png", None)
    assert read_mask(sample, SIDE).mean() == pytest.approx(0.5, abs=0.03)
