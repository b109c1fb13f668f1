"""A model file keeps the limits of its pictures and, where there are enough, a drift reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pillqc.data.images import Sample
from pillqc.inspection.drift import FEWEST, drift_reference
from pillqc.inspection.novelty import image_statistics, known_limits
from pillqc.training.known_pictures import known_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

Read = dict[Path, Image.Image]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Pictures that are read from no disk; one that was read is gone."""
    pictures = {
        Path(f"{number}.png"): Image.new("RGB", (8, 8), (level, 60 + number % 7, 60))
        for number, level in enumerate(range(50, 250, 4))
    }
    kept = dict(pictures)
    take: Callable[[Path], Image.Image] = pictures.pop
    monkeypatch.setattr("pillqc.training.known_pictures.read_image", take)
    monkeypatch.setattr("pillqc.inspection.drift._STREAM_PILLS", 100)  # of ten thousand
    return kept


def samples(count: int) -> list[Sample]:
    """The first pictures; every fourth shows a bad pill."""
    return [
        Sample(
            path=Path(f"{number}.png"),
            defect="good" if number % 4 else "chip",
            bad=not number % 4,
            mask=None,
            split="train",
        )
        for number in range(count)
    ]


def test_both_come_from_one_reading(read: Read) -> None:
    """The reference is of good pictures, so it must know which are bad."""
    given = samples(2 * FEWEST)
    found = known_pictures(given, seed=3)
    statistics = [image_statistics(read[sample.path]) for sample in given]
    expected = drift_reference(statistics, [sample.bad for sample in given], seed=3)
    assert expected is not None
    assert expected.mean != expected_of_all(statistics)
    assert found == {"known": known_limits(statistics), "drift": expected.as_dict()}


def expected_of_all(statistics: list[dict[str, float]]) -> dict[str, float]:
    """The means of a reference that takes bad pictures for good ones."""
    made = drift_reference(statistics, [False] * len(statistics), seed=3)
    assert made is not None
    return made.mean


def test_of_few_pictures_there_are_limits_alone(read: Read) -> None:
    """A reference would rest on too little."""
    found = known_pictures(samples(FEWEST - 1))
    assert set(found["known"]) == set(image_statistics(read[Path("0.png")]))
    assert found["drift"] == {}
