"""Write the page of `pillqc inspect --html`: what an inspection decided, for people.

    page = TrayPage(Path("tray.html"))
    for result in inspect(loaded, paths):
        page.add(result)
    page.write([str(terms)])

It loads nothing, so it can be sent and kept. Good pills are counted; of bad and undecided ones the
most probable have a picture, and of files that were not decided the first have their reason, so
that the page of a million pills opens too.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import io
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import resources
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from pillqc.data.decoding import TOO_LARGE
from pillqc.data.marker import MARK, try_to_write, write_whole
from pillqc.errors import PillqcError, shown, writing
from pillqc.inspection.inspector import likely_defects
from pillqc.inspection.pictures import draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pillqc.inspection.inspector import Inspection

_MOST_PICTURES: Final = 150
"""Of each decision: the page stays below some 10 MB."""
_MOST_ERRORS: Final = 1000
_TITLES: Final = {"undecided": "Look at these", "bad": "Bad, the worst first"}
_WIDTH: Final = 640
"""Pixels of a picture on the page: photograph and heat map side by side."""
_QUALITY: Final = 80


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One pill on the page."""

    path: str
    decision: str
    probability_bad: float
    boxes: int
    remarks: tuple[str, ...]
    picture: str
    """A data URI; empty if it could not be drawn."""


@dataclass(kw_only=True)
class _Worst:
    """Keeps the pills with the highest probabilities of bad; heap entries are unique by order."""

    most: int
    heap: list[tuple[float, int, Shown]] = field(default_factory=list)
    order: count[int] = field(default_factory=count)

    def wants(self, probability: float) -> bool:
        return len(self.heap) < self.most or probability > self.heap[0][0]

    def add(self, pill: Shown) -> None:
        entry = (pill.probability_bad, -next(self.order), pill)
        if len(self.heap) < self.most:
            heapq.heappush(self.heap, entry)
        else:
            heapq.heapreplace(self.heap, entry)

    @property
    def pills(self) -> list[Shown]:
        """The worst first; among equals the first that came."""
        return [pill for *_, pill in sorted(self.heap, key=lambda entry: entry[:2], reverse=True)]


class TrayPage:
    """Collects an inspection's results and writes them as one page; without a path nothing."""

    def __init__(self, path: Path | None, *, most: int = _MOST_PICTURES) -> None:
        self._path = path
        self._counts: Counter[str] = Counter()
        self._worst = {kind: _Worst(most=most) for kind in _TITLES}
        self._errors: list[tuple[str, str]] = []
        if path is not None:
            with writing(path):  # fails before hours of inspection
                try_to_write(path)

    def add(self, result: Inspection) -> Inspection:
        """Take a result, draw it if it is among the worst so far, and return it unchanged."""
        if self._path is None:
            return result
        decision = result.decision if result.looked_at else "not looked at"
        self._counts[decision] += 1
        self._counts["unlike"] += bool(result.unlike)
        if result.decision == "error":
            if len(self._errors) < _MOST_ERRORS:
                self._errors.append((shown(result.path), result.reason or ""))
            return result
        worst = self._worst.get(result.decision)
        probability = result.probability_bad or 0.0
        if worst is not None and worst.wants(probability):
            worst.add(_shown(result, probability))
        return result

    def write(self, remarks: Sequence[str]) -> None:
        """Write the page; `remarks` name the model, its thresholds, and what else to know.

        Raises:
            PillqcError: it cannot be written.
        """
        if self._path is not None:
            with writing(self._path):
                write_whole(self._path, self._render(remarks).encode())

    def _render(self, remarks: Sequence[str]) -> str:
        import jinja2  # inspections without a page start sooner
        from markupsafe import Markup

        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("pillqc", "inspection"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
        )
        folder = resources.files("pillqc.inspection")
        script = folder.joinpath("tray.js").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        context: dict[str, Any] = {
            "mark": MARK,
            "policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
            "script": Markup(script),  # noqa: S704 - our own file, shipped with the package
            "remarks": remarks,
            "time": datetime.now(timezone.utc).isoformat(sep=" ", timespec="minutes"),
            "counts": self._counts,
            "total": sum(n for kind, n in self._counts.items() if kind != "unlike"),
            "sections": [
                (kind, _TITLES[kind], worst.pills, self._counts[kind] - len(worst.heap))
                for kind, worst in self._worst.items()
            ],
            "errors": self._errors,
            "not_decided": self._counts["error"] + self._counts["not looked at"],
        }
        return environment.get_template("tray.html").render(context) + "\n"


def _shown(result: Inspection, probability: float) -> Shown:
    remarks = list(result.notes)
    if result.defects:
        remarks.insert(0, f"most likely {likely_defects(result.defects)}")
    if result.unlike:
        remarks.insert(0, f"unlike all that the model knows: {result.unlike}")
    picture = ""
    try:
        drawn = draw(result)
        drawn.thumbnail((_WIDTH, 10 * _WIDTH))
        buffer = io.BytesIO()
        drawn.save(buffer, "JPEG", quality=_QUALITY)
        picture = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    except (PillqcError, OSError) as error:
        remarks.append(f"no picture: {error}")
    except MemoryError:
        remarks.append(f"no picture: {TOO_LARGE}")
    return Shown(
        path=shown(result.path),
        decision=result.decision,
        probability_bad=probability,
        boxes=len(result.boxes),
        remarks=tuple(remarks),
        picture=picture,
    )
