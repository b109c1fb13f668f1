"""Splits by content, so that no image is on both sides, in the same proportions of every defect.

    splits = split_samples(samples, seed=0)
    train, validation = splits["train"], splits["validation"]

Files of identical content stay together whatever they are called. Where a file goes depends on its
content and the seed only, never on its name or on how many others there are of another defect.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from pillqc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pillqc.dataset import Sample

SHARES: Final[dict[str, float]] = {"train": 0.6, "validation": 0.2, "test": 0.2}


def content_hash(path: Path) -> str:
    """SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error


def split_samples(
    samples: Sequence[Sample], *, seed: int = 0, shares: Mapping[str, float] = SHARES
) -> dict[str, list[Sample]]:
    """Divide samples into splits, each defect in the given proportions."""
    by_content: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_content[content_hash(sample.path)].append(sample)
    by_defect: dict[str, list[str]] = defaultdict(list)
    for digest, same in by_content.items():
        by_defect[same[0].defect].append(digest)
    splits: dict[str, list[Sample]] = {name: [] for name in shares}
    for digests in by_defect.values():
        digests.sort(key=lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).digest())
        for name, chosen in _cut(digests, shares).items():
            splits[name].extend(s for digest in chosen for s in by_content[digest])
    return {name: sorted(chosen, key=lambda s: s.path) for name, chosen in splits.items()}


def _cut(digests: list[str], shares: Mapping[str, float]) -> dict[str, list[str]]:
    total = sum(shares.values())
    cut, start, reached = {}, 0, 0.0
    for name, part in shares.items():
        reached += part
        end = round(len(digests) * reached / total)
        cut[name] = digests[start:end]
        start = end
    return cut
