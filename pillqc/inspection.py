"""A pill in, a decision out.

for result in inspect(loaded, paths):
    print(result.path, result.decision, result.probability_bad)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pillqc.dataset import SUFFIXES
from pillqc.errors import DataError
from pillqc.localization import Box, find_boxes
from pillqc.prediction import BATCH_SIZE, Prediction, Unreadable, predict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

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


def find_images(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as they are given, and the images under given folders, sorted."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise DataError(path, "holds no images (.png, .jpg, .bmp, .tif, .webp)")
        yield from inside


def inspect(
    loaded: LoadedModel,
    paths: Iterable[Path],
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
