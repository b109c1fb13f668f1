"""Numbers and names as people read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from bench.plan.scenario import Verdict
from bench.text import wording
from bench.text.wording import (
    NOTHING,
    TIMES,
    bounds,
    digits,
    listed,
    milliseconds,
    seconds,
    status_words,
    times,
    verdict_words,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("spell", "value", "spelled"),
    [
        # a third decimal would pretend to a precision that no interval has
        (times, 1.324, f"1.32{TIMES}"),
        (times, 0.2149, f"0.21{TIMES}"),
        (times, 12.34, f"12.3{TIMES}"),
        (times, None, NOTHING),
        (times, math.nan, NOTHING),
        # three digits and never an exponent
        (digits, 84.31, "84.3"),
        (digits, 1240.4, "1,240"),
        (digits, 0.12345, "0.123"),
        (digits, 0, "0"),
        (digits, -3.14159, "-3.14"),
        (digits, math.inf, NOTHING),
        # long times in seconds, budgets in minutes and hours
        (milliseconds, 84.31, "84.3 ms"),
        (milliseconds, 9999, "9,999 ms"),
        (milliseconds, 12_345, "12.3 s"),
        (milliseconds, None, NOTHING),
        (seconds, 12.41, "12.4 s"),
        (seconds, 185, "3 min 5 s"),
        (seconds, 7260, "2 h 1 min"),
        # prose, not brackets
        (listed, [], ""),
        (listed, ["a"], "a"),
        (listed, ["a", "b"], "a and b"),
        (listed, ["a", "b", "c"], "a, b and c"),
        # a status or verdict of a newer version
        (status_words, "melted", "melted"),
        (verdict_words, "perhaps", "perhaps"),
    ],
)
def test_values_are_spelled_as_people_read_them(
    spell: Callable[[Any], str], value: object, spelled: str
) -> None:
    """Sensible digits and units whatever the size; a dash where there is no value."""
    assert spell(value) == spelled


def test_open_intervals_and_long_lists_are_cut_short() -> None:
    """One paired round says nothing about spread."""
    assert bounds(0.0, math.inf) == "[0.00, \N{INFINITY}]"
    assert bounds(None, 1.0) == ""
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_every_verdict_has_a_glyph_beside_its_colour() -> None:
    """Colour alone never marks a verdict."""
    assert set(wording.GLYPHS) == {str(verdict) for verdict in Verdict}
    assert len(set(wording.GLYPHS.values())) == len(wording.GLYPHS)
