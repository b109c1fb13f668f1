"""A changed lamp is noticed within tens of pictures, and pictures like the known ones never."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillqc.inspection.drift import (
    FEWEST,
    STATISTICS,
    DriftCheck,
    Reference,
    drift_reference,
    read_reference,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SPREAD = 3.0


def pictures(count: int, seed: int, *, shift: float = 0.0) -> list[dict[str, float]]:
    """Make statistics of pictures; `shift` moves the brightness, in standard deviations."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(100.0, SPREAD, (count, len(STATISTICS)))
    rows[:, 0] += shift * SPREAD
    return [dict(zip(STATISTICS, row.tolist(), strict=True)) for row in rows]


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Of 300 pictures, a third of them bad and a little darker."""
    known = pictures(200, 1) + pictures(100, 2, shift=-0.3)
    made = drift_reference(known, [False] * 200 + [True] * 100)
    assert made is not None
    return made


def alarms(reference: Reference | None, found: Sequence[dict[str, float]]) -> list[int]:
    """Return the numbers of the pictures that completed an alarm."""
    check = DriftCheck(reference)
    for one in found:
        check.add(one)
    return [alarm.picture for alarm in check.alarms]


def test_pictures_like_the_known_ones_cause_no_alarm(reference: Reference) -> None:
    """Good ones alone, and with as many bad ones as in training."""
    assert alarms(reference, pictures(10_000, 3)) == []
    mixed = [*pictures(6_667, 4), *pictures(3_333, 5, shift=-0.3)]
    order = np.random.default_rng(0).permutation(len(mixed))
    assert alarms(reference, [mixed[at] for at in order]) == []


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_a_change_is_noticed_soon_and_dated(reference: Reference, shift: float) -> None:
    """In either direction, with the statistic and about the picture from which it holds."""
    check = DriftCheck(reference)
    for one in [*pictures(500, 6), *pictures(50, 7, shift=shift)]:
        check.add(one)
    first = check.alarms[0]
    assert 500 < first.picture <= 550
    assert first.statistic == "brightness"
    assert abs(first.since - 501) < 12
    assert abs(first.mean - (100 + shift * SPREAD)) < SPREAD
    assert "brightness" in str(first)


def test_one_odd_picture_is_no_alarm(reference: Reference) -> None:
    """That is what the limits of single pictures are for."""
    odd = dict.fromkeys(STATISTICS, 1e6)
    assert alarms(reference, [*pictures(50, 8), odd, *pictures(50, 9)]) == []


def test_few_pictures_make_no_reference_and_more_a_stricter_one() -> None:
    """The error of a small reference is part of its limit."""
    assert drift_reference(pictures(FEWEST - 1, 1), [False] * (FEWEST - 1)) is None
    limits = []
    for count in (FEWEST, 500):
        made = drift_reference(pictures(count, 1), [False] * count)
        assert made is not None
        limits.append(made.limit)
    assert limits[0] > 10 * limits[1]


def test_a_model_without_a_reference_is_not_checked() -> None:
    """Files of earlier versions have none."""
    assert read_reference({}) is None
    assert alarms(None, pictures(100, 1, shift=50)) == []


def test_a_reference_survives_the_card(reference: Reference) -> None:
    """As JSON."""
    assert read_reference(json.loads(json.dumps(reference.as_dict()))) == reference


@pytest.mark.parametrize(
    "damaged",
    [
        {"mean": {}},
        {"mean": {"a": 1}, "deviation": {}, "limit": 1, "pictures": 3},
        {"mean": {"a": 1}, "deviation": {"a": "x"}, "limit": 1, "pictures": 3},
        {"mean": {"a": 1}, "deviation": {"a": 1}, "limit": float("nan"), "pictures": 3},
        {"mean": {"a": 1}, "deviation": {"a": 1}, "limit": 1, "pictures": 3},
    ],
)
def test_a_damaged_reference_is_an_error(damaged: dict[str, object]) -> None:
    """Reading the model's card turns it into a line."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_reference(damaged)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.floats(4.0, 40.0))
def test_an_alarm_never_comes_before_its_change(
    reference: Reference, at: int, shift: float
) -> None:
    """And the change is dated no later than it was noticed."""
    check = DriftCheck(reference)
    for one in [*pictures(at, 10), *pictures(40, 11, shift=shift)]:
        check.add(one)
    assert check.alarms
    first = check.alarms[0]
    assert at < first.picture
    assert 1 <= first.since <= first.picture
