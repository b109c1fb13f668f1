"""Draw what good and bad images look like: galleries, mean images and their difference.

    difference = explore(samples, out, size=224)

Means of a few dozen images differ by noise. So the labels are shuffled many times: a difference is
significant where it exceeds the 95 % quantile of the largest differences under shuffled labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from pillqc.data.decoding_process import read_image, read_picture
from pillqc.data.images import MULTI_FRAME, count_note
from pillqc.data.marker import save_drawing
from pillqc.errors import PillqcError, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.data.images import Sample

PERMUTATIONS: Final = 200
CONFIDENCE: Final = 0.95
_GALLERY: Final = 8
"""Images in a row."""
_NINTHS: Final = (
    ("at the top left", "at the top", "at the top right"),
    ("at the left", "in the centre", "at the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
"""Names of the image's thirds, row by row."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean bad minus mean good image, with its limit of significance."""

    levels: NDArray[np.float64]
    """Grey levels (size, size)."""
    limit: float
    """Larger differences are significant at 95 %, all pixels together."""

    @property
    def believed(self) -> NDArray[np.bool_]:
        """Pixels with a significant difference."""
        return np.abs(self.levels) > self.limit

    @property
    def share(self) -> float:
        """Share of the image with a significant difference."""
        return float(self.believed.mean())

    @property
    def sentence(self) -> str:
        """Say where the means differ, or that they do not."""
        if not self.believed.any():
            return (
                "The mean images of good and bad do not differ by more than chance "
                f"({self.limit:.2f} grey levels) anywhere."
            )
        where, levels = self._most
        return (
            f"The mean images of good and bad differ by more than chance ({self.limit:.2f} grey "
            f"levels) in {self.share:.2%} of the image, most {where}, where bad ones are "
            f"{'brighter' if levels > 0 else 'darker'}."
        )

    @property
    def _most(self) -> tuple[str, float]:
        """The ninth of the image with most significant difference, and the sum of its levels."""
        significant = np.where(self.believed, self.levels, 0.0)
        ninths = [
            (name, ninth)
            for names, third in zip(_NINTHS, np.array_split(significant, 3), strict=True)
            for name, ninth in zip(names, np.array_split(third, 3, axis=1), strict=True)
        ]
        name, ninth = max(ninths, key=lambda one: np.abs(one[1]).sum())
        return name, float(ninth.sum())


def mean_difference(images: NDArray[np.floating], bad: NDArray[np.bool_]) -> Difference:
    """Compare grey images (N, H, W) of bad and good pills with those under shuffled labels."""
    if not bad.any() or bad.all():
        raise PillqcError("a difference needs good and bad images; the data holds one kind only")
    flat = images.reshape(len(images), -1).astype(np.float64)
    rng = np.random.default_rng(0)
    shuffled = [np.abs(_difference(flat, rng.permutation(bad))).max() for _ in range(PERMUTATIONS)]
    return Difference(
        levels=_difference(flat, bad).reshape(images.shape[1:]),
        limit=float(np.quantile(shuffled, CONFIDENCE)),
    )


def explore(
    samples: Sequence[Sample],
    out: Path,
    *,
    size: int = 224,
    on_note: Callable[[str], None] = lambda _: None,
) -> Difference:
    """Write the gallery, both mean images and their difference to `out`; return the difference."""
    with writing(out):
        out.mkdir(exist_ok=True)
    save_drawing(_gallery(samples, size), out / "gallery.png")
    grey = np.empty((len(samples), size, size), np.float32)
    sums = {bad: np.zeros((size, size, 3)) for bad in (False, True)}
    frames = []
    for pixels, sample in zip(grey, samples, strict=True):
        picture = read_picture(sample.path)
        frames += [sample.path] if picture.notes else []
        pixels[:] = np.asarray(picture.image.convert("L").resize((size, size)))
        sums[sample.bad] += np.asarray(picture.image.convert("RGB").resize((size, size)))
    if frames:
        on_note(count_note(MULTI_FRAME, frames))
    bad = np.array([s.bad for s in samples], dtype=np.bool_)
    found = mean_difference(grey, bad)
    for kind, total, number in (
        ("good", sums[False], (~bad).sum()),
        ("bad", sums[True], bad.sum()),
    ):
        mean = (total / number).round().astype(np.uint8)
        save_drawing(Image.fromarray(mean), out / f"mean_{kind}.png")
    save_drawing(_drawn(found), out / "difference.png")
    return found


def _difference(flat: NDArray[np.float64], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = flat[bad].mean(axis=0) - flat[~bad].mean(axis=0)
    return difference


def _gallery(samples: Sequence[Sample], size: int) -> Image.Image:
    """Draw a row for each kind, good ones first."""
    kinds = sorted({s.defect for s in samples}, key=lambda kind: (kind != "good", kind))
    sheet = Image.new("RGB", (_GALLERY * size, len(kinds) * size), "white")
    for row, kind in enumerate(kinds):
        chosen = [s for s in samples if s.defect == kind][:_GALLERY]
        for column, sample in enumerate(chosen):
            tile = read_image(sample.path).resize((size, size))
            sheet.paste(tile, (column * size, row * size))
    return sheet


def _drawn(found: Difference) -> Image.Image:
    """Draw red where bad pills are brighter, blue where darker, faint where not significant."""
    strength = np.clip(np.abs(found.levels) / max(2.0 * found.limit, 1e-9), 0.0, 1.0)
    strength = np.where(found.believed, strength, 0.3 * strength)
    fade = 255.0 * (1.0 - strength)
    full = np.full_like(fade, 255.0)
    brighter = found.levels > 0
    red, blue = np.where(brighter, full, fade), np.where(brighter, fade, full)
    return Image.fromarray(np.stack([red, fade, blue], axis=2).round().astype(np.uint8))
