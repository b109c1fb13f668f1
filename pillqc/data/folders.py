"""Folders of images in, samples out.

    samples = read_samples(Path("data/pills"), on_note=print)

Layouts: `<split>/good/*.png` and `<split>/<any defect>/*.png`, where a split is `train`,
`validation` or `test` (or another name in `SPLIT_NAMES`); or `good/` and one or more folders of bad
images directly under the root. A folder without images whose folders hold some passes as a group of
classes. Everything is sorted, so that an order never depends on the file system.

What is neither an image nor a mask that is used is told in a line; so is every name that had to be
interpreted. Masks are found by `pillqc.data.mask_files`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pillqc.data.decoding import is_image_name, told_of_unseen
from pillqc.data.images import GOOD, SPLITS, UNSPLIT, Sample, visible
from pillqc.data.marker import is_drawing
from pillqc.data.mask_files import MaskFiles, beside, files_below, holds_masks
from pillqc.data.splits import check_same_kind, content_hash
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SPLIT_NAMES: Final = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
    **dict.fromkeys(("testpublic", "testprivate", "testprivatemixed"), "test"),  # MVTec AD 2
}
"""Folder names in small letters without `_`, `-` and blanks, and what they are taken for."""
_LOOKS_GOOD: Final = frozenset(
    {
        *(
            "ok",
            "okay",
            "normal",
            "pass",
            "passed",
            "fine",
            "healthy",
            "intact",
            "clean",
            "perfect",
        ),
        *("nondefective", "nodefect", "nodefects", "defectfree", "undamaged", "goods", "io", "gut"),
    }
)
"""Names of folders that may hold good pills; never taken as such without being told."""


_NO_CLASSES: Final = "holds neither train/ and test/ (MVTec AD's layout) nor good/ and bad/"
_DRAWN: Final = "pictures that pillqc drew itself, left out"
_LOOSE: Final = "images in no class folder, not used"
_NO_IMAGES: Final = "its class folders hold no images (.png, .jpg, .bmp, .tif, .webp)"


@dataclass(frozen=True, kw_only=True)
class _Class:
    """A folder of images of one kind."""

    folder: Path
    place: Path
    """The folder of its split, or the root."""
    split: str
    name: str
    """Of the folder, seen from its split's."""
    images: tuple[Path, ...]


def read_samples(
    root: Path, *, good: str | None = None, on_note: Callable[[str], None] = lambda _: None
) -> list[Sample]:
    """Return the samples under `root`, sorted by split, defect and name.

    Args:
        root: the folder of the data set.
        good: the folder of good pills where it is not called `good`.
        on_note: told of every name that was interpreted and of all that is not used.

    Raises:
        DataError: no such folder, not a data set, no folder of good pills, or a file that is good
            and bad at once.
    """
    if not root.is_dir():
        raise DataError(root, "no such folder; give the folder that holds train/ and test/")
    reading = _Reading()
    places = _split_folders(root) or {root: UNSPLIT}
    classes = [c for place, split in places.items() for c in reading.classes(place, split)]
    loose = reading.left[_LOOSE]
    if not any(found.images for found in classes) and not loose:
        raise DataError(root, _NO_IMAGES if classes else _NO_CLASSES)
    if not any(found.images for found in classes):
        raise DataError(
            root,
            f"{len(loose)} images lie in no class folder, the first {loose[0]}; put good pills into"
            " good/ and the others into folders that are called after their defects",
        )
    _check_is_one(root, classes, good)
    for folder in _folders_in(root) if root not in places else ():
        if folder not in places:
            images = filter(_is_photograph, files_below(folder))
            reading.left["images in a folder that is no split's, not used"] += images
    reading.tell(on_note)
    for place, split in places.items():
        if split not in (UNSPLIT, place.name):
            on_note(f"{place}: taken for {split}")
    good_folders = _good_folders(root, classes, good, on_note)
    samples = [
        Sample(
            path=path,
            defect=GOOD if found.folder in good_folders else found.name,
            bad=found.folder not in good_folders,
            mask=None,
            split=found.split,
        )
        for found in classes
        for path in found.images
    ]
    _check_contents(samples, on_note)
    of_image = {path: found.place for found in classes for path in found.images}
    return MaskFiles(root).given_to(samples, of_image, reading.near, on_note)


def samples_of(samples: Sequence[Sample], split: str | None, root: Path) -> list[Sample]:
    """The samples of a split; without one those of `test`, or all where there is no test."""
    present = {sample.split for sample in samples}
    if split is None:
        wanted = "test" if "test" in present else None
    else:
        wanted = _split_named(split) or split
        if wanted not in present:
            raise DataError(root, f"has no split {split!r}; it has {', '.join(sorted(present))}")
    return [sample for sample in samples if wanted in (None, sample.split)]


class _Reading:
    """What is met on the way through the folders."""

    def __init__(self) -> None:
        self.near: dict[Path, Path] = {}
        """Image -> mask beside it."""
        self.left: dict[str, list[Path]] = defaultdict(list)
        """What is to be told -> of which files or folders."""

    def tell(self, on_note: Callable[[str], None]) -> None:
        """One line for each kind."""
        for what, paths in self.left.items():
            if paths:
                on_note(f"{what}: {len(paths)}, the first {paths[0]}")

    def classes(self, place: Path, split: str) -> list[_Class]:
        """The class folders in the folder of a split, or in the root."""
        images = [path for path in visible(place) if _is_photograph(path)]
        self.left[_LOOSE] += images
        return [c for folder in _folders_in(place) for c in self._classes(folder, place, split)]

    def _classes(self, folder: Path, place: Path, split: str) -> list[_Class]:
        """The folder as a class; without images of its own the classes that its folders are."""
        images = self._images(folder)
        within = (
            [] if folder.is_symlink() else [f for f in _folders_in(folder) if not f.is_symlink()]
        )
        name = folder.relative_to(place).as_posix()
        own = _Class(folder=folder, place=place, split=split, name=name, images=images)
        if images:
            deeper = (path for f in within for path in files_below(f) if _is_photograph(path))
            self.left["images deeper than in their class folder, not used"] += deeper
            return [own]
        found = [c for f in within for c in self._classes(f, place, split) if c.images]
        if not found and any(path.parent == folder for path in self.left[_DRAWN]):
            return []
        if not found:
            self.left["class folders without an image"].append(folder)
            return [own]
        if all(len(c.images) == 1 and c.images[0] in self.near for c in found):
            # a folder of one image with its mask is no class
            return [replace(c, name=name) for c in found]
        self.left["folders taken for groups of classes"].append(folder)
        return found

    def _images(self, folder: Path) -> tuple[Path, ...]:
        files = [path for path in visible(folder) if not path.is_dir()]
        images = [path for path in files if is_image_name(path.name)]
        drawn = [path for path in images if is_drawing(path)]
        masks = beside([path for path in images if path not in drawn])
        self.near |= {image: mask for mask, image in reversed(masks.items())}
        unseen = [path for path in files if path not in images]
        if unseen:
            raise DataError(folder, told_of_unseen(unseen))
        self.left[_DRAWN] += drawn
        self.left["files beside images, taken for their masks"] += list(masks)
        return tuple(path for path in images if path not in masks and path not in drawn)


def _split_folders(root: Path) -> dict[Path, str]:
    """Folders of splits that hold images -> split, in the order of the splits."""
    named = {f: split for f in _folders_in(root) if (split := _split_named(f.name))}
    used = [f for f in named if any(is_image_name(path.name) for path in files_below(f))]
    return {f: named[f] for f in sorted(used, key=lambda f: SPLITS.index(named[f]))}


def _split_named(name: str) -> str | None:
    return SPLIT_NAMES.get(_plain(name))


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir() and not holds_masks(path)]


def _is_photograph(path: Path) -> bool:
    """Whether a file counts as an image of a pill, by its name and by what drew it."""
    return is_image_name(path.name) and not path.is_dir() and not is_drawing(path)


def _is_called(found: _Class, name: str) -> bool:
    return name.lower() in found.name.lower().split("/")


def _check_is_one(root: Path, classes: Sequence[_Class], good: str | None) -> None:
    """Refuse a folder with data sets in it: classes of different products would be mixed."""
    wanted = (good or GOOD).lower()
    split, groups = set(), set()
    for found in classes if {c.split for c in classes} == {UNSPLIT} else ():
        *above, last = found.name.split("/")
        splits = [number for number, part in enumerate(above) if _split_named(part)]
        if splits:
            split.add(root.joinpath(*above[: splits[0]]))
        elif above and last.lower() == wanted:
            groups.add(root.joinpath(*above))
    own = any(c.name.lower() == wanted for c in classes)
    if split or (len(groups) > 1 and not own):
        example = min(split | groups)
        raise DataError(root, f"holds categories; give one of them, for example {example}")


def _good_folders(
    root: Path, classes: Sequence[_Class], good: str | None, on_note: Callable[[str], None]
) -> set[Path]:
    """The class folders of good pills.

    Raises:
        DataError: there is none, or another one may be meant.
    """
    wanted, chosen = good or GOOD, set()
    for split in dict.fromkeys(c.split for c in classes):
        mine = [c for c in classes if c.split == split]
        named, usual = ({c.folder for c in mine if _is_called(c, n)} for n in (wanted, GOOD))
        chosen |= named or usual
        names = ", ".join(f"{c.folder.relative_to(root)} ({len(c.images)} images)" for c in mine)
        if named and usual - named:
            raise DataError(root, f"found {names}: call {wanted}/ or good/ otherwise")
        defects = [c.folder.name for c in mine if c.folder not in chosen]
        alike = not good and any(_plain(name) in _LOOKS_GOOD for name in defects)
        if alike or not any(c.images for c in classes if _is_called(c, wanted)):
            raise DataError(
                root,
                "it is not clear which pills are good: their folder must be called good, or say"
                f" --good {_likely_good(defects)}; found {names}, of which all but {wanted} would"
                " be defects",
            )
        if len(defects) == len(mine):
            on_note(f"no good pills, but {names}")
    otherwise = sorted({c.name for c in classes if c.folder in chosen and c.folder.name != GOOD})
    if otherwise:
        on_note(f"taken for good pills: {', '.join(otherwise)}")
    return chosen


def _likely_good(names: Sequence[str]) -> str:
    """The folder that a user may have meant; NAME where nothing tells."""
    likely = [n for n in names if {GOOD, *_LOOKS_GOOD} & {_plain(n), *re.split("[-_ ]", n.lower())}]
    return likely[0] if likely else "NAME"


def _check_contents(samples: Sequence[Sample], on_note: Callable[[str], None]) -> None:
    """Refuse a file that is good and bad at once; tell of other copies.

    Only files of one size are read.
    """
    by_size: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.path.is_file():
            by_size[sample.path.stat().st_size].append(sample)
    copies = []
    for size, alike in by_size.items():
        known: dict[str, Sample] = {}
        for sample in alike if size and len(alike) > 1 else ():
            first = known.setdefault(content_hash(sample.path), sample)
            check_same_kind(first, sample)
            if first is not sample:
                copies.append(sample.path)
    if copies:
        on_note(f"copies of other images, each counts: {len(copies)}, the first {min(copies)}")
