"""Folders become samples; other files are reported or refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pillqc.data.folders import read_samples, samples_of
from pillqc.data.images import Sample
from pillqc.data.marker import save_drawing
from pillqc.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def _touch(root: Path, *names: str) -> None:
    """Write files with different contents; a name that ends in / is an empty folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (root / name).mkdir()
        else:
            (root / name).write_text(name)


def _read(root: Path, good: str | None = None) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return split, defect and path of every sample, and what the notes name, without the root."""
    notes: list[str] = []
    samples = read_samples(root, good=good, on_note=notes.append)
    found = [(s.split, s.defect, s.path.relative_to(root).as_posix()) for s in samples]
    values = (re.sub(r"^.*?: |the first ", "", note.replace(f"{root}/", "")) for note in notes)
    return found, sorted(values)


def test_mvtecs_layout_is_read_sorted_with_masks(tmp_path: Path) -> None:
    """Samples come sorted, whatever order the file system lists, each with its mask."""
    _touch(
        tmp_path,
        "train/good/001.png",
        "train/good/000.png",
        "test/good/000.png",
        "test/crack/000.png",
        "test/crack/Thumbs.db",
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
        (["notes.txt"], "train/ and test/"),
        (["pill/train/good/0.png"], "categories.*pill"),
        (["train/good/a.png", "train/bad/b.heic"], "b.heic"),
        (["train/good/.notes.txt"], "hold no images"),
        (["pill/good/0.png", "pill/bad/0.png", "nut/good/0.png"], "categories.*nut"),
        (["good/0.png", "bad/0.png", "x/test/crack/0.png"], "categories.*/x"),
        (["all/pill/test/good/0.png"], "categories.*all/pill"),
        (["test/0.png", "test/1.png"], ": 2 images .*test/0.png"),
        (["0.png"], "1 images"),
        (["ok/0.png", "ko/0.png"], r"--good ok; .*ko \(1 images\), ok \(1 images\)"),
        (
            ["train/good/0.png", "test/Normal/0.png", "test/x/0.png"],
            "--good Normal",
        ),
        (["good/0.png", "ok/0.png", "ko/0.png"], "--good ok"),
        (["good/", "bad/0.png"], r"--good NAME; .*bad \(1 images\), good \(0 images\)"),
        (["a/0.png", "b/0.png"], "--good NAME"),
        (["def_front/0.png", "ok_front/0.png"], "--good ok_front"),
    ],
)
def test_what_is_no_data_set_is_explained(tmp_path: Path, files: list[str], message: str) -> None:
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
    assert samples_of(both, "training", tmp_path) == both[1:]
    with pytest.raises(DataError, match=r"'validation'.* test, train"):
        samples_of(both, "validation", tmp_path)


def test_the_folder_of_good_pills_can_be_named(tmp_path: Path) -> None:
    """Its samples are good, and a note names the folder."""
    _touch(tmp_path, "ok/0.png", "ko/0.png")
    expected = [("all", "ko", "ko/0.png"), ("all", "good", "ok/0.png")]
    assert _read(tmp_path, "OK") == (expected, ["ok"])
    with pytest.raises(DataError, match="--good ok"):
        read_samples(tmp_path, good="fine")
    _touch(tmp_path, "good/0.png")
    with pytest.raises(DataError, match="call ok/ or good/ otherwise"):
        read_samples(tmp_path, good="ok")
    assert ("all", "ok", "ok/0.png") in _read(tmp_path, "good")[0]


def test_good_is_good_however_it_is_written(tmp_path: Path) -> None:
    """Capital letters are no defect, and a split may have another name for it."""
    _touch(tmp_path, "train/GOOD/0.png", "test/ok/1.png", "test/ko/0.png")
    found, notes = _read(tmp_path, "ok")
    assert [defect for _, defect, _ in found] == ["good", "ko", "good"]
    assert notes == ["GOOD, ok"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("val", "validation"),
        ("valid", "validation"),
        ("Validation", "validation"),
        ("training", "train"),
        ("Test", "test"),
        ("test_public", "test"),
    ],
)
def test_known_names_of_splits_are_understood(tmp_path: Path, name: str, split: str) -> None:
    """No folder beside train/ is left out because of how it is called."""
    _touch(tmp_path, f"{name}/good/0.png", f"{name}/crack/0.png", "validation/good/9.png")
    found, notes = _read(tmp_path)
    assert (split, "crack", f"{name}/crack/0.png") in found
    assert len(found) == 3
    assert f"taken for {split}" in notes


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    """Each kind in a line with its number and the first path; what systems leave is not."""
    _touch(
        tmp_path,
        *("train/good/0.png", "test/good/0.png", "test/bad/0.png", "test/9.png", "test/8.png"),
        *("test/bad/old/7.png", "holdout/good/0.png", "test/empty/"),
        *("test/good/Thumbs.db", "__MACOSX/train/0.png", "test/good/._0.png", ".git/0.png"),
    )
    found, notes = _read(tmp_path)
    assert len(found) == 3
    names = ["1, .git", "1, holdout/good/0.png", "1, test/bad/old/7.png", "1, test/empty"]
    assert notes == [*names, "2, test/8.png"]


def test_a_folder_that_only_holds_classes_is_a_group(tmp_path: Path) -> None:
    """Images two levels down keep what both folders say."""
    _touch(tmp_path, "test/good/a/0.png", "test/bad/crack/0.png", "test/bad/dent/0.png")
    found, notes = _read(tmp_path)
    assert [defect for _, defect, _ in found] == ["bad/crack", "bad/dent", "good"]
    assert "2, test/bad" in notes


def test_links_to_folders_count_once_and_lead_in_no_circle(tmp_path: Path) -> None:
    """A class may be a link; copies are reported."""
    _touch(tmp_path, "good/0.png", "bad/0.png")
    (tmp_path / "crack").symlink_to(tmp_path / "bad", target_is_directory=True)
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    found, notes = _read(tmp_path)
    assert [path for _, _, path in found] == ["bad/0.png", "crack/0.png", "good/0.png"]
    assert "1, crack/0.png" in notes


def test_a_file_that_is_good_and_bad_at_once_is_refused(tmp_path: Path) -> None:
    """By content, whatever it is called and whichever splits it is in."""
    _touch(tmp_path, "train/good/0.png", "test/good/1.png", "test/crack/0.png")
    (tmp_path / "test/crack/9.png").write_bytes((tmp_path / "train/good/0.png").read_bytes())
    with pytest.raises(DataError, match=r"train/good/0\.png: .*9\.png"):
        read_samples(tmp_path)


@pytest.mark.parametrize(
    "mask",
    [
        "ground_truth/crack/0_mask.png",
        "ground_truth/crack/0_mask.PNG",
        "ground_truth/crack/0_MASK.bmp",
        "ground_truth/crack/0_mask.jpg",
        "ground_truth/crack/0.tif",
        "ground_truth/crack/0-gt.png",
        "ground_truth/crack/0_seg.png",
        "ground_truth/crack/0.mask.png",
        "ground_truth/crack/0.png.png",
        "ground_truth/crack/mask_0.png",
        "ground_truth/crack/0/mask.png",
        "ground_truth/test/crack/0_mask.png",
        "ground_truth/0_mask.png",
        "GroundTruth/crack/0_mask.png",
        "masks/crack/0.png",
        "test/ground_truth/crack/0_mask.png",
        "test/crack/masks/0.png",
        "test/crack_mask/0.png",
        "test/crack/0_mask.png",
    ],
)
def test_masks_are_found_where_people_put_them(tmp_path: Path, mask: str) -> None:
    """Beside MVTec AD's own place; and none is taken for an image."""
    _touch(tmp_path, "train/good/0.png", "test/good/0.png", "test/crack/0.png", mask)
    samples = read_samples(tmp_path)
    assert [s.path.relative_to(tmp_path).as_posix() for s in samples] == [
        "train/good/0.png",
        "test/crack/0.png",
        "test/good/0.png",
    ]
    assert [s.mask for s in samples] == [None, tmp_path / mask, None]


def test_masks_beside_a_group_of_classes_are_found(tmp_path: Path) -> None:
    """As in VisA, whose images and masks are parted above the classes."""
    names = ("Data/Images/Normal/0.JPG", "Data/Images/Anomaly/1.JPG", "Data/Masks/Anomaly/1.png")
    _touch(tmp_path, *names)
    samples = read_samples(tmp_path, good="normal")
    assert [s.mask for s in samples] == [tmp_path / names[2], None]


def test_several_masks_of_one_image_are_a_folder(tmp_path: Path) -> None:
    """Each part of the defect has its own file there."""
    masks = ("ground_truth/bad/0/0.png", "ground_truth/bad/0/1.png")
    _touch(tmp_path, "good/0.png", "bad/0.png", *masks)
    assert read_samples(tmp_path)[0].mask == tmp_path / "ground_truth/bad/0"


def test_an_image_and_its_mask_may_have_a_folder_of_their_own(tmp_path: Path) -> None:
    """The folder is no defect, and the mask no pill."""
    pairs = [f"bad/{n}/{name}.png" for n in (1, 2) for name in ("image", "mask")]
    _touch(tmp_path, "good/0.png", *pairs)
    samples = read_samples(tmp_path)
    assert [(s.defect, s.mask) for s in samples] == [
        ("bad", tmp_path / "bad/1/mask.png"),
        ("bad", tmp_path / "bad/2/mask.png"),
        ("good", None),
    ]


def test_masks_that_are_not_understood_are_counted(tmp_path: Path) -> None:
    """Masks of unknown names or formats, and those that fit two images, belong to none."""
    _touch(
        tmp_path,
        *("good/0.png", "crack/0.png", "color/0.png", "crack/1.png"),
        *("masks/0_mask.png", "masks/crack/1_mask.npy", "masks/crack/what.png"),
    )
    notes: list[str] = []
    assert {s.mask for s in read_samples(tmp_path, on_note=notes.append)} == {None}
    assert notes[0].startswith("3 ")
    assert "masks/0_mask.png" in notes[0]


def test_what_pillqc_made_itself_is_no_sample(tmp_path: Path) -> None:
    """Pictures by their mark, tables by their first line, in any folder; they are counted."""
    _touch(tmp_path, "good/0.png", "bad/0.png", "figures/")
    for name in ("figures/gallery.png", "bad/x.jpg"):
        save_drawing(Image.new("RGB", (8, 8)), tmp_path / name)
    _touch(tmp_path, "out/")
    (tmp_path / "out/shard-1-of-1.jsonl").write_text('{"images": 2, "inspection": "a"}\n')
    (tmp_path / "bad/d.csv").write_text("path,decision,probability_bad,boxes\n")
    found, notes = _read(tmp_path)
    assert [defect for _, defect, _ in found] == ["bad", "good"]
    assert notes == ["2, bad/d.csv", "2, bad/x.jpg"]
