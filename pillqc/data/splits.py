"""Split samples by content: no image is in two splits, and all have the same shares of defects.

    splits = split_samples(samples, seed=0)
    train, validation = splits["train"], splits["validation"]

Files of identical content stay together, whatever they are called. The split of a file depends on
its content and the seed, not on its name or on the number of images of other defects.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from pillqc.data.decoding import check_is_file
from pillqc.data.decoding_process import read_picture
from pillqc.data.images import MULTI_FRAME, count_note
from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pillqc.data.images import Sample

SHARES: Final[dict[str, float]] = {"train": 0.6, "validation": 0.2, "test": 0.2}
FEWEST_TO_TEST: Final = 300
"""Of fewer images a fifth cannot judge a model: of thirty bad ones, all found may mean nine in ten,
and their place in the training is worth more."""
_SIDE: Final = 64
_ROWS: Final = 256
"""Images whose distances to all others are computed at once."""
_CONTRAST: Final = np.float32(70.0)
"""Standard deviation of grey levels in a photograph of a pale pill on a dark table."""
NEAR: Final = 1.2
"""Root mean square difference in grey levels. Different rendered pills of one pose differ by 1.9 or
more; a recoded, resized, blurred or brightened copy by less than .8."""


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
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
    """Refuse identical samples of which one is good and the other bad."""
    if first.bad != second.bad:
        raise DataError(first.path, f"is good and bad at once: {second.path} is identical")


def split_samples(
    samples: Sequence[Sample], *, seed: int = 0, shares: Mapping[str, float] = SHARES
) -> dict[str, list[Sample]]:
    """Divide samples into splits, each defect by the given shares."""
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


def shares_of(images: int, test: float | None) -> dict[str, float]:
    """Return the shares of the splits of so many images.

    Args:
        images: their number.
        test: the share for the test; None: a fifth, or nothing of fewer than `FEWEST_TO_TEST`.
    """
    if test is None:
        test = 0.0 if images < FEWEST_TO_TEST else SHARES["test"]
    validation = SHARES["validation"]
    return {"train": round(1.0 - validation - test, 6), "validation": validation, "test": test}


def split_by_folders(
    samples: Sequence[Sample], root: Path, *, seed: int = 0
) -> dict[str, list[Sample]]:
    """Split samples as their folders do; `test` is never changed.

    Without `validation`, a quarter of `train` takes its place, divided by content.
    """
    splits = {name: [s for s in samples if s.split == name] for name in SHARES}
    if len({s.bad for s in splits["train"]}) < 2:
        raise DataError(
            root,
            "its train folder holds one kind of pills only, so it cannot be split by folders;"
            " split it by content",
        )
    if not splits["validation"]:
        shares = {"train": 0.75, "validation": 0.25}
        splits |= split_samples(splits["train"], seed=seed, shares=shares)
    known: dict[str, Sample] = {}
    for sample in with_split_names(splits):
        first = known.setdefault(content_hash(sample.path), sample)
        if first.split != sample.split:
            raise DataError(
                sample.path,
                f"is identical to {first.path}, so {first.split} and {sample.split} would share"
                " it; remove one, or split by content",
            )
    return splits


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Two images in different splits that are identical or nearly so."""

    first: Sample
    second: Sample
    identical: bool
    distance: float
    """Root mean square difference of the thumbnails, in grey levels."""


def find_crossings(
    samples: Sequence[Sample],
    *,
    on_note: Callable[[str], None] = lambda _: None,
) -> list[Crossing]:
    """Find pairs from different splits with the same content or nearly the same thumbnail.

    Reads every image, so it also finds files that cannot be used. `on_note` is called with a line
    about files of several frames.
    """
    ordered = sorted(samples, key=lambda s: s.path)
    digests = np.array([content_hash(s.path) for s in ordered])
    thumbnails = _thumbnails([s.path for s in ordered], on_note)
    splits = np.array([s.split for s in ordered])
    squares = np.square(thumbnails).sum(axis=1)
    found = []
    for start in range(0, len(ordered), _ROWS):
        rows = slice(start, start + _ROWS)
        products = thumbnails[rows] @ thumbnails[start:].T
        distances = squares[rows, None] + squares[start:] - 2.0 * products
        # rounded, so a looser limit than the one below
        close = distances < 1.1 * NEAR**2 * thumbnails.shape[1]
        close |= digests[rows, None] == digests[start:]
        close &= splits[rows, None] != splits[start:]
        for row, column in np.argwhere(np.triu(close, 1)).tolist():
            one, other = start + row, start + column
            identical = bool(digests[one] == digests[other])
            distance = float(np.sqrt(np.square(thumbnails[other] - thumbnails[one]).mean()))
            if identical or distance < NEAR:
                found.append(
                    Crossing(
                        first=ordered[one],
                        second=ordered[other],
                        identical=identical,
                        distance=round(distance, 3),
                    )
                )
    return found


def with_split_names(splits: Mapping[str, Sequence[Sample]]) -> list[Sample]:
    """Return all samples, each with the name of its split."""
    return [replace(sample, split=name) for name, chosen in splits.items() for sample in chosen]


def _thumbnails(paths: Sequence[Path], on_note: Callable[[str], None]) -> NDArray[np.float32]:
    """Read small grey images (N, pixels) of equal brightness and contrast, to ignore light."""
    rows = np.empty((len(paths), _SIDE**2), np.float32)
    frames = []
    for row, path in zip(rows, paths, strict=True):
        picture = read_picture(path)
        frames += [path] if picture.notes else []
        small = picture.image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        pixels = np.asarray(small, np.float32).ravel()
        row[:] = pixels - pixels.mean()
        np.multiply(row, _CONTRAST / max(float(row.std()), 1.0), out=row)
    if frames:
        on_note(count_note(MULTI_FRAME, frames))
    return rows


def _cut(digests: list[str], shares: Mapping[str, float]) -> dict[str, list[str]]:
    total = sum(shares.values())
    cut, start, reached = {}, 0, 0.0
    for name, part in shares.items():
        reached += part
        end = round(len(digests) * reached / total)
        cut[name] = digests[start:end]
        start = end
    return cut
