"""A pill in, a decision out.

for result in inspect(loaded, paths):
    print(result.path, result.decision, result.probability_bad)
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pillqc.data.decoding import is_image_name, is_litter, why_unseen
from pillqc.data.marker import is_drawing
from pillqc.errors import shown
from pillqc.inspection.boxes import Box, find_boxes
from pillqc.inspection.novelty import outside_limits
from pillqc.inspection.prediction import BATCH_SIZE, Prediction, Unreadable, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pillqc.model.network import LoadedModel

Decision = Literal["good", "bad", "undecided", "error"]
_DIGITS: Final = 6


@dataclass(frozen=True, kw_only=True)
class Terms:
    """By what pills are decided."""

    model: str
    sha256: str | None
    """Of the model file; None where there is none."""
    threshold: float
    undecided: tuple[float, float] | None

    def __str__(self) -> str:
        """In one line, for people."""
        digest = f" ({self.sha256[:12]})" if self.sha256 else ""
        band = "no undecided band"
        if self.undecided:
            band = "undecided from {:.3g} to {:.3g}".format(*self.undecided)
        return f"model {shown(self.model)}{digest}, threshold {self.threshold:.3g}, {band}"


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What `pillqc inspect` says about one file."""

    path: Path
    decision: Decision
    probability_bad: float | None
    boxes: tuple[Box, ...] = ()
    """In pixels of the file; none on a pill that is called good."""
    ms: float | None = None
    """What this file took: its own reading, and the model's call for its whole batch."""
    batch: int | None = None
    """How many files shared that call."""
    reason: str | None = None
    """Why there is no decision."""
    heat: NDArray[Any] | None = None
    looked_at: bool = True
    """False: not even tried, because of its name."""
    unlike: str | None = None
    """In what the picture is unlike all that the model knows; see `pillqc.inspection.novelty`."""
    notes: tuple[str, ...] = ()
    terms: Terms | None = None
    time: str | None = None
    """When it was decided: ISO 8601, UTC."""
    picture_error: str | None = None
    """Why its picture for people was not made."""

    def as_dict(self) -> dict[str, Any]:
        """The object that scripts rely on."""
        found: dict[str, Any] = {
            "path": str(self.path),
            "decision": self.decision,
            "probability_bad": self.probability_bad,
            "boxes": [asdict(box) for box in self.boxes],
            "ms": self.ms,
        }
        if self.decision == "error":
            found |= {"reason": self.reason, "looked_at": self.looked_at}
        found |= {
            "batch": self.batch,
            "unlike": self.unlike,
            "notes": list(self.notes),
            "time": self.time,
        }
        if self.picture_error:
            found["picture_error"] = self.picture_error
        if self.terms:
            terms = asdict(self.terms)
            found |= {"model": terms.pop("model"), "model_sha256": terms.pop("sha256"), **terms}
        return found


def find_images(
    paths: Sequence[Path], *, on_note: Callable[[str], None] = lambda _: None
) -> Iterator[Path | Unreadable]:
    """Files as they are given, and the images under given folders, each folder's sorted.

    One by one, however many there are. A folder that cannot be read or holds no image is reported
    in its place, and so is every file whose name is not an image's. Links to files count as files;
    links to folders inside a folder are not followed, so that none leads in a circle. Pictures that
    pillqc drew are left out, which `on_note` is told.
    """
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
            yield from _images_under(path, on_note)
        else:
            yield path


def _images_under(folder: Path, on_note: Callable[[str], None]) -> Iterator[Path | Unreadable]:
    empty = True
    drawn: list[Path] = []
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=closed.append):
        folders.sort()
        odd = {f for f in folders if is_image_name(f) or Path(place, f).is_symlink()}
        yield from map(_closed, closed)
        empty = empty and not closed
        closed.clear()
        for name in sorted({*files, *odd}):
            if name in odd or not (is_image_name(name) or is_litter(name)):
                empty, path = False, Path(place, name)
                yield Unreadable(path=path, reason=why_unseen(path), looked_at=False)
            elif is_image_name(name) and is_drawing(Path(place, name)):
                drawn.append(Path(place, name))
            elif is_image_name(name):
                empty = False
                yield Path(place, name)
    yield from map(_closed, closed)
    if drawn:
        on_note(f"pictures that pillqc drew itself, left out: {len(drawn)}, the first {drawn[0]}")
    if empty and not closed:
        yield Unreadable(
            path=folder, reason="a folder that holds no images (.png, .jpg, .tif, ...)"
        )


def _closed(error: OSError) -> Unreadable:
    return Unreadable(path=Path(error.filename), reason=f"{error.strerror}")


def inspect(
    loaded: LoadedModel,
    paths: Iterable[Path | Unreadable],
    *,
    size: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Inspection]:
    """Decide about every file, in order; one that cannot be read gets the decision `error`.

    A pill that the model calls good, in a picture unlike all that it knows, is `undecided`.
    """
    terms = terms_of(loaded)
    for result in predict(loaded.model, paths, size=size or loaded.size, batch_size=batch_size):
        if isinstance(result, Unreadable):
            yield Inspection(
                path=result.path,
                decision="error",
                probability_bad=None,
                reason=result.reason,
                looked_at=result.looked_at,
                terms=terms,
                time=_now(),
            )
        else:
            yield _decided(result, loaded, terms)


def terms_of(loaded: LoadedModel) -> Terms:
    """By what a model decides."""
    return Terms(
        model=loaded.name,
        sha256=loaded.sha256,
        threshold=loaded.threshold,
        undecided=loaded.undecided,
    )


class Tally:
    """Counts what was decided about files, as `Inspection.as_dict` tells it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, told: Mapping[str, Any]) -> None:
        """Count one file."""
        decision = told["decision"] if told.get("looked_at", True) else "not looked at"
        self.counts[decision] += 1
        self.counts["unlike"] += bool(told.get("unlike"))
        self.counts["no picture"] += "picture_error" in told

    @property
    def suspicious(self) -> bool:
        """Whether a person should look at a pill."""
        return bool(self.counts["bad"] or self.counts["undecided"])

    @property
    def failed(self) -> bool:
        """Whether there is a file of which not all was done."""
        return any(self.counts[kind] for kind in ("error", "not looked at", "no picture"))

    def __str__(self) -> str:
        """The closing line."""
        n = self.counts
        looked = n["good"] + n["bad"] + n["undecided"] + n["error"]
        more = [
            f"; {count} {what}"
            for count, what in (
                (n["unlike"], "unlike all that the model knows"),
                (n["no picture"], "without a picture"),
            )
            if count
        ]
        return (
            f"looked at {looked}: {n['good']} good, {n['bad']} bad, {n['undecided']} undecided,"
            f" {n['error']} errors; not looked at: {n['not looked at']}{''.join(more)}"
        )


def decide(
    bad: float, threshold: float, undecided: tuple[float, float] | None = None
) -> Literal["good", "bad", "undecided"]:
    """The decision at a probability; inside the band a person should look."""
    if undecided is not None and undecided[0] <= bad < undecided[1]:
        return "undecided"
    return "bad" if bad >= threshold else "good"


def _decided(result: Prediction, loaded: LoadedModel, terms: Terms) -> Inspection:
    decision = decide(result.bad, terms.threshold, terms.undecided)
    strange = outside_limits(loaded.card.known if loaded.card else {}, result.statistics)
    if strange and decision == "good":
        decision = "undecided"
    boxes: list[Box] = []
    if decision != "good":
        height, width = result.heat.shape
        boxes = [
            box.scaled(result.width / width, result.height / height)
            for box in find_boxes(result.heat, threshold=loaded.box_threshold)
        ]
    return Inspection(
        path=result.path,
        decision=decision,
        probability_bad=round(result.bad, _DIGITS),
        boxes=tuple(boxes),
        ms=round(result.ms, 3),
        batch=result.batch,
        heat=result.heat,
        unlike=strange,
        notes=result.notes,
        terms=terms,
        time=_now(),
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
