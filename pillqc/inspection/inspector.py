"""Find image files and decide which pills are good.

for result in inspect(loaded, paths):
    print(result.path, result.decision, result.probability_bad)
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pillqc.data.file_names import is_image_name, is_left_by_system, why_not_read
from pillqc.data.images import count_note
from pillqc.data.marker import own_output
from pillqc.errors import shown
from pillqc.inspection.boxes import Box, find_boxes
from pillqc.inspection.novelty import outside_limits
from pillqc.inspection.prediction import BATCH_SIZE, Prediction, Unreadable, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pillqc.model.network import LoadedModel

Decision = Literal["good", "bad", "undecided", "error"]
_DIGITS: Final = 6
_LIKELY: Final = 3
"""Number of defects that people are shown; JSON and CSV have all."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The model and thresholds that decide."""

    model: str
    sha256: str | None
    """SHA-256 of the model file; a model without one is untrained."""
    threshold: float
    undecided: tuple[float, float] | None

    def __str__(self) -> str:
        """Return one line for people."""
        digest = f" ({self.sha256[:12]})" if self.sha256 else ""
        band = "no undecided band"
        if self.undecided:
            band = "undecided from {:.3g} to {:.3g}".format(*self.undecided)
        doubt = "" if self.sha256 else "; UNTRAINED: its decisions mean nothing"
        return f"model {shown(self.model)}{digest}, threshold {self.threshold:.3g}, {band}{doubt}"


@dataclass(frozen=True, kw_only=True)
class Inspection:  # more than 15 fields: the keys of the JSON, and the maps
    """The result of `pillqc inspect` for one file."""

    path: Path
    decision: Decision
    probability_bad: float | None
    boxes: tuple[Box, ...] = ()
    """In pixels of the file; none for good pills."""
    ms: float | None = None
    """Time to read this file, plus the model's call for the whole batch."""
    batch: int | None = None
    """Number of files in that batch."""
    reason: str | None = None
    """Why there is no decision."""
    heat: NDArray[Any] | None = None
    looked_at: bool = True
    """False if reading was not tried, because of the file's name."""
    unlike: str | None = None
    """Statistics of the picture outside the known limits; see `pillqc.inspection.novelty`."""
    notes: tuple[str, ...] = ()
    terms: Terms | None = None
    time: str | None = None
    """Time of the decision: ISO 8601, UTC."""
    picture_error: str | None = None
    """Why the picture with boxes and heat map was not saved."""
    statistics: Mapping[str, float] | None = None
    """Of the whole picture: see `pillqc.inspection.drift`; not in the JSON."""
    defects: dict[str, float] | None = None
    """Probability of each defect, the most likely first; None for a model that names none."""
    defect_heat: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Map of each defect, the most likely first."""

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        found: dict[str, Any] = {
            "path": str(self.path),
            "decision": self.decision,
            "probability_bad": self.probability_bad,
            "boxes": [asdict(box) for box in self.boxes],
            "ms": self.ms,
        }
        if self.decision == "error":
            found["reason"] = self.reason
        found |= {
            "looked_at": self.looked_at,
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
        if self.defects is not None:
            found["defects"] = self.defects
        return found


def find_images(
    paths: Sequence[Path], *, on_note: Callable[[str], None] = lambda _: None
) -> Iterator[Path | Unreadable]:
    """Yield given files as they are, and the images below given folders, sorted in each folder.

    Folders are walked lazily, whatever the number of files. A folder that cannot be read or holds
    no image is yielded as `Unreadable`, and so is everything else that is not read: links to
    folders (some form a circle), hidden files and folders, and files whose names are not those of
    images. pillqc's own pictures and results are left out and counted for `on_note`.
    """
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
            yield from _images_below(path, on_note)
        else:
            yield path


def _images_below(folder: Path, on_note: Callable[[str], None]) -> Iterator[Path | Unreadable]:
    empty = True
    own: dict[str, list[Path]] = {}
    errors: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=errors.append):
        yield from map(_unreadable, errors)
        empty = empty and not errors
        errors.clear()
        folders[:] = sorted(name for name in folders if not is_left_by_system(name))
        unread = {f for f in folders if _is_unread_folder(Path(place, f))}
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted({f for f in files if not is_left_by_system(f)} | unread):
            path = Path(place, name)
            kind = None if name in unread else own_output(path)
            if kind:
                own.setdefault(kind, []).append(path)
                continue
            empty = False
            if name in unread or not is_image_name(name):
                yield Unreadable(path=path, reason=why_not_read(path), looked_at=False)
            else:
                yield path
    yield from map(_unreadable, errors)
    for kind, left_out in own.items():
        on_note(count_note(kind, left_out))
    if empty and not errors:
        yield Unreadable(
            path=folder, reason="a folder that holds no images (.png, .jpg, .tif, ...)"
        )


def _is_unread_folder(path: Path) -> bool:
    return path.name.startswith(".") or is_image_name(path.name) or path.is_symlink()


def _unreadable(error: OSError) -> Unreadable:
    return Unreadable(path=Path(error.filename), reason=f"{error.strerror}")


def inspect(
    loaded: LoadedModel,
    paths: Iterable[Path | Unreadable],
    *,
    size: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Inspection]:
    """Decide about every file, in order; a file that cannot be read gets the decision `error`.

    A good pill in a picture outside the model's known limits is `undecided`.
    """
    terms = decision_terms(loaded)
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


def decision_terms(loaded: LoadedModel) -> Terms:
    """Return the model's name, digest and thresholds."""
    return Terms(
        model=loaded.name,
        sha256=loaded.sha256,
        threshold=loaded.threshold,
        undecided=loaded.undecided,
    )


def likely_defects(defects: Mapping[str, float]) -> str:
    """Return the most likely defects with their probabilities, for people."""
    most = list(defects.items())[:_LIKELY]
    return ", ".join(f"{shown(name)} {probability:.3f}" for name, probability in most)


class Tally:
    """Counts decisions about files, given as `Inspection.as_dict()`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, result: Mapping[str, Any]) -> None:
        """Count one file."""
        decision = result["decision"] if result.get("looked_at", True) else "not looked at"
        self.counts[decision] += 1
        self.counts["unlike"] += bool(result.get("unlike"))
        self.counts["no picture"] += "picture_error" in result

    @property
    def suspicious(self) -> bool:
        """Whether a person should look at a pill."""
        return bool(self.counts["bad"] or self.counts["undecided"])

    @property
    def failed(self) -> bool:
        """Whether a file has no decision, or no picture where one was requested."""
        return any(self.counts[kind] for kind in ("error", "not looked at", "no picture"))

    @property
    def looked_at(self) -> int:
        """How many files were tried."""
        return sum(self.counts[kind] for kind in ("good", "bad", "undecided", "error"))

    def __str__(self) -> str:
        """Return the closing line."""
        n = self.counts
        line = (
            f"looked at {self.looked_at}: {n['good']} good, {n['bad']} bad,"
            f" {n['undecided']} undecided, {n['error']} errors; not looked at: {n['not looked at']}"
        )
        if n["unlike"]:
            line += f"; {n['unlike']} unlike all that the model knows"
        if n["no picture"]:
            line += f"; {n['no picture']} without a picture"
        return line


def decide(
    bad: float, threshold: float, undecided: tuple[float, float] | None = None
) -> Literal["good", "bad", "undecided"]:
    """Return the decision for a probability; inside the band a person should look.

    A pill is good only if its probability is below the threshold: NaN never is.
    """
    if undecided is not None and undecided[0] <= bad < undecided[1]:
        return "undecided"
    return "good" if bad < threshold else "bad"


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
    order = (-result.defects).argsort(kind="stable").tolist()
    names = loaded.defects
    return Inspection(
        path=result.path,
        decision=decision,
        probability_bad=round(result.bad, _DIGITS),
        boxes=tuple(boxes),
        ms=round(result.ms, 3),
        batch=result.batch,
        heat=result.heat,
        unlike=strange,
        statistics=result.statistics,
        notes=result.notes,
        terms=terms,
        time=_now(),
        defects={names[i]: round(float(result.defects[i]), _DIGITS) for i in order} or None,
        defect_heat={names[i]: result.defect_heat[i] for i in order},
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
