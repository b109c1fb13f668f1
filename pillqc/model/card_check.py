"""Check the values of a model file's card that decide: a file may be damaged, or not from pillqc.

    check_card(card)    # a ValueError names the first value that no model has

A comparison with NaN is False, so that a card with NaN for a threshold would make every pill good.
"""

from __future__ import annotations

import reprlib
import sys
from typing import TYPE_CHECKING, Final

from pillqc.data.read_options import LARGEST_SIDE, SMALLEST_SIDE
from pillqc.model.network import CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pillqc.model.artifact import ModelCard

_LARGEST: Final = sys.float_info.max
_SMALLEST: Final = sys.float_info.min
"""The smallest positive number that is not rounded."""
_OBJECTS: Final = ("data", "training", "metrics", "known", "drift", "thresholds", "compares")


def check_card(card: ModelCard) -> None:
    """Raise a `ValueError` if a value has another type than a card's, or is out of its range."""
    _check_names(card)
    for name in _OBJECTS:
        _checked_object(name, getattr(card, name))
    if not isinstance(card.size, int) or not SMALLEST_SIDE <= card.size <= LARGEST_SIDE:
        raise ValueError(f"size {_short(card.size)} is no side in pixels")
    _check_probability("threshold", card.threshold)
    _check_probability("box_threshold", card.box_threshold)
    _check_number("temperature", card.temperature, low=_SMALLEST)
    _check_numbers("mean", card.mean)
    _check_numbers("std", card.std)
    if card.undecided is not None:
        _check_band(card.undecided)
    for share, threshold in card.thresholds.items():
        _check_share(share)
        _check_probability("thresholds", threshold)
    for name, limits in card.known.items():
        _check_numbers(f"known range of {_short(name)}", limits, count=2)
    if card.drift:
        _check_drift(card.drift)


def _check_names(card: ModelCard) -> None:
    if card.classes != CLASSES:
        raise ValueError(f"classes: {_short(card.classes)} are not good and bad")
    if not isinstance(card.defects, tuple) or not all(isinstance(n, str) for n in card.defects):
        raise ValueError(f"defects {_short(card.defects)} are not names")
    if not isinstance(card.seen, str):
        raise ValueError(f"seen: {_short(card.seen)} is no text")  # noqa: TRY004 - as the others


def _check_band(band: tuple[float, float]) -> None:
    _check_numbers("undecided", band, count=2, low=0.0, high=1.0)
    low, high = band
    if low > high:
        raise ValueError(f"undecided goes from {low} down to {high}")


def _check_drift(drift: Mapping[str, object]) -> None:
    for part, low in (("mean", -_LARGEST), ("deviation", _SMALLEST)):
        values = _checked_object(f"drift.{part}", drift.get(part))
        _check_numbers(f"drift.{part}", list(values.values()), low=low)
    for name in ("limit", "pictures"):
        _check_number(f"drift.{name}", drift.get(name), low=0.0)


def _checked_object(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: {_short(value)} is no JSON object")  # noqa: TRY004 - as the others
    return value


def _check_share(text: str) -> None:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    _check_probability(f"thresholds: the share {_short(text)}", share)


def _check_probability(name: str, value: object) -> None:
    _check_number(name, value, low=0.0, high=1.0)


def _check_numbers(
    name: str,
    values: object,
    *,
    count: int | None = None,
    low: float = -_LARGEST,
    high: float = _LARGEST,
) -> None:
    if not isinstance(values, list | tuple) or count not in (None, len(values)):
        raise ValueError(f"{name}: {_short(values)} is not {count or 'a list of'} numbers")
    for value in values:
        _check_number(name, value, low=low, high=high)


def _check_number(
    name: str, value: object, *, low: float = -_LARGEST, high: float = _LARGEST
) -> None:
    """Refuse what is no number within the limits; comparisons also refuse NaN and infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and low <= value <= high:  # type: ignore[operator] # it is a number
        return
    wanted = {_SMALLEST: "number above 0", 0.0: "number from 0 on"}.get(low, "finite number")
    wanted = "number from 0 to 1" if high == 1.0 else wanted
    raise ValueError(f"{name}: {_short(value)} is no {wanted}")


def _short(value: object) -> str:
    """Return a value in a few letters: a damaged one may be of any length."""
    return reprlib.repr(value)
