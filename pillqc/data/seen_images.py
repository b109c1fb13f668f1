"""Which images a model has seen, so that nobody judges it by them.

    card = ModelCard(seen=encode_seen(digests), ...)
    unseen, left_out = without_seen(samples, card.seen)

A model has seen the images that it was trained on, those that chose its best weights and its
threshold, and all that the model it started from had seen. Its card keeps the first eight bytes of
each SHA-256: two different images share them once in 10^19 pairs.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from pillqc.data.splits import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pillqc.data.images import Sample

_BYTES: Final = 8


def encode_seen(digests: Iterable[str], before: str = "") -> str:
    """The images of these SHA-256 digests and those `before`, as text for a card."""
    known = _prefixes(before) | {bytes.fromhex(digest)[:_BYTES] for digest in digests}
    return base64.b64encode(b"".join(sorted(known))).decode("ascii")


def count(seen: str) -> int:
    """How many images are remembered."""
    return len(_prefixes(seen))


def without_seen(samples: Sequence[Sample], seen: str) -> tuple[list[Sample], int]:
    """The samples whose content the model has not seen, and how many were left out."""
    known = _prefixes(seen)
    if not known:
        return list(samples), 0
    unseen = [
        sample
        for sample in samples
        if bytes.fromhex(content_hash(sample.path))[:_BYTES] not in known
    ]
    return unseen, len(samples) - len(unseen)


def check(seen: str) -> None:
    """Raise a `ValueError` if this is not what `remembered` wrote."""
    _prefixes(seen)


def _prefixes(seen: str) -> set[bytes]:
    try:
        raw = base64.b64decode(seen, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its list of seen images is damaged ({error})") from error
    if len(raw) % _BYTES:
        raise ValueError("its list of seen images is cut off")
    return {raw[start : start + _BYTES] for start in range(0, len(raw), _BYTES)}
