"""Find the mask file of every image.

    samples = MaskFiles(root).assign(samples, places, near, on_note=print)

A mask is called like its image, usually with a suffix such as `_mask`, and lies in

    ground_truth/<defect>/         where images are not split, and for `test`
    ground_truth/<split>/<defect>/
    <split>/ground_truth/<defect>/
    <split>/<defect>_masks/, or a folder `masks` within the class, or beside the image,

where `masks`, `gt` and similar names are equivalent to `ground_truth`. All masks in a folder that
is called like the image are one mask. A mask that fits two images belongs to neither.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pillqc.data.file_names import is_image_name, visible
from pillqc.data.images import UNSPLIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pillqc.data.images import Sample

_FOLDER_WORDS: Final = r"masks?|gt|segm?|segmentations?|annotations?|ground[-_ ]?truths?"
_WORDS: Final = rf"{_FOLDER_WORDS}|labels?"
"""For files; a folder `missing_label` may be a defect."""
_MAX_DEPTH: Final = 4


def holds_masks(folder: Path) -> bool:
    """Return whether a folder is one of masks: by its name, or as `crack_masks` beside `crack`."""
    if re.fullmatch(_FOLDER_WORDS, folder.name, re.IGNORECASE):
        return True
    images = folder.with_name(_without_mask_word(folder.name, _FOLDER_WORDS))
    return images != folder and images.is_dir()


def masks_beside(files: Sequence[Path]) -> dict[Path, Path]:
    """Map masks to images, among the image files of one folder."""
    images = {path.stem: path for path in files}
    found = {}
    for path in files:
        image = images.get(_without_mask_word(path.stem))
        if re.fullmatch(_WORDS, path.stem, re.IGNORECASE) and len(files) == 2:
            image = next(other for other in files if other != path)
        if image is not None and image.stem != path.stem:
            found[path] = image
    return found


class MaskFiles:
    """The mask files of a data set."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._masks: dict[Path, dict[str, Path]] = {}
        self._folders: dict[Path, list[Path]] = {}

    def assign(
        self,
        samples: Sequence[Sample],
        places: Mapping[Path, Path],
        near: Mapping[Path, Path],
        on_note: Callable[[str], None],
    ) -> list[Sample]:
        """Return the samples, bad ones with their masks.

        Args:
            samples: the whole data set.
            places: image -> folder of its split, or the root.
            near: image -> mask beside it.
            on_note: called with the number of unused files in mask folders.
        """
        wanted = {
            sample.path: self._mask_of(sample, places[sample.path]) or near.get(sample.path)
            for sample in samples
            if sample.bad
        }
        claims = Counter(wanted.values())
        found = {path: mask for path, mask in wanted.items() if mask and claims[mask] == 1}
        self._report_unused(samples, places, set(found.values()), on_note)
        return [replace(sample, mask=found.get(sample.path)) for sample in samples]

    def _mask_of(self, sample: Sample, place: Path) -> Path | None:
        for folder in self._candidates(sample, place):
            if folder not in self._masks:
                self._masks[folder] = _masks_by_name(folder)
            masks = self._masks[folder]
            mask = masks.get(sample.path.stem) or masks.get(sample.path.name)
            if mask is not None:
                return mask
        return None

    def _candidates(self, sample: Sample, place: Path) -> Iterator[Path]:
        """Yield folders that may hold the sample's mask, the most likely first."""
        names = dict.fromkeys((sample.defect, sample.path.parent.name))
        in_test = sample.split in ("test", UNSPLIT)
        for masks in self._mask_folders(self._root):
            if in_test:  # the layout of MVTec AD
                yield from (masks / name for name in names)
            if place != self._root:
                splits = dict.fromkeys((place.name, sample.split))
                yield from (masks / split / name for split in splits for name in names)
            if in_test:
                yield masks
        for folder in self._between(sample.path.parent):
            for masks in self._mask_folders(folder):
                yield from (masks / name for name in names)
                yield masks
        yield from self._mask_folders(sample.path.parent)

    def _mask_folders(self, folder: Path) -> list[Path]:
        """List mask folders within a folder, and those beside it that are called after it."""
        if folder not in self._folders:
            near = visible(folder.parent) if folder != self._root else []
            found = [p for p in visible(folder) if p.is_dir() and holds_masks(p)]
            found += [p for p in near if p.is_dir() and _is_called_after(p, folder)]
            self._folders[folder] = found
        return self._folders[folder]

    def _between(self, folder: Path) -> list[Path]:
        """List the folders above a class folder and below the root: its split and groups."""
        return [above for above in folder.parents if self._root in above.parents]

    def _report_unused(
        self,
        samples: Sequence[Sample],
        places: Mapping[Path, Path],
        used: set[Path],
        on_note: Callable[[str], None],
    ) -> None:
        classes = {sample.path.parent for sample in samples}
        around = {self._root, *classes, *places.values()}
        around |= {between for folder in classes for between in self._between(folder)}
        folders = {masks for folder in around for masks in self._mask_folders(folder)}
        files = {file for masks in folders for file in files_below(masks)}
        unused = sorted(file for file in files if not used & {file, *file.parents})
        if unused:
            on_note(
                f"{len(unused)} masks not understood: no bad image belongs to {unused[0]}; a mask"
                " is called like its image, for example ground_truth/<defect>/<name>_mask.png"
            )


def files_below(folder: Path, levels: int = _MAX_DEPTH) -> Iterator[Path]:
    """Yield the files in a folder and so many levels below: a link in a circle ends there."""
    for path in visible(folder):
        if not path.is_dir():
            yield path
        elif levels:
            yield from files_below(path, levels - 1)


def _masks_by_name(folder: Path) -> dict[str, Path]:
    """Map the image names that fit to mask files or folders of masks."""
    ranked: list[tuple[int, str, Path]] = []
    for path in visible(folder) if folder.is_dir() else ():
        if path.is_dir():
            images = [p for p in visible(path) if is_image_name(p.name)]
            if images:
                found = images[0] if len(images) == 1 else path
                ranked += [(1, path.name, found), (2, _without_mask_word(path.name), found)]
        elif is_image_name(path.name):
            rank = 0 if path.stem.lower().endswith("_mask") else 2
            ranked += [(1, path.stem, path), (rank, _without_mask_word(path.stem), path)]
    return {name: path for _, name, path in sorted(ranked, reverse=True)}


def _is_called_after(folder: Path, images: Path) -> bool:
    return folder != images and _without_mask_word(folder.name, _FOLDER_WORDS) == images.name


def _without_mask_word(name: str, words: str = _WORDS) -> str:
    found = re.fullmatch(rf"(.+?)[-_. ](?:{words})|(?:{words})[-_. ](.+)", name, re.IGNORECASE)
    return (found[1] or found[2]) if found else name
