"""Where a defect is: mask files of whatever values become booleans, or an error that says why not.

    survey = survey_masks(samples)        # opens every mask once
    survey.line                           # "masks: 0/1, 41 used"
    read_mask(samples[0], 224)            # bool (224, 224)

In a mask with labels (0/1, 0/255, class numbers, colours, a palette) every value but that of the
background counts. In one with soft edges, drawn smoothly or saved as JPEG, what is at least half
white counts. Where transparency says where the defect is, that counts. Nothing is inverted: a mask
of a bad pill that has no set pixel, or nearly all, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import ExifTags, Image, ImageOps
from scipy import ndimage

from pillqc.data.decoding import decoded, is_image_name
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.data.images import Sample

NEARLY_ALL: Final = 0.9
"""Share of set pixels from which a mask is inverted or wrong: no defect leaves so little."""
HALF: Final = 0.5
"""From this share on a mask whose whole edge is set is inverted: background reaches all edges."""
_LOSSY: Final = ("JPEG", "JPEG2000", "MPO", "WEBP", "AVIF")
_LISTED: Final = 4
"""Values that are named one by one."""


@dataclass(frozen=True, kw_only=True)
class MaskSurvey:
    """What the masks of some samples are."""

    used: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    """Defect -> bad images without a mask, where there are any."""
    values: str = "none"
    """`0/255`, `0/1`, ..."""

    @property
    def line(self) -> str:
        """One line for people."""
        without = ", ".join(f"{count} of {defect}" for defect, count in self.missing.items())
        lacking = f"; bad images without one: {without}" if without else ""
        return f"masks: {self.values}, {self.used} used{lacking}"


@dataclass(frozen=True, kw_only=True)
class _Mask:
    set: NDArray[np.bool_]
    values: tuple[float, ...]
    """Those that count; none of a mask with soft edges."""


@dataclass(frozen=True, kw_only=True)
class _Photograph:
    """How an image lies in its file."""

    size: tuple[int, int]
    """Width and height as stored."""
    orientation: int
    """EXIF's: 1 is upright, 5 to 8 swap the sides."""

    @property
    def upright(self) -> tuple[int, int]:
        return self.size[::-1] if self.orientation > 4 else self.size


def survey_masks(samples: Sequence[Sample]) -> MaskSurvey:
    """Open the mask of every bad sample.

    Raises:
        DataError: a mask cannot be used; says how many others cannot.
    """
    values: set[float] = set()
    missing: dict[str, int] = {}
    refused: list[DataError] = []
    soft = used = 0
    for sample in samples:
        if not sample.bad:
            continue
        if sample.mask is None:
            missing[sample.defect] = missing.get(sample.defect, 0) + 1
            continue
        try:
            mask = _mask(sample, sample.mask)
        except DataError as error:
            refused.append(error)
            continue
        used += 1
        soft += not mask.values
        values.update(mask.values)
    if refused:
        first, others = refused[0], len(refused) - 1
        more = f" ({others} more masks cannot be used)" if others else ""
        raise DataError(first.path, first.reason + more) from first
    return MaskSurvey(used=used, missing=missing, values=_listed(sorted(values), soft))


def read_mask(sample: Sample, size: int) -> NDArray[np.bool_]:
    """Return one sample's mask (size, size), all False for good pills and where none exists.

    A pixel is set where at least half of it is covered. A mask that is too fine for that keeps the
    pixels that are covered most.
    """
    if sample.mask is None:
        return np.zeros((size, size), dtype=np.bool_)
    drawn = Image.fromarray(_mask(sample, sample.mask).set.astype(np.float32))
    covered = np.asarray(drawn.resize((size, size), Image.Resampling.BOX))
    most = float(covered.max())
    mask: NDArray[np.bool_] = covered >= (0.5 if most >= 0.5 else most / 2) - 1e-6
    return mask


def _mask(sample: Sample, path: Path) -> _Mask:
    """The mask as it lies on the upright image; a folder is one mask in several files."""
    photograph = decoded(sample.path, _as_stored)
    files = sorted(p for p in path.iterdir() if is_image_name(p.name)) if path.is_dir() else [path]
    parts = []
    for file in files:
        take = partial(_upright, photograph=photograph, path=file, sample=sample)
        parts.append(_understood(*decoded(file, take)))
        if parts[-1].set.shape != parts[0].set.shape:
            raise DataError(file, f"is of another size than {files[0].name} beside it")
    whole = np.logical_or.reduce([part.set for part in parts])
    _check_share(whole, path, sample)
    soft = not all(part.values for part in parts)
    values = () if soft else tuple({value for part in parts for value in part.values})
    return _Mask(set=whole, values=values)


def _as_stored(image: Image.Image) -> _Photograph:
    return _Photograph(size=image.size, orientation=_orientation(image))


def _orientation(image: Image.Image) -> int:
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1


def _upright(
    image: Image.Image, photograph: _Photograph, path: Path, sample: Sample
) -> tuple[NDArray[Any], bool]:
    """The mask's levels as they lie on the upright image, and whether its format is lossy.

    Its own orientation is followed. A mask without one that was drawn on the image as stored is
    turned as the image is; where sizes cannot tell on which it was drawn, it is refused.
    """
    lossy = image.format in _LOSSY
    sizes = f"{_size(image.size)} pixels, {sample.path} {_size(photograph.size)}"
    if _orientation(image) == 1 and photograph.orientation != 1:
        on_stored = _same_aspect(image.size, photograph.size)
        if on_stored and _same_aspect(image.size, photograph.upright):
            raise DataError(
                path,
                f"{sizes}, turned by its metadata (EXIF orientation {photograph.orientation}), so"
                " nothing tells whether the mask was drawn before or after turning; save the image"
                " upright without that entry",
            )
        if on_stored:
            image.getexif()[ExifTags.Base.Orientation] = photograph.orientation
    image = ImageOps.exif_transpose(image)
    if not _same_aspect(image.size, photograph.upright):
        raise DataError(
            path,
            f"{sizes}; upright {_size(image.size)} and {_size(photograph.upright)}: a mask must"
            " have the aspect of its image",
        )
    return _levels(image), lossy


def _levels(image: Image.Image) -> NDArray[Any]:
    """One number a pixel (H, W), 0 where there is no defect."""
    if image.mode in ("L", "F") or image.mode.startswith("I"):
        return np.asarray(image)
    pixels: NDArray[np.uint8] = np.asarray(image.convert("RGBA"))
    alpha = pixels[..., 3]
    colour: NDArray[np.uint8] = pixels[..., :3].max(axis=2)
    if alpha.min() < alpha.max():
        shown: NDArray[Any] = np.where(alpha > 0, colour, 0)
        return shown if shown.any() else alpha
    if image.mode == "P" and (not colour.any() or colour.all()):  # its background is not black
        return np.asarray(image)
    return colour


def _understood(levels: NDArray[Any], lossy: bool) -> _Mask:
    """Which levels count."""
    top = 255 if levels.max() < 256 else levels.max()
    if levels.max() > top / 2 and (lossy or _is_soft(levels, top)):
        return _Mask(set=levels > top / 2, values=())
    counts = levels > 0
    return _Mask(set=counts, values=tuple(float(value) for value in np.unique(levels[counts])))


def _is_soft(levels: NDArray[Any], top: float) -> bool:
    """Whether all values between black and white form edges: labels have flat places."""
    between = (levels > 0) & (levels < top)
    if len(np.unique(levels[between])) < 3:
        return False
    low, high = (edge(levels, size=3) for edge in (ndimage.minimum_filter, ndimage.maximum_filter))
    return not (between & (low == high)).any()


def _check_share(mask: NDArray[np.bool_], path: Path, sample: Sample) -> None:
    share = float(mask.mean())
    edge = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    if not share:
        raise DataError(path, f"has no set pixel, but {sample.path} counts as bad")
    if share > NEARLY_ALL or (share > HALF and all(line.all() for line in edge)):
        raise DataError(
            path,
            f"has {share:.0%} of its pixels set; is it inverted? The background must be 0, the"
            " defect anything else",
        )


def _same_aspect(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Up to a rounded pixel."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _listed(values: list[float], soft: int) -> str:
    found = []
    if 0 < len(values) <= _LISTED:
        found.append("/".join(["0", *(f"{value:g}" for value in values)]))
    elif values:
        found.append(f"0 and {len(values)} other values up to {values[-1]:g}")
    if soft:
        found.append("soft edges (from half white)")
    return " and ".join(found) or "none"
