"""Read a folder of images as samples.

    samples = read_samples(Path("data/pills"), on_note=print)

Layouts: `<split>/good/*.png` and `<split>/<any defect>/*.png`, where a split is `train`,
`validation` or `test` (or another name in `SPLIT_NAMES`); or `good/` and one or more folders of bad
images directly under the root. A folder without images whose subfolders hold some is a group of
classes. Everything is sorted, so that no order depends on the file system.

Every name that was interpreted and every kind of file that is not used gets a note. Masks are found
by `pillqc.data.mask_files`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pillqc.data.file_names import describe_unread, hidden_below, is_image_name, visible
from pillqc.data.images import GOOD, SPLITS, UNSPLIT, Sample, count_note
from pillqc.data.marker import DRAWN, RESULTS, is_drawing, own_output
from pillqc.data.mask_files import MaskFiles, files_below, holds_masks, masks_beside
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
"""Folder name, in lower case without `_`, `-` and blanks -> split."""
_LOOKS_GOOD: Final = frozenset(
    {
        *("ok", "okay", "io", "gut", "goods", "normal", "pass", "passed", "fine", "healthy"),
        *("intact", "clean", "perfect", "undamaged", "defectfree", "nodefect", "nodefects"),
        "nondefective",
    }
)
"""Folder names that may mean good pills; they are never assumed to."""
_NO_CLASSES: Final = "holds neither train/ and test/ (MVTec AD's layout) nor good/ and bad/"
_NO_IMAGES: Final = "its class folders hold no images (.png, .jpg, .bmp, .tif, .webp)"
_LOOSE: Final = "images in no class folder, not used"


@dataclass(frozen=True, kw_only=True)
class _Class:
    """A folder of images of one kind."""

    folder: Path
    place: Path
    """The folder of its split, or the root."""
    split: str
    name: str
    """The folder's path below `place`."""
    images: tuple[Path, ...]

    def is_called(self, name: str) -> bool:
        return name.lower() in self.name.lower().split("/")


def read_samples(
    root: Path, *, good: str | None = None, on_note: Callable[[str], None] = lambda _: None
) -> list[Sample]:
    """Return the samples under `root`, sorted by split, defect and name.

    Args:
        root: the folder of the data set.
        good: the folder of good pills, if it is not called `good`.
        on_note: called with a line for every interpreted name and every kind of unused file.

    Raises:
        DataError: no such folder, not a data set, no folder of good pills, or a file that is good
            and bad at once.
    """
    if not root.is_dir():
        raise DataError(root, "no such folder; give the folder that holds train/ and test/")
    scan = _Scan()
    places = _split_folders(root) or {root: UNSPLIT}
    classes = [c for place, split in places.items() for c in scan.classes(place, split)]
    _check_has_images(root, classes, scan.unused[_LOOSE])
    _check_is_one(root, classes, good)
    for folder in _folders_in(root) if root not in places else ():
        if folder not in places:
            images = filter(_is_photograph, files_below(folder))
            scan.unused["images in a folder that is no split's, not used"] += images
    scan.unused["hidden files and folders, not used"] += sorted(hidden_below(root))
    for kind, paths in scan.unused.items():
        if paths:
            on_note(count_note(kind, paths))
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
    place_of = {path: found.place for found in classes for path in found.images}
    return MaskFiles(root).assign(samples, place_of, scan.near_masks, on_note)


def samples_of(samples: Sequence[Sample], split: str | None, root: Path) -> list[Sample]:
    """Return the samples of a split; by default those of `test`, or all without a test split."""
    present = {sample.split for sample in samples}
    if split is None:
        wanted = "test" if "test" in present else None
    else:
        wanted = SPLIT_NAMES.get(_normalise(split)) or split
        if wanted not in present:
            raise DataError(root, f"has no split {split!r}; it has {', '.join(sorted(present))}")
    return [sample for sample in samples if wanted in (None, sample.split)]


class _Scan:
    """What was found on the way through the folders."""

    def __init__(self) -> None:
        self.near_masks: dict[Path, Path] = {}
        """Image -> mask beside it."""
        self.unused: dict[str, list[Path]] = defaultdict(list)
        """Kind -> files or folders, for notes."""

    def classes(self, place: Path, split: str) -> list[_Class]:
        """Return the class folders in the folder of a split, or in the root."""
        self.unused[_LOOSE] += [path for path in visible(place) if _is_photograph(path)]
        return [c for folder in _folders_in(place) for c in self._classes(folder, place, split)]

    def _classes(self, folder: Path, place: Path, split: str) -> list[_Class]:
        """Return the folder as a class, or the classes in it if it has no images itself."""
        images = self._images(folder)
        within = (
            [] if folder.is_symlink() else [f for f in _folders_in(folder) if not f.is_symlink()]
        )
        name = folder.relative_to(place).as_posix()
        own = _Class(folder=folder, place=place, split=split, name=name, images=images)
        if images:
            deeper = (path for f in within for path in files_below(f) if _is_photograph(path))
            self.unused["images deeper than in their class folder, not used"] += deeper
            return [own]
        found = [c for f in within for c in self._classes(f, place, split) if c.images]
        own_files = (*self.unused[DRAWN], *self.unused[RESULTS])
        if not found and any(path.parent == folder for path in own_files):
            return []
        if not found:
            self.unused["class folders without an image"].append(folder)
            return [own]
        if all(len(c.images) == 1 and c.images[0] in self.near_masks for c in found):
            # a folder of one image with its mask is no class
            return [replace(c, name=name) for c in found]
        self.unused["folders taken for groups of classes"].append(folder)
        return found

    def _images(self, folder: Path) -> tuple[Path, ...]:
        files = [path for path in visible(folder) if not path.is_dir()]
        others = []
        for path in files:
            kind = own_output(path)
            if kind:
                self.unused[kind].append(path)
            else:
                others.append(path)
        images = [path for path in others if is_image_name(path.name)]
        unread = [path for path in others if not is_image_name(path.name)]
        if unread:
            raise DataError(folder, describe_unread(unread))
        masks = masks_beside(images)
        self.near_masks |= {image: mask for mask, image in reversed(masks.items())}
        self.unused["files beside images, taken for their masks"] += list(masks)
        return tuple(path for path in images if path not in masks)


def _split_folders(root: Path) -> dict[Path, str]:
    """Map the folders of splits that hold images to splits, in the order of the splits."""
    named = {f: split for f in _folders_in(root) if (split := SPLIT_NAMES.get(_normalise(f.name)))}
    used = [f for f in named if any(is_image_name(path.name) for path in files_below(f))]
    return {f: named[f] for f in sorted(used, key=lambda f: SPLITS.index(named[f]))}


def _normalise(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir() and not holds_masks(path)]


def _is_photograph(path: Path) -> bool:
    return is_image_name(path.name) and not path.is_dir() and not is_drawing(path)


def _check_has_images(root: Path, classes: Sequence[_Class], loose: Sequence[Path]) -> None:
    if any(found.images for found in classes):
        return
    if loose:
        raise DataError(
            root,
            f"{len(loose)} images lie in no class folder, the first {loose[0]}; put good pills into"
            " good/ and the others into folders that are called after their defects",
        )
    raise DataError(root, _NO_IMAGES if classes else _NO_CLASSES)


def _check_is_one(root: Path, classes: Sequence[_Class], good: str | None) -> None:
    """Refuse a folder of several data sets: classes of different products would be mixed."""
    wanted = (good or GOOD).lower()
    split, groups = set(), set()
    for found in classes if {c.split for c in classes} == {UNSPLIT} else ():
        *above, last = found.name.split("/")
        splits = [number for number, part in enumerate(above) if _normalise(part) in SPLIT_NAMES]
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
    """Return the class folders of good pills.

    Raises:
        DataError: there is none, or another one may be meant.
    """
    wanted, chosen = good or GOOD, set()
    for split in dict.fromkeys(c.split for c in classes):
        mine = [c for c in classes if c.split == split]
        named, usual = ({c.folder for c in mine if c.is_called(n)} for n in (wanted, GOOD))
        chosen |= named or usual
        names = ", ".join(f"{c.folder.relative_to(root)} ({len(c.images)} images)" for c in mine)
        if named and usual - named:
            raise DataError(root, f"found {names}: call {wanted}/ or good/ otherwise")
        defects = [c.folder.name for c in mine if c.folder not in chosen]
        doubtful = not good and any(_normalise(name) in _LOOKS_GOOD for name in defects)
        if doubtful or not any(c.images for c in classes if c.is_called(wanted)):
            raise DataError(
                root,
                "it is not clear which pills are good: their folder must be called good, or say"
                f" --good {_likely_good(defects)}; found {names}, of which all but {wanted} would"
                " be defects",
            )
        if len(defects) == len(mine):
            on_note(f"no good pills, but {names}")
    others = sorted({c.name for c in classes if c.folder in chosen and c.folder.name != GOOD})
    if others:
        on_note(f"taken for good pills: {', '.join(others)}")
    return chosen


def _likely_good(names: Sequence[str]) -> str:
    likely = {GOOD, *_LOOKS_GOOD}
    matches = (n for n in names if likely & {_normalise(n), *re.split("[-_ ]", n.lower())})
    return next(matches, "NAME")


def _check_contents(samples: Sequence[Sample], on_note: Callable[[str], None]) -> None:
    """Refuse a file that is good and bad at once; report other copies.

    Only files of equal size are read.
    """
    by_size: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.path.is_file():
            by_size[sample.path.stat().st_size].append(sample)
    copies = []
    for size, same_size in by_size.items():
        known: dict[str, Sample] = {}
        for sample in same_size if size and len(same_size) > 1 else ():
            first = known.setdefault(content_hash(sample.path), sample)
            check_same_kind(first, sample)
            if first is not sample:
                copies.append(sample.path)
    if copies:
        on_note(count_note("copies of other images, each counts", sorted(copies)))
