"""The file beside a model that says which image was on which side of its split.

    write_split(manifest_path(out), splits, root)
    sides = read_split(path)                    # SHA-256 -> train, validation or test

A row is an image: `split, defect, path, sha256`, the path relative to the data's root, with its
very bytes, UTF-8 or not.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pillqc.data.images import SPLITS, UNSPLIT
from pillqc.data.splits import content_hash
from pillqc.errors import DataError, PillqcError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample

COLUMNS: Final = ("split", "defect", "path", "sha256")


@dataclass(frozen=True, kw_only=True)
class SplitRow:
    """Where one image went."""

    split: str
    defect: str
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SplitManifest:
    """A split, with its content hashes."""

    rows: tuple[SplitRow, ...]

    @property
    def text(self) -> str:
        """The file's content."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((row.split, row.defect, row.path, row.sha256) for row in self.rows)
        return buffer.getvalue()

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(os.fsencode(self.text)).hexdigest()

    def digests(self, *splits: str) -> list[str]:
        """Content hashes of the images in the given splits."""
        return [row.sha256 for row in self.rows if row.split in splits]

    def counts(self) -> dict[str, dict[str, int]]:
        """Images of every split, by defect."""
        found: dict[str, dict[str, int]] = {}
        for row in self.rows:
            of_split = found.setdefault(row.split, {})
            of_split[row.defect] = of_split.get(row.defect, 0) + 1
        return found


def manifest_path(model: Path) -> Path:
    """Where the manifest of a model file lies."""
    return model.with_suffix(".split.csv")


def build_manifest(splits: Mapping[str, Sequence[Sample]], root: Path) -> SplitManifest:
    """The manifest of a split; reads every file once for its hash."""
    return SplitManifest(rows=tuple(_rows(splits, root)))


def write_split(path: Path, manifest: SplitManifest) -> None:
    """Write the manifest whole, or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(os.fsencode(manifest.text))
        partial.replace(path)
    except OSError as error:
        raise PillqcError(f"{path}: cannot be written ({error.strerror})") from error


def read_split(path: Path) -> SplitManifest:
    """Read a manifest, or raise a `DataError` that says what is wrong with it."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = tuple(SplitRow(**{name: line[name] for name in COLUMNS}) for line in reader)
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"not a split manifest that can be read ({error})") from error
    for row in rows:
        if row.split not in SPLITS:
            raise DataError(path, f"names the split {row.split!r}; known are {', '.join(SPLITS)}")
    return SplitManifest(rows=rows)


def apply_split(manifest: SplitManifest, samples: Sequence[Sample], path: Path) -> list[Sample]:
    """The samples, each on the side that the manifest names by its content."""
    sides = {row.sha256: row.split for row in manifest.rows}
    placed = [replace(s, split=sides.get(content_hash(s.path), UNSPLIT)) for s in samples]
    strangers = [s.path for s in placed if s.split == UNSPLIT]
    if strangers:
        raise DataError(
            path, f"does not know {strangers[0]} and {len(strangers) - 1} more: it is of other data"
        )
    return placed


def _rows(splits: Mapping[str, Sequence[Sample]], root: Path) -> Iterable[SplitRow]:
    for split, samples in splits.items():
        for sample in samples:
            yield SplitRow(
                split=split,
                defect=sample.defect,
                path=sample.path.relative_to(root).as_posix(),
                sha256=content_hash(sample.path),
            )
