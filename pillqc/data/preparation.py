"""Copy a category of MVTec AD from the user's download into a folder, after checking the archive.

    prepare_mvtec(out=Path("data/mvtec"), archive=Path("mvtec_anomaly_detection.tar.xz"))

Nothing is downloaded: the link has moved before, while the content stayed the same.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pillqc.data.folders import read_samples
from pillqc.data.masks import survey_with_refusals
from pillqc.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

LICENCE: Final = (
    "MVTec AD is licensed CC BY-NC-SA 4.0: no commercial use, and nothing made from its images may"
    " be passed on under other terms.\n"
    "Cite: P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger: The MVTec Anomaly"
    " Detection Dataset, IJCV 129(4), 2021."
)
WHOLE_SHA256: Final = "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d"
PILL_MD5: Final = "834e2d57f62cd4d8d74cd0a5775cc48b"
"""The archive of the pill category alone; known from one source."""
PILL_IMAGES: Final = 434


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The data set that was written."""

    root: Path
    images: int
    defects: tuple[str, ...]
    notes: tuple[str, ...]
    unusable_masks: tuple[str, ...]
    """Masks that training and evaluation would refuse, with reasons."""


def prepare_mvtec(
    *,
    out: Path,
    archive: Path | None = None,
    root: Path | None = None,
    category: str = "pill",
    good: str | None = None,
) -> Prepared:
    """Copy a category from an archive or a folder to `out`, which must not exist yet."""
    if (archive is None) == (root is None):
        raise UsageError("give either --archive or --root")
    if out.exists():
        raise DataError(out, "exists already; choose another folder or remove it")
    if root is not None and root.resolve() in out.resolve().parents:
        raise DataError(out, f"lies inside {root}, which is copied; choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        partial = Path(folder) / "data"
        if archive is not None:
            _check_hash(archive)
            _unpack(archive, partial, category)
        elif root is not None:
            source = root / category if (root / category).is_dir() else root
            read_samples(source, good=good)
            _copy(source, partial)
        notes: list[str] = []
        samples = read_samples(partial, good=good, on_note=notes.append)
        masks, refused = survey_with_refusals(samples)
        if category == "pill" and len(samples) != PILL_IMAGES:
            count = len(samples)
            notes.insert(0, f"MVTec AD's pill category has {PILL_IMAGES} images, this one {count}")
        partial.replace(out)
    return Prepared(
        root=out,
        images=len(samples),
        defects=tuple(sorted({s.defect for s in samples if s.bad})),
        notes=tuple(note.replace(str(partial), str(out)) for note in (*notes, masks.line)),
        unusable_masks=tuple(str(error).replace(str(partial), str(out)) for error in refused),
    )


def _copy(source: Path, out: Path) -> None:
    """Copy folders and regular files, but no pipes and no links to folders: some form a circle."""

    def ignored(folder: str, names: list[str]) -> list[str]:
        paths = [Path(folder, name) for name in names]
        return [p.name for p in paths if not p.is_file() and (p.is_symlink() or not p.is_dir())]

    try:
        shutil.copytree(source, out, ignore=ignored)
    except OSError as error:
        raise DataError(source, f"cannot be copied ({error})") from error


def _check_hash(archive: Path) -> None:
    if not archive.is_file():
        raise DataError(archive, "no such archive; download MVTec AD first")
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    if sha256.hexdigest() != WHOLE_SHA256 and md5.hexdigest() != PILL_MD5:
        raise DataError(
            archive,
            f"is not MVTec AD as published (SHA-256 {sha256.hexdigest()}); download it again, or"
            " unpack it yourself and give --root",
        )


def _unpack(archive: Path, out: Path, category: str) -> None:
    """Extract the regular files of the category; no member can be written outside `out`."""
    try:
        with tarfile.open(archive) as tar:
            for member, inside in _members(tar, category):
                target = out / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                if source is not None:
                    with source, target.open("wb") as file:
                        shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(archive, f"cannot be unpacked ({error})") from error
    if not out.is_dir():
        raise DataError(archive, f"holds no category {category!r}")


def _members(tar: tarfile.TarFile, category: str) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    for member in tar:
        parts = Path(member.name).parts
        if member.isfile() and category in parts and ".." not in parts:
            yield member, Path(*parts[parts.index(category) + 1 :])
