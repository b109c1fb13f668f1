"""Read and write the file beside a model that lists the images of its split.

    write_split(manifest_path(out), build_manifest(splits, root))
    manifest = read_split(path)

A row is an image: `split, defect, path, sha256`. The path is relative to the data's root and keeps
its bytes, UTF-8 or not.
"""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import astuple, dataclass, fields, replace
from typing import TYPE_CHECKING

from pillqc.data.images import SPLITS, UNSPLIT
from pillqc.data.marker import csv_line, write_whole
from pillqc.data.splits import content_hash
from pillqc.errors import DataError, writing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample


@dataclass(frozen=True, kw_only=True)
class SplitRow:
    """An image and its split; the fields are the file's columns."""

    split: str
    defect: str
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SplitManifest:
    """The images of a split, with content hashes."""

    rows: tuple[SplitRow, ...]

    @property
    def content(self) -> bytes:
        """The file's content."""
        head = tuple(field.name for field in fields(SplitRow))
        return os.fsencode("".join(map(csv_line, (head, *map(astuple, self.rows)))))

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    def digests(self, *splits: str) -> list[str]:
        """Return the content hashes of the images in the given splits."""
        return [row.sha256 for row in self.rows if row.split in splits]

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the images of every split by defect."""
        found: dict[str, dict[str, int]] = {}
        for row in self.rows:
            of_split = found.setdefault(row.split, {})
            of_split[row.defect] = of_split.get(row.defect, 0) + 1
        return found


def manifest_path(model: Path) -> Path:
    """Return the path of the manifest beside a model file."""
    return model.with_suffix(".split.csv")


def build_manifest(splits: Mapping[str, Sequence[Sample]], root: Path) -> SplitManifest:
    """Build the manifest of a split; reads every file once for its hash."""
    rows = (
        SplitRow(
            split=split,
            defect=sample.defect,
            path=sample.path.relative_to(root).as_posix(),
            sha256=content_hash(sample.path),
        )
        for split, samples in splits.items()
        for sample in samples
    )
    return SplitManifest(rows=tuple(rows))


def write_split(path: Path, manifest: SplitManifest) -> None:
    """Write the whole manifest, or nothing."""
    with writing(path):
        write_whole(path, manifest.content)


def read_split(path: Path) -> SplitManifest:
    """Read a manifest, or raise a `DataError` with the reason."""
    columns = [field.name for field in fields(SplitRow)]
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = tuple(SplitRow(**{name: line[name] for name in columns}) for line in reader)
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"not a split manifest that can be read ({error})") from error
    for row in rows:
        if row.split not in SPLITS:
            raise DataError(path, f"names the split {row.split!r}; known are {', '.join(SPLITS)}")
    return SplitManifest(rows=rows)


def apply_split(manifest: SplitManifest, samples: Sequence[Sample], path: Path) -> list[Sample]:
    """Return the samples with the splits that the manifest gives to their contents."""
    splits = {row.sha256: row.split for row in manifest.rows}
    placed = [replace(s, split=splits.get(content_hash(s.path), UNSPLIT)) for s in samples]
    unknown = [s.path for s in placed if s.split == UNSPLIT]
    if unknown:
        raise DataError(
            path, f"does not know {unknown[0]} and {len(unknown) - 1} more: it is of other data"
        )
    return placed
