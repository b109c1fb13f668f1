"""A pill in, a decision out.

for result in inspect(loaded, paths):
    print(result.path, result.decision, result.probability_bad)
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pillqc.dataset import is_image_name
from pillqc.localization import Box, find_boxes
from pillqc.marker import is_drawing
from pillqc.prediction import BATCH_SIZE, Prediction, Unreadable, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pillqc.model import LoadedModel

Decision = Literal["good", "bad", "undecided", "error"]
_DIGITS: Final = 6


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What `pillqc inspect` says about one file."""

    path: Path
    decision: Decision
    probability_bad: float | None
    boxes: tuple[Box, ...] = ()
    """In pixels of the file; none on a pill that is called good."""
    ms: float | None = None
    reason: str | None = None
    """Why there is no decision."""
    heat: NDArray[Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The object that scripts rely on."""
        found = {
            "path": str(self.path),
            "decision": self.decision,
            "probability_bad": self.probability_bad,
            "boxes": [asdict(box) for box in self.boxes],
            "ms": self.ms,
        }
        return found | ({"reason": self.reason} if self.decision == "error" else {})


def find_images(
    paths: Sequence[Path], *, on_note: Callable[[str], None] = lambda _: None
) -> Iterator[Path | Unreadable]:
    """Files as they are given, and the images under given folders, each folder's sorted.

    One by one, however many there are. A folder that cannot be read or holds no image is reported
    in its place. Links to files count as files; links to folders inside a folder are not followed,
    so that none leads in a circle. Pictures that pillqc drew are left out, which `on_note` is told.
    """
    for path in paths:
        if path.is_dir():
            yield from _images_under(path, on_note)
        else:
            yield path


def _images_under(folder: Path, on_note: Callable[[str], None]) -> Iterator[Path | Unreadable]:
    found = False
    drawn: list[Path] = []
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=closed.append):
        folders.sort()
        for error in closed:
            yield Unreadable(path=Path(error.filename), reason=f"{error.strerror}")
        closed.clear()
        for name in sorted(filter(is_image_name, files)):
            if is_drawing(Path(place, name)):
                drawn.append(Path(place, name))
                continue
            found = True
            yield Path(place, name)
    for error in closed:
        yield Unreadable(path=Path(error.filename), reason=f"{error.strerror}")
    if drawn:
        on_note(f"pictures that pillqc drew itself, left out: {len(drawn)}, the first {drawn[0]}")
    if not found and not closed:
        reason = "a folder that holds no images (.png, .jpg, .bmp, .tif, .webp)"
        yield Unreadable(path=folder, reason=reason)


def inspect(
    loaded: LoadedModel,
    paths: Iterable[Path | Unreadable],
    *,
    size: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Inspection]:
    """Decide about every file, in order; one that cannot be read gets the decision `error`."""
    for result in predict(loaded.model, paths, size=size or loaded.size, batch_size=batch_size):
        if isinstance(result, Unreadable):
            yield Inspection(
                path=result.path, decision="error", probability_bad=None, reason=result.reason
            )
        else:
            yield _decided(result, loaded.threshold, loaded.undecided, loaded.box_threshold)


def decide(
    bad: float, threshold: float, undecided: tuple[float, float] | None = None
) -> Literal["good", "bad", "undecided"]:
    """The decision at a probability; inside the band a person should look."""
    if undecided is not None and undecided[0] <= bad < undecided[1]:
        return "undecided"
    return "bad" if bad >= threshold else "good"


def _decided(
    result: Prediction,
    threshold: float,
    undecided: tuple[float, float] | None,
    box_threshold: float,
) -> Inspection:
    decision = decide(result.bad, threshold, undecided)
    boxes: list[Box] = []
    if decision != "good":
        height, width = result.heat.shape
        boxes = [
            box.scaled(result.width / width, result.height / height)
            for box in find_boxes(result.heat, threshold=box_threshold)
        ]
    return Inspection(
        path=result.path,
        decision=decision,
        probability_bad=round(result.bad, _DIGITS),
        boxes=tuple(boxes),
        ms=round(result.ms, 3),
        heat=result.heat,
    )
