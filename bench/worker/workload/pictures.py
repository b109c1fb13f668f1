"""Make small pictures of the data and of some decisions, for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from pillqc.data.exploration import explore
from pillqc.data.marker import save_drawing
from pillqc.inspection.inspector import inspect
from pillqc.inspection.pictures import draw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample
    from pillqc.model.network import LoadedModel

EXPLORED = 96
"""Images in gallery and difference: some seven of each defect, and as many good ones as bad."""
_TILE = 64
"""Pixels a side in the gallery: defects are still visible and the page stays small."""
_PREDICTIONS = 6


def explored(samples: Sequence[Sample], folder: Path) -> Iterator[dict[str, Any]]:
    """Draw a gallery and the difference of means, unless all images are good or all are bad."""
    chosen = samples[:EXPLORED]
    if {sample.bad for sample in chosen} != {False, True}:
        return
    found = explore(chosen, folder, size=_TILE)
    _as_jpeg(folder / "gallery.png")
    kinds = sorted({s.defect for s in chosen}, key=lambda kind: (kind != "good", kind))
    count = {"images": len(chosen)}
    yield {"file": "gallery.jpg", "kind": "gallery", "text": ", ".join(kinds), **count}
    limit = f"{found.limit:.1f}"
    yield {"file": "difference.png", "kind": "difference", "text": limit, **count}


def predicted(
    loaded: LoadedModel, samples: Sequence[Sample], size: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """Draw some pills with boxes, heat map, decision and truth."""
    paths = [sample.path for sample in samples[:_PREDICTIONS]]
    for number, result in enumerate(inspect(loaded, paths, size=size)):
        if result.heat is None:
            continue
        name = f"prediction-{number}.png"
        draw(result).save(folder / name)
        _as_jpeg(folder / name)
        truth = samples[number].defect if samples[number].bad else "good"
        text = f"{result.decision}, probability of bad {result.probability_bad:.3f}"
        yield {
            "file": f"prediction-{number}.jpg",
            "kind": "prediction",
            "text": f"{text}; truth: {truth}",
        }


def _as_jpeg(path: Path) -> None:
    """Replace a picture by a JPEG, a tenth as large, because the report embeds it."""
    with Image.open(path) as picture:
        save_drawing(picture.convert("RGB"), path.with_suffix(".jpg"))
    path.unlink()
