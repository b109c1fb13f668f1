"""Rendered data sets are whole or absent, and the same wherever they are rendered."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pillqc.data.folders import read_samples
from pillqc.data.marker import is_drawing
from pillqc.data.masks import read_mask
from pillqc.errors import RenderError, UsageError
from pillqc.rendering import dataset
from pillqc.rendering.dataset import DEFECTS, PillDesign, RenderPlan, image_seed, render_dataset

if TYPE_CHECKING:
    from pathlib import Path

_SMALL = RenderPlan(seed=3, size=64, train_good=3, test_good=2, per_defect=1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set, rendered in this process."""
    root = tmp_path_factory.mktemp("data") / "pills"
    render_dataset(root, _SMALL, jobs=1)
    return root


def _files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_layout_is_mvtecs_with_a_mask_for_every_defect(rendered: Path) -> None:
    """Good pills in train and test, seven defect folders, and masks for all of these."""
    samples = read_samples(rendered)
    assert [(s.split, s.defect) for s in samples if not s.bad] == [("train", "good")] * 3 + [
        ("test", "good")
    ] * 2
    assert [s.defect for s in samples if s.bad] == list(DEFECTS)
    assert all(read_mask(s, 64).any() == s.bad for s in samples)


def test_the_manifest_tells_the_truth_about_every_image(rendered: Path) -> None:
    """Path, SHA-256, defect, mask area and seed are those of the files."""
    with (rendered / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(read_samples(rendered)) == 12
    areas = {
        str(s.path.relative_to(rendered)): read_mask(s, 64).mean() for s in read_samples(rendered)
    }
    for row in rows:
        content = (rendered / row["path"]).read_bytes()
        split, defect, name = row["path"].split("/")
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["defect"] == defect
        assert float(row["mask_area"]) == pytest.approx(float(areas[row["path"]]), abs=1e-6)
        assert int(row["seed"]) == image_seed(3, split, defect, int(name[:3]))
        assert (float(row["severity"]) == 0.0) == (defect == "good")


def test_the_plan_says_that_the_pills_are_synthetic(rendered: Path) -> None:
    """Whoever finds the folder can tell it from photographs."""
    told = json.loads((rendered / "dataset.json").read_text(encoding="utf-8"))
    assert told["synthetic"] is True
    assert told["plan"]["seed"] == 3


def test_the_bits_do_not_depend_on_the_number_of_processes(rendered: Path, tmp_path: Path) -> None:
    """Two processes render the same files as one."""
    render_dataset(tmp_path / "two", _SMALL, jobs=2)
    assert _files(tmp_path / "two") == _files(rendered)


def test_no_two_images_share_a_seed() -> None:
    """Split, class and index each change the seed; so does the data set's own."""
    seeds = [
        image_seed(seed, split, defect, index)
        for seed in (0, 1)
        for split in ("train", "test")
        for defect in ("good", "crack")
        for index in range(50)
    ]
    assert len(set(seeds)) == len(seeds)


def test_a_whole_data_set_of_the_same_plan_is_used_again(rendered: Path) -> None:
    """Nothing is rendered twice."""
    before = (rendered / "manifest.csv").stat().st_mtime_ns
    again = render_dataset(rendered, _SMALL)
    assert again.reused
    assert (rendered / "manifest.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"seed": 4}, {"size": 65}, {"design": PillDesign(imprint="K")}])
def test_a_data_set_of_another_plan_is_not_touched(rendered: Path, change: dict[str, int]) -> None:
    """Other settings need another folder."""
    before = _files(rendered)
    with pytest.raises(RenderError, match="rendered with other settings"):
        render_dataset(rendered, replace(_SMALL, **change))  # type: ignore[arg-type] # one of three
    assert _files(rendered) == before


def test_another_folder_is_not_touched(tmp_path: Path) -> None:
    """A folder with somebody's photographs is refused, whatever is asked."""
    (tmp_path / "photo.png").write_bytes(b"precious")
    with pytest.raises(RenderError, match="is not a rendered data set"):
        render_dataset(tmp_path, _SMALL)
    assert _files(tmp_path) == {"photo.png": b"precious"}


def test_a_data_set_that_lost_a_file_does_not_pass_as_whole(tmp_path: Path) -> None:
    """The first missing image is named."""
    root = tmp_path / "pills"
    render_dataset(root, _SMALL, jobs=1)
    (root / "test/crack/000.png").unlink()
    with pytest.raises(RenderError, match=r"test/crack/000\.png is gone"):
        render_dataset(root, _SMALL)


def test_an_interrupted_rendering_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle leaves neither a half data set nor a temporary folder."""

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_dataset(tmp_path / "pills", _SMALL, jobs=1, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """The path and the reason are in it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(RenderError, match="cannot be written"):
        render_dataset(tmp_path / "file" / "pills", _SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "outside 32 to 1600 px"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"train_good": -1}, "counts must not be negative"),
        ({"train_good": 0, "test_good": 0, "per_defect": 0}, "at least one must be above 0"),
        ({"design": PillDesign(imprint="F@")}, "imprint 'F@'"),
        ({"design": PillDesign(imprint="")}, "imprint ''"),
        ({"design": PillDesign(shape="star")}, "shape 'star' is unknown"),
    ],
)
def test_an_impossible_plan_is_wrong_usage(arguments: dict[str, object], message: str) -> None:
    """It is refused before anything is written."""
    with pytest.raises(UsageError, match=message):
        RenderPlan(**arguments)  # type: ignore[arg-type] # each is one wrong argument


def test_a_mask_is_saved_as_white_on_black(rendered: Path) -> None:
    """Masks are 8-bit with 0 and 255, as MVTec's are."""
    mask = Image.open(rendered / "ground_truth/crack/000_mask.png")
    assert mask.mode == "L"
    assert set(np.unique(np.asarray(mask)).tolist()) == {0, 255}


def test_the_renderer_version_guards_reuse(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pills of an older renderer are not taken for new ones."""
    monkeypatch.setattr(dataset, "RENDERER_VERSION", 999)
    with pytest.raises(RenderError, match="other settings"):
        render_dataset(rendered, _SMALL)


def test_rendered_masks_are_known_as_no_photographs(rendered: Path) -> None:
    """Whoever inspects the whole folder gets no decision about a mask; the pills have no mark."""
    drawn = {path for path in rendered.rglob("*.png") if is_drawing(path)}
    assert drawn == set(rendered.glob("ground_truth/*/*.png"))
