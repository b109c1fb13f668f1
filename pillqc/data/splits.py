"""Splits by content, so that no image is on both sides, in the same proportions of every defect.

    splits = split_samples(samples, seed=0)
    train, validation = splits["train"], splits["validation"]

Files of identical content stay together whatever they are called. Where a file goes depends on its
content and the seed only, never on its name or on how many others there are of another defect.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from pillqc.data.decoding import check_is_file
from pillqc.data.decoding_process import read_image
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.data.images import Sample

SHARES: Final[dict[str, float]] = {"train": 0.6, "validation": 0.2, "test": 0.2}
_SIDE: Final = 64
_ROWS: Final = 256
"""Images whose distances to all others are in memory at once."""
_CONTRAST: Final = np.float32(70.0)
"""Deviation of grey levels in a photograph of a pale pill on a dark table."""
NEAR: Final = 1.2
"""Root mean square grey levels. Different pills of one pose differ by their specks, by 1.9 and
more; a copy that was recoded, resized, blurred or brightened by less than .8 (rendered pills)."""


def content_hash(path: Path) -> str:
    """SHA-256 of a file."""
    check_is_file(path)
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error


def check_same_kind(first: Sample, second: Sample) -> None:
    """Refuse two samples of one content of which one is good and the other bad."""
    if first.bad != second.bad:
        raise DataError(first.path, f"is good and bad at once: {second.path} is identical")


def split_samples(
    samples: Sequence[Sample], *, seed: int = 0, shares: Mapping[str, float] = SHARES
) -> dict[str, list[Sample]]:
    """Divide samples into splits, each defect in the given proportions."""
    by_content: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_content[content_hash(sample.path)].append(sample)
    by_defect: dict[str, list[str]] = defaultdict(list)
    for digest, same in by_content.items():
        for other in same:
            check_same_kind(same[0], other)
        by_defect[same[0].defect].append(digest)
    splits: dict[str, list[Sample]] = {name: [] for name in shares}
    for digests in by_defect.values():
        digests.sort(key=lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).digest())
        for name, chosen in _cut(digests, shares).items():
            splits[name].extend(s for digest in chosen for s in by_content[digest])
    return {name: sorted(chosen, key=lambda s: s.path) for name, chosen in splits.items()}


def split_by_folders(
    samples: Sequence[Sample], root: Path, *, seed: int = 0
) -> dict[str, list[Sample]]:
    """The split that the folders make: `test` is never touched.

    Where there is no `validation`, a quarter of `train` takes its place, divided by content.
    """
    splits = {name: [s for s in samples if s.split == name] for name in SHARES}
    if len({s.bad for s in splits["train"]}) < 2:
        raise DataError(
            root,
            "its train folder holds one kind of pills only, so it cannot be split by folders;"
            " split it by content",
        )
    if not splits["validation"]:
        parts = split_samples(
            splits["train"], seed=seed, shares={"train": 0.75, "validation": 0.25}
        )
        splits |= parts
    _check_apart(splits)
    return splits


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Two images that are too much alike to be on two sides of a split."""

    first: Sample
    second: Sample
    identical: bool
    distance: float
    """Root mean square difference of the thumbnails, in grey levels."""


def find_crossings(samples: Sequence[Sample], *, limit: float = NEAR) -> list[Crossing]:
    """Pairs from different splits with the same content, or nearly the same look.

    Reads every image, so a file that cannot be used is found here too.
    """
    ordered = sorted(samples, key=lambda s: s.path)
    digests = np.array([content_hash(s.path) for s in ordered])
    looks = np.stack([_look(s.path) for s in ordered]) if ordered else np.empty((0, 1), np.float32)
    splits = np.array([s.split for s in ordered])
    squares = np.square(looks).sum(axis=1)
    found = []
    for start in range(0, len(ordered), _ROWS):
        rows = slice(start, start + _ROWS)
        apart = squares[rows, None] + squares[start:] - 2.0 * (looks[rows] @ looks[start:].T)
        close = apart < 1.1 * limit**2 * looks.shape[1]  # looser than the limit: it is rounded
        close |= digests[rows, None] == digests[start:]
        close &= splits[rows, None] != splits[start:]
        for row, column in np.argwhere(np.triu(close, 1)).tolist():
            one, other = start + row, start + column
            same = bool(digests[one] == digests[other])
            distance = float(np.sqrt(np.square(looks[other] - looks[one]).mean()))
            if same or distance < limit:
                found.append(
                    Crossing(
                        first=ordered[one],
                        second=ordered[other],
                        identical=same,
                        distance=round(distance, 3),
                    )
                )
    return found


def with_split_names(splits: Mapping[str, Sequence[Sample]]) -> list[Sample]:
    """The samples, each with the name of the side that it is on."""
    return [replace(sample, split=name) for name, chosen in splits.items() for sample in chosen]


def _check_apart(splits: Mapping[str, Sequence[Sample]]) -> None:
    """Refuse folders that hold the same file on two sides."""
    sides: dict[str, Sample] = {}
    for sample in with_split_names(splits):
        known = sides.setdefault(content_hash(sample.path), sample)
        if known.split != sample.split:
            raise DataError(
                sample.path,
                f"is identical to {known.path}, so {known.split} and {sample.split} would share"
                " it; remove one, or split by content",
            )


def _look(path: Path) -> NDArray[np.float32]:
    """A small grey image of one brightness and contrast, so that light changes it little."""
    small = read_image(path).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(small, np.float32).ravel()
    centred = pixels - pixels.mean()
    look: NDArray[np.float32] = centred * (_CONTRAST / max(float(centred.std()), 1.0))
    return look


def _cut(digests: list[str], shares: Mapping[str, float]) -> dict[str, list[str]]:
    total = sum(shares.values())
    cut, start, reached = {}, 0, 0.0
    for name, part in shares.items():
        reached += part
        end = round(len(digests) * reached / total)
        cut[name] = digests[start:end]
        start = end
    return cut
