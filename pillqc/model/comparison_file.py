"""Make room for the tensors of a model file that `pillqc compare` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillqc.errors import ModelFileError, PillqcError
from pillqc.model.comparison import ComparingVGG
from pillqc.model.judging import JudgingVGG
from pillqc.model.network import FEATURE_CHANNELS, CustomVGG

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from pillqc.model.artifact import ModelCard

AGAIN: Final = "make it again with `pillqc compare`"
"""What to do about a damaged file."""
_HEAD: Final = "beside.head.weight"


def comparing_model(
    path: Path, card: ModelCard, tensors: Mapping[str, Tensor]
) -> ComparingVGG | JudgingVGG:
    """Return a model that has room for a file's tensors.

    Raises:
        ModelFileError: the file has no pictures, or settings that no model has.
    """
    references, settings = tensors.get("references"), tensors.get("settings")
    pictures = references.shape[1] if references is not None and references.ndim > 1 else 0
    if not pictures:
        raise ModelFileError(f"{path}: it has no pictures to compare with; {AGAIN}")
    judges = any(name.startswith("judge.") for name in tensors)
    positive = slice(1, 2) if judges else slice(0, 2)
    if settings is None or settings.ndim != 1 or not bool((settings[positive] > 0).all()):
        # the probability would be NaN, which is below every threshold, or turned round
        raise ModelFileError(f"{path}: its settings are missing or out of range; {AGAIN}")
    if judges:
        return JudgingVGG(pictures=pictures, size=card.size, beside=_beside(path, tensors))
    return ComparingVGG(pictures=pictures, size=card.size)


def _beside(path: Path, tensors: Mapping[str, Tensor]) -> CustomVGG | None:
    """Return the network that judges beside, as wide as its head says; None without one."""
    head = tensors.get(_HEAD)
    if head is None:
        return None
    width = head.shape[-1] if head.ndim > 1 else 0
    try:
        return CustomVGG(narrowing=FEATURE_CHANNELS // width if width else 0)
    except PillqcError as error:
        raise ModelFileError(
            f"{path}: {_HEAD} has a shape that no model has, {tuple(head.shape)}; {AGAIN}"
        ) from error
