"""Remember which images a model has seen, so that they do not judge it.

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
    """Encode the images of these SHA-256 digests, and those in `before`, as text for a card."""
    known = decode_seen(before) | {bytes.fromhex(digest)[:_BYTES] for digest in digests}
    return base64.b64encode(b"".join(sorted(known))).decode("ascii")


def without_seen(samples: Sequence[Sample], seen: str) -> tuple[list[Sample], int]:
    """Return the samples whose content the model has not seen, and the number of the others."""
    known = decode_seen(seen)
    if not known:
        return list(samples), 0
    unseen = [s for s in samples if bytes.fromhex(content_hash(s.path))[:_BYTES] not in known]
    return unseen, len(samples) - len(unseen)


def seen_doubt(seen: int, images: int, model: str) -> list[str]:
    """Return what to say of a choice on images of which a model has seen some; without, nothing.

    Args:
        seen: how many of them it has seen.
        images: how many there are.
        model: its name.
    """
    if not seen:
        return []
    doubt = (
        f"TOO GOOD: {seen} of {images} validation images were seen by {model}: figures on them and"
        " a threshold that they choose are too good; judge the model on images that are new to it"
    )
    return [doubt]


def decode_seen(seen: str) -> set[bytes]:
    """Return the prefixes in a card's text; raise a `ValueError` if it is damaged."""
    try:
        raw = base64.b64decode(seen, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its list of seen images is damaged ({error})") from error
    if len(raw) % _BYTES:
        raise ValueError("its list of seen images is cut off")
    return {raw[start : start + _BYTES] for start in range(0, len(raw), _BYTES)}
