"""Summarise the pictures that a model knows, for its model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pillqc.data.decoding_process import read_image
from pillqc.inspection.drift import drift_reference
from pillqc.inspection.novelty import image_statistics, known_limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pillqc.data.images import Sample


def known_pictures(samples: Sequence[Sample], *, seed: int = 0) -> dict[str, Any]:
    """Return the card's fields `known` and `drift`; every picture is read once."""
    pictures = [image_statistics(read_image(sample.path)) for sample in samples]
    return known_statistics(pictures, [sample.bad for sample in samples], seed=seed)


def known_statistics(
    pictures: Sequence[Mapping[str, float]], bad: Sequence[bool], *, seed: int = 0
) -> dict[str, Any]:
    """Return the card's fields `known` and `drift` from the statistics of each picture."""
    reference = drift_reference(pictures, bad, seed=seed)
    return {"known": known_limits(pictures), "drift": reference.as_dict() if reference else {}}
