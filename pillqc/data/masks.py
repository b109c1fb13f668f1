"""Read masks: mask files of any values become booleans, or are refused with a reason.

    survey = survey_masks(samples)        # opens every mask once
    survey.line                           # "masks: 0/1, 41 used"
    read_mask(samples[0], 224)            # bool (224, 224)

In a mask with labels (0/1, 0/255, class numbers, colours, a palette) every value except the
background's is a defect. In one with soft edges (antialiased, or saved as JPEG) it is every pixel
from half white on. Where transparency marks the defect, opaque pixels are. Nothing is inverted: a
bad pill's mask without a set pixel, or with nearly all pixels set, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image
from scipy import ndimage

from pillqc.data.decoding import turn_upright
from pillqc.data.decoding_process import read_layout, read_stored_mask
from pillqc.data.file_names import is_image_name, visible
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.data.decoding import Layout
    from pillqc.data.images import Sample

NEARLY_ALL: Final = 0.9
"""Share of set pixels above which a mask is inverted or wrong: no defect leaves so little."""
HALF: Final = 0.5
"""Share above which a mask with all edges set is inverted: background reaches the edges."""
_MAX_LISTED: Final = 4
"""Values that are listed one by one."""


@dataclass(frozen=True, kw_only=True)
class MaskSurvey:
    """Numbers and values of the masks of some samples."""

    used: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    """Defect -> bad images without a mask, if any."""
    values: str = "none"
    """`0/255`, `0/1`, ..."""

    @property
    def line(self) -> str:
        """One line for people."""
        without = ", ".join(f"{count} of {defect}" for defect, count in self.missing.items())
        missing = f"; bad images without one: {without}" if without else ""
        return f"masks: {self.values}, {self.used} used{missing}"


@dataclass(frozen=True, kw_only=True)
class _Mask:
    set: NDArray[np.bool_]
    values: tuple[float, ...]
    """The levels of defects; empty for a mask with soft edges."""


def survey_masks(samples: Sequence[Sample]) -> MaskSurvey:
    """Open the mask of every bad sample.

    Raises:
        DataError: a mask cannot be used; the message counts the others that cannot.
    """
    survey, refused = survey_with_refusals(samples)
    if refused:
        first, others = refused[0], len(refused) - 1
        more = f" ({others} more masks cannot be used)" if others else ""
        raise DataError(first.path, first.reason + more) from first
    return survey


def survey_with_refusals(samples: Sequence[Sample]) -> tuple[MaskSurvey, list[DataError]]:
    """Open the mask of every bad sample; also return why some cannot be used."""
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
    listed = _list_values(sorted(values), soft)
    return MaskSurvey(used=used, missing=missing, values=listed), refused


def read_mask(sample: Sample, size: int) -> NDArray[np.bool_]:
    """Return a sample's mask (size, size), all False for good pills and without a mask.

    A pixel is set where at least half of it is covered. A mask that is too fine for that keeps its
    most covered pixels.
    """
    if sample.mask is None:
        return np.zeros((size, size), dtype=np.bool_)
    drawn = Image.fromarray(_mask(sample, sample.mask).set.astype(np.float32))
    covered = np.asarray(drawn.resize((size, size), Image.Resampling.BOX))
    most = float(covered.max())
    mask: NDArray[np.bool_] = covered >= (0.5 if most >= 0.5 else most / 2) - 1e-6
    return mask


def _mask(sample: Sample, path: Path) -> _Mask:
    """Read the mask as it lies on the upright image; the files of a folder are united."""
    layout = read_layout(sample.path)
    files = [p for p in visible(path) if is_image_name(p.name)] if path.is_dir() else [path]
    parts: list[_Mask] = []
    for file in files:
        parts.append(_read_file(file, sample, layout))
        if parts[-1].set.shape != parts[0].set.shape:
            raise DataError(file, f"has another size than {files[0].name} beside it")
    united = np.logical_or.reduce([part.set for part in parts])
    _check_share(united, path, sample)
    soft = not all(part.values for part in parts)
    values = () if soft else tuple({value for part in parts for value in part.values})
    return _Mask(set=united, values=values)


def _read_file(path: Path, sample: Sample, layout: Layout) -> _Mask:
    """Read one file upright and decide which levels are defects.

    The file's own orientation counts. A mask without one that was drawn on the image as stored is
    turned like the image; where the sizes do not tell on which it was drawn, it is refused.
    """
    mask = read_stored_mask(path)
    size = mask.levels.shape[::-1]
    sizes = f"{_format_size(size)} pixels, {sample.path} {_format_size(layout.size)}"
    orientation = 1
    if mask.orientation == 1 and layout.orientation != 1 and _same_aspect(size, layout.size):
        if _same_aspect(size, layout.upright_size):
            raise DataError(
                path,
                f"{sizes}, turned by its metadata (EXIF orientation {layout.orientation}), and the"
                " sizes do not tell whether the mask was drawn before or after turning; save the"
                " image upright without that entry",
            )
        orientation = layout.orientation
    upright = turn_upright(mask.levels, orientation)
    if not _same_aspect(upright.shape[::-1], layout.upright_size):
        raise DataError(
            path,
            f"{sizes}; upright {_format_size(upright.shape[::-1])} and"
            f" {_format_size(layout.upright_size)}: a mask must have the aspect of its image",
        )
    top = _white(upright)
    if upright.max() > top / 2 and (mask.lossy or _is_soft(upright, top)):
        return _Mask(set=upright > top / 2, values=())
    defect = upright > 0
    return _Mask(set=defect, values=tuple(float(value) for value in np.unique(upright[defect])))


def _white(levels: NDArray[Any]) -> float:
    highest = float(levels.max())
    if levels.dtype.kind == "f" and highest <= 1.0:
        return 1.0
    return 255.0 if highest < 256 else highest


def _is_soft(levels: NDArray[Any], top: float) -> bool:
    """Return whether all values between black and white form edges: labels have flat areas."""
    between = (levels > 0) & (levels < top)
    if len(np.unique(levels[between])) < 3:
        return False
    low, high = (edge(levels, size=3) for edge in (ndimage.minimum_filter, ndimage.maximum_filter))
    return not (between & (low == high)).any()


def _check_share(mask: NDArray[np.bool_], path: Path, sample: Sample) -> None:
    share = float(mask.mean())
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    if not share:
        raise DataError(path, f"has no set pixel, but {sample.path} counts as bad")
    if share > NEARLY_ALL or (share > HALF and all(edge.all() for edge in edges)):
        raise DataError(
            path,
            f"has {share:.0%} of its pixels set; is it inverted? The background must be 0, the"
            " defect anything else",
        )


def _same_aspect(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Compare aspects up to a rounded pixel."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def _format_size(size: tuple[int, ...]) -> str:
    return f"{size[0]} x {size[1]}"


def _list_values(values: list[float], soft: int) -> str:
    found = []
    if 0 < len(values) <= _MAX_LISTED:
        found.append("/".join(["0", *(f"{value:g}" for value in values)]))
    elif values:
        found.append(f"0 and {len(values)} other values up to {values[-1]:g}")
    if soft:
        found.append("soft edges (from half white)")
    return " and ".join(found) or "none"
