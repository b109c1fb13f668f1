"""Which file is the mask of which image.

    samples = MaskFiles(root).given_to(samples, places, on_note=print)

A mask is called like its image, mostly with an ending such as `_mask`, and lies

    ground_truth/<defect>/         where images are not split, and for `test`
    ground_truth/<split>/<defect>/
    <split>/ground_truth/<defect>/
    <split>/<defect>_masks/, or in a folder `masks` within the class, or beside the image,

where `masks`, `gt` and the like are as good a name as `ground_truth`. Where a folder of its own
bears the image's name, all masks in it are one. A mask that fits two images is nobody's.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pillqc.data.decoding import is_image_name
from pillqc.data.images import UNSPLIT, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample

_FOLDER_WORDS: Final = r"masks?|gt|segm?|segmentations?|annotations?|ground[-_ ]?truths?"
_WORDS: Final = rf"{_FOLDER_WORDS}|labels?"
"""Of files; a folder `missing_label` may well be a defect."""
_DEEPEST: Final = 4


def holds_masks(folder: Path) -> bool:
    """Whether a folder is one of masks: by its name, or as `crack_masks` beside `crack`."""
    if re.fullmatch(_FOLDER_WORDS, folder.name, re.IGNORECASE):
        return True
    images = folder.with_name(_bare(folder.name, _FOLDER_WORDS))
    return images != folder and images.is_dir()


def beside(files: Sequence[Path]) -> dict[Path, Path]:
    """Mask -> image, of the image files of one folder that are masks of others there."""
    images = {path.stem: path for path in files}
    found = {}
    for path in files:
        image = images.get(_bare(path.stem))
        if re.fullmatch(_WORDS, path.stem, re.IGNORECASE) and len(files) == 2:
            image = next(other for other in files if other != path)
        if image is not None and image.stem != path.stem:
            found[path] = image
    return found


class MaskFiles:
    """The mask files of a data set."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._named: dict[Path, dict[str, Path]] = {}
        self._truths: dict[Path, list[Path]] = {}

    def given_to(
        self,
        samples: Sequence[Sample],
        places: Mapping[Path, Path],
        near: Mapping[Path, Path],
        on_note: Callable[[str], None],
    ) -> list[Sample]:
        """The samples, bad ones with their masks.

        Args:
            samples: all of the data set.
            places: image -> folder of its split, or the root.
            near: image -> mask beside it.
            on_note: told how many files in folders of masks are no bad image's.
        """
        wanted = {
            sample.path: self._mask_of(sample, places[sample.path]) or near.get(sample.path)
            for sample in samples
            if sample.bad
        }
        takers = Counter(wanted.values())
        found = {path: mask for path, mask in wanted.items() if mask and takers[mask] == 1}
        self._tell_unused(samples, places, set(found.values()), on_note)
        return [replace(sample, mask=found.get(sample.path)) for sample in samples]

    def _mask_of(self, sample: Sample, place: Path) -> Path | None:
        for folder in self._folders(sample, place):
            if folder not in self._named:
                self._named[folder] = _masks_in(folder)
            named = self._named[folder]
            mask = named.get(sample.path.stem) or named.get(sample.path.name)
            if mask is not None:
                return mask
        return None

    def _folders(self, sample: Sample, place: Path) -> Iterator[Path]:
        """Where its mask may lie, the likeliest place first."""
        names = dict.fromkeys((sample.defect, sample.path.parent.name))
        for truth in self._truths_of(self._root):
            if sample.split in ("test", UNSPLIT):  # as MVTec AD lays it out
                yield from (truth / name for name in names)
            if place != self._root:
                splits = dict.fromkeys((place.name, sample.split))
                yield from (truth / split / name for split in splits for name in names)
            if sample.split in ("test", UNSPLIT):
                yield truth
        for folder in _between(self._root, sample.path.parent):
            for truth in self._truths_of(folder):
                yield from (truth / name for name in names)
                yield truth
        yield from self._truths_of(sample.path.parent)

    def _truths_of(self, folder: Path) -> list[Path]:
        """Folders of masks within a folder, and beside it those that are called after it."""
        if folder not in self._truths:
            near = visible(folder.parent) if folder != self._root else []
            found = [p for p in visible(folder) if p.is_dir() and holds_masks(p)]
            found += [p for p in near if p.is_dir() and _is_called_after(p, folder)]
            self._truths[folder] = found
        return self._truths[folder]

    def _tell_unused(
        self,
        samples: Sequence[Sample],
        places: Mapping[Path, Path],
        used: set[Path],
        on_note: Callable[[str], None],
    ) -> None:
        folders = {sample.path.parent for sample in samples}
        around = {self._root, *folders, *places.values()}
        around |= {between for folder in folders for between in _between(self._root, folder)}
        truths = {truth for folder in around for truth in self._truths_of(folder)}
        files = {file for truth in truths for file in files_below(truth)}
        unused = sorted(file for file in files if not used & {file, *file.parents})
        if unused:
            on_note(
                f"{len(unused)} masks not understood: no bad image belongs to {unused[0]}; a mask"
                " is called like its image, for example ground_truth/<defect>/<name>_mask.png"
            )


def _masks_in(folder: Path) -> dict[str, Path]:
    """What the masks in a folder may be masks of -> mask, or folder of masks."""
    ranked: list[tuple[int, str, Path]] = []
    for path in visible(folder) if folder.is_dir() else ():
        if path.is_dir():
            images = [p for p in visible(path) if is_image_name(p.name)]
            if images:
                found = images[0] if len(images) == 1 else path
                ranked += [(1, path.name, found), (2, _bare(path.name), found)]
        elif is_image_name(path.name):
            ending = path.stem.lower().endswith("_mask")
            ranked += [(1, path.stem, path), (0 if ending else 2, _bare(path.stem), path)]
    return {name: path for _, name, path in sorted(ranked, reverse=True)}


def files_below(folder: Path, levels: int = _DEEPEST) -> Iterator[Path]:
    """All files in a folder and so many levels of folders, so that no link leads in a circle."""
    for path in visible(folder):
        if not path.is_dir():
            yield path
        elif levels:
            yield from files_below(path, levels - 1)


def _between(root: Path, folder: Path) -> list[Path]:
    """The folders that a class folder lies in, below the root: its split's and groups."""
    return [above for above in folder.parents if root in above.parents]


def _is_called_after(folder: Path, images: Path) -> bool:
    return folder != images and _bare(folder.name, _FOLDER_WORDS) == images.name


def _bare(name: str, words: str = _WORDS) -> str:
    """A name without what says that it is a mask's."""
    found = re.fullmatch(rf"(.+?)[-_. ](?:{words})|(?:{words})[-_. ](.+)", name, re.IGNORECASE)
    return (found[1] or found[2]) if found else name
