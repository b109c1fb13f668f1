"""Folders become samples; what is not understood is said or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillqc.dataset import Sample
from pillqc.errors import DataError
from pillqc.folders import read_samples, samples_of

if TYPE_CHECKING:
    from pathlib import Path


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_mvtecs_layout_is_read_sorted_with_masks(tmp_path: Path) -> None:
    """Samples come sorted, whatever order the file system lists, each with its mask."""
    _touch(
        tmp_path,
        "train/good/001.png",
        "train/good/000.png",
        "test/good/000.png",
        "test/crack/000.png",
        "test/crack/notes.txt",
        "test/crack/.hidden.png",
        "ground_truth/crack/000_mask.png",
    )
    samples = read_samples(tmp_path)
    assert [(s.split, s.defect, s.path.name, s.bad) for s in samples] == [
        ("train", "good", "000.png", False),
        ("train", "good", "001.png", False),
        ("test", "crack", "000.png", True),
        ("test", "good", "000.png", False),
    ]
    assert samples[2].mask == tmp_path / "ground_truth/crack/000_mask.png"
    assert samples[3].mask is None


def test_a_training_image_never_gets_a_test_mask(tmp_path: Path) -> None:
    """Masks in ground_truth/ belong to test/; train/crack/000.png is another pill."""
    _touch(
        tmp_path,
        "train/crack/000.png",
        "train/good/000.png",
        "ground_truth/crack/000_mask.png",
    )
    assert read_samples(tmp_path)[0].mask is None


def test_the_plain_good_and_bad_layout_is_read(tmp_path: Path) -> None:
    """good/ and bad/ under the root are enough."""
    _touch(tmp_path, "good/a.JPG", "bad/b.png")
    assert [(s.defect, s.bad, s.split) for s in read_samples(tmp_path)] == [
        ("bad", True, "all"),
        ("good", False, "all"),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no such folder"),
        (["notes.txt"], "neither train/ and test/"),
        (["pill/train/good/0.png"], "holds categories.*pill"),
        (["train/good/notes.txt"], "hold no images"),
    ],
)
def test_a_folder_that_is_no_data_set_is_explained(
    tmp_path: Path, files: list[str], message: str
) -> None:
    """The user learns what the folder looks like and what was expected."""
    root = tmp_path / "data"
    _touch(root, *files)
    with pytest.raises(DataError, match=message):
        read_samples(root)


def test_the_test_split_is_the_default_where_there_is_one(tmp_path: Path) -> None:
    """Without a name the samples of test count, or all where there is no test."""

    def sample(split: str) -> Sample:
        return Sample(path=tmp_path / split, defect="good", bad=False, mask=None, split=split)

    both = [sample("test"), sample("train")]
    assert samples_of(both, None, tmp_path) == both[:1]
    assert samples_of(both, "train", tmp_path) == both[1:]
    assert samples_of(both[1:], None, tmp_path) == both[1:]
    with pytest.raises(DataError, match="no split 'validation'; it has test, train"):
        samples_of(both, "validation", tmp_path)
