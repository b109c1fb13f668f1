"""No content is in two splits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pillqc.data.images import Sample
from pillqc.data.splits import (
    FEWEST_TO_TEST,
    SHARES,
    content_hash,
    find_crossings,
    shares_of,
    split_samples,
)
from pillqc.errors import DataError
from pillqc.rendering.scene import render

if TYPE_CHECKING:
    from pathlib import Path


def _samples(root: Path, counts: dict[str, int]) -> list[Sample]:
    samples = []
    for defect, count in counts.items():
        for index in range(count):
            path = root / f"{defect}-{index:03d}.png"
            path.write_bytes(f"{defect} {index}".encode())
            bad = defect != "good"
            samples.append(Sample(path=path, defect=defect, bad=bad, mask=None, split="all"))
    return samples


def test_every_defect_is_divided_in_the_same_proportions(tmp_path: Path) -> None:
    """60, 20 and 20 % of each."""
    splits = split_samples(_samples(tmp_path, {"good": 50, "crack": 20}))
    counts = {name: Counter(s.defect for s in chosen) for name, chosen in splits.items()}
    assert counts == {
        "train": {"good": 30, "crack": 12},
        "validation": {"good": 10, "crack": 4},
        "test": {"good": 10, "crack": 4},
    }


@pytest.mark.parametrize(
    ("images", "test", "expected"),
    [(50, 0.2, SHARES["test"]), (FEWEST_TO_TEST - 1, None, 0.0), (FEWEST_TO_TEST, None, 0.2)],
)
def test_few_images_are_kept_for_a_test_only_on_request(
    images: int, test: float | None, expected: float
) -> None:
    """A fifth of a hundred could judge nothing, and would be missing where they are needed."""
    shares = shares_of(images, test)
    assert shares["test"] == expected
    assert shares["validation"] == SHARES["validation"]
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-9)


def test_a_fifth_for_the_test_divides_as_ever() -> None:
    """Splits of earlier versions stay what they were, bit by bit."""
    assert shares_of(1000, SHARES["test"]) == SHARES


def test_without_a_share_for_the_test_it_is_empty(tmp_path: Path) -> None:
    """Four fifths train, a fifth validates."""
    samples = _samples(tmp_path, {"good": 50, "crack": 20})
    splits = split_samples(samples, shares=shares_of(len(samples), 0.0))
    assert {name: len(chosen) for name, chosen in splits.items()} == {
        "train": 56,
        "validation": 14,
        "test": 0,
    }


def test_copies_stay_together_whatever_they_are_called(tmp_path: Path) -> None:
    """The reference kit cloned bad files before it split them; clones share a split."""
    samples = _samples(tmp_path, {"good": 10, "crack": 5})
    for sample in list(samples):
        for copy in range(5):
            path = tmp_path / f"{copy}-copy-of-{sample.path.name}"
            path.write_bytes(sample.path.read_bytes())
            samples.append(
                Sample(path=path, defect=sample.defect, bad=sample.bad, mask=None, split="all")
            )
    splits = split_samples(samples)
    sides = [{content_hash(s.path) for s in chosen} for chosen in splits.values()]
    assert sum(len(chosen) for chosen in splits.values()) == len(samples)
    assert sum(len(side) for side in sides) == len(set.union(*sides))


def test_a_split_depends_on_content_and_seed_only(tmp_path: Path) -> None:
    """Renaming and reordering change nothing; another seed does."""
    samples = _samples(tmp_path, {"good": 30})
    again = split_samples(samples[::-1])
    assert split_samples(samples) == again
    assert split_samples(samples, seed=1) != again


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    """Splitting reads every file once, and names one that it cannot read."""
    with pytest.raises(DataError, match=r"gone\.png"):
        content_hash(tmp_path / "gone.png")


def _pill(root: Path, split: str, name: str, seed: int) -> Sample:
    path = root / split / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(render(seed=seed, size=224).image).save(path)
    return Sample(path=path, defect="good", bad=False, mask=None, split=split)


def test_identical_and_near_identical_images_across_splits_are_found(tmp_path: Path) -> None:
    """A copy, a recoded, a resized and a brightened one; another pill is not complained of."""
    first = _pill(tmp_path, "train", "a.png", 0)
    samples = [first, _pill(tmp_path, "test", "copy.png", 0), _pill(tmp_path, "test", "b.png", 1)]
    image = Image.open(first.path)
    changes = {
        "recoded.jpg": image,
        "small.png": image.resize((190, 190)),
        "bright.png": image.point(lambda level: level * 1.04),
    }
    for name, changed in changes.items():
        path = tmp_path / "test" / name
        changed.save(path)
        samples.append(Sample(path=path, defect="good", bad=False, mask=None, split="test"))
    found = find_crossings(samples)
    pairs = {(c.first.path.name, c.second.path.name) for c in found} | {
        (c.second.path.name, c.first.path.name) for c in found
    }
    assert {("a.png", name) for name in ("copy.png", *changes)} <= pairs
    assert len(found) == 4
    assert [c.identical for c in found].count(True) == 1


def test_different_pills_are_never_taken_for_copies(tmp_path: Path) -> None:
    """Twenty pills in the same pose, on two sides."""
    samples = [_pill(tmp_path, ("train", "test")[n % 2], f"{n}.png", n) for n in range(20)]
    assert find_crossings(samples) == []
