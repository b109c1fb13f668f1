"""Write decisions as lines of text and as rows of a CSV file."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any, Final

from typing_extensions import Self

from pillqc.data.marker import csv_line, own_output
from pillqc.errors import shown, writing
from pillqc.inspection.inspector import likely_defects

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pillqc.inspection.inspector import Inspection

_BOX_COLUMNS: Final = ("left", "top", "right", "bottom", "score")
_COLUMNS: Final = (
    *("path", "decision", "probability_bad", "boxes", *_BOX_COLUMNS, "ms", "reason", "all_boxes"),
    *("batch", "looked_at", "unlike", "notes", "picture_error", "time", "model", "model_sha256"),
    *("threshold", "undecided_from", "undecided_to"),
)
_DEFECT_COLUMNS: Final = ("defect", "probability_defect", "defects")
"""Further columns of a model that names defects."""


def inspection_line(result: Inspection) -> str:
    """Return one file's decision as a line."""
    name = shown(result.path)
    if result.decision == "error":
        return f"{name}: error: {result.reason}"
    line = f"{name}: {result.decision}, probability of bad {result.probability_bad:.3f}"
    if result.boxes:
        boxes = (f"({b.left},{b.top})-({b.right},{b.bottom}) {b.score:.2f}" for b in result.boxes)
        line += f", defect at {', '.join(boxes)}"
    remarks = list(result.notes)
    if result.unlike:
        remarks.insert(0, f"UNLIKE ALL THAT THE MODEL KNOWS ({result.unlike})")
    if result.picture_error:
        remarks.append(f"no picture: {result.picture_error}")
    if result.defects and result.decision != "good":
        remarks.append(f"most likely {likely_defects(result.defects)}")
    return "; ".join([f"{line}, {result.ms:.0f} ms", *remarks])


class CsvLines:
    """A CSV file of decisions, written row by row; names keep their bytes. None writes nothing.

    With `defects` it has columns for them, at the end. An earlier table of the same name stays
    until the first row, so that what fails before does not cost it.
    """

    def __init__(self, path: Path | None, *, defects: bool = False) -> None:
        self._path = path
        self._columns = (*_COLUMNS, *(_DEFECT_COLUMNS if defects else ()))
        self._file: IO[str] | None = None
        self._is_earlier = False
        """Whether the file still holds the table of an earlier inspection."""

    def __enter__(self) -> Self:
        if (path := self._path) is not None:
            self._is_earlier = own_output(path) is not None
            mode = "a" if self._is_earlier else "w"
            with writing(path):
                self._file = path.open(mode, newline="", encoding="utf-8", errors="surrogateescape")
                try:
                    if not self._is_earlier:
                        self._begin(self._file)
                except OSError:
                    self._file.close()
                    raise
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if self._path is not None and self._file is not None:
            with writing(self._path):
                if self._is_earlier and failed is None:
                    self._begin(self._file)
                self._file.close()

    def _begin(self, file: IO[str]) -> None:
        if self._is_earlier:
            file.truncate(0)
            self._is_earlier = False
        file.write(csv_line(self._columns))
        file.flush()  # a table in the inspected folder is recognised by its first line

    def add(self, values: Mapping[str, Any]) -> None:
        """Write the row of a file, from `Inspection.as_dict`.

        `boxes` is their number, the following columns are the hottest box, and `all_boxes` is the
        JSON of all boxes. `defect` is the most likely one, and `defects` the JSON of all.
        """
        if self._path is None or self._file is None:
            return
        boxes = values["boxes"]
        low, high = values.get("undecided") or ("", "")
        defects = values.get("defects") or {}
        most_likely = next(iter(defects.items()), ("", ""))
        row = {
            **values,
            **(boxes[0] if boxes else {}),
            "boxes": len(boxes),
            "all_boxes": json.dumps(boxes),
            "notes": "; ".join(values.get("notes") or ()),
            "undecided_from": low,
            "undecided_to": high,
            **dict(zip(_DEFECT_COLUMNS, most_likely, strict=False)),
            "defects": json.dumps(defects),
        }
        with writing(self._path):
            if self._is_earlier:
                self._begin(self._file)
            self._file.write(csv_line(row.get(name) for name in self._columns))
            self._file.flush()
