"""Numbers and names as people read them."""

from __future__ import annotations

import math

import pytest

from bench.plan.scenario import Verdict
from bench.text import numbers, wording


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.324, "1.32\N{MULTIPLICATION SIGN}"), (0.2149, "0.21\N{MULTIPLICATION SIGN}"),
     (12.34, "12.3\N{MULTIPLICATION SIGN}"), (None, wording.NOTHING), (math.nan, wording.NOTHING)],
)  # fmt: skip
def test_speedups_have_two_decimals(value: float | None, shown: str) -> None:
    """A third decimal would pretend to a precision that no interval here has."""
    assert wording.times(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(84.31, "84.3"), (1240.4, "1,240"), (0.12345, "0.123"), (0, "0"), (-3.14159, "-3.14"),
     (math.inf, wording.NOTHING)],
)  # fmt: skip
def test_digits_are_three_and_never_an_exponent(value: float, shown: str) -> None:
    """Sensible digits whatever the size."""
    assert wording.digits(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(84.31, "84.3 ms"), (9999, "9,999 ms"), (12_345, "12.3 s"), (None, wording.NOTHING)],
)
def test_long_times_read_in_seconds(value: float | None, shown: str) -> None:
    """Compile times would be unreadable in milliseconds."""
    assert wording.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("share", "significant", "shown"),
    [(0.03, 3, "3 %"), (0.1256, 3, "12.6 %"), (0.1256, 2, "13 %"), (1.0, 2, "100 %"),
     (0.996, 2, "99.6 %"), (12.5, 3, "1250 %"), (None, 3, wording.NOTHING)],
)  # fmt: skip
def test_a_share_reads_in_percent(share: float | None, significant: int, shown: str) -> None:
    """Never as 1e+02 %, which two digits of a hundred would be."""
    assert wording.percent(share, significant) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(12.41, "12.4 s"), (185, "3 min 5 s"), (7260, "2 h 1 min")]
)
def test_seconds_become_minutes_and_hours(value: float, shown: str) -> None:
    """Budgets are minutes."""
    assert wording.seconds(value) == shown


@pytest.mark.parametrize(
    ("seconds", "words"), [(40.4, "40 s"), (200, "3 min 20 s"), (120, "2 min"), (3900, "1 h 5 min")]
)
def test_a_duration_in_a_sentence(seconds: float, words: str) -> None:
    """Whole seconds, minutes or hours."""
    assert numbers.spell_seconds(seconds) == words


def test_open_interval_reads_as_such() -> None:
    """One paired round says nothing about spread."""
    assert wording.bounds(0.0, math.inf) == "[0.00, \N{INFINITY}]"
    assert wording.bounds(None, 1.0) == ""


@pytest.mark.parametrize(
    ("items", "limit", "shown"),
    [([], 0, ""), (["a"], 0, "a"), (["a", "b"], 0, "a and b"), (["a", "b", "c"], 0, "a, b and c"),
     (["a", "b", "c", "d"], 2, "a, b and 2 more")],
)  # fmt: skip
def test_lists_read_as_prose(items: list[str], limit: int, shown: str) -> None:
    """Sentences, not brackets."""
    assert wording.listed(items, limit) == shown


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("ok", "ok"),
        ("timeout", "timed out"),
        ("out_of_memory", "out of memory"),
        ("no_steady_state", "no steady state"),
        ("melted", "melted"),  # of a newer version
    ],
)
def test_a_status_in_words(status: str, words: str) -> None:
    """One that this version does not know stays unchanged."""
    assert wording.status_words(status) == words


def test_every_verdict_has_a_glyph_beside_its_colour() -> None:
    """A verdict is never shown by colour alone."""
    assert set(wording.GLYPHS) == {str(verdict) for verdict in Verdict}
    assert len(set(wording.GLYPHS.values())) == len(wording.GLYPHS)
