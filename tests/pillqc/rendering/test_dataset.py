"""Rendered data sets are complete or absent, and have the same bits everywhere."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shlex
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from pillqc.data.folders import read_samples
from pillqc.data.marker import is_drawing
from pillqc.data.masks import read_mask
from pillqc.errors import RenderError, UsageError
from pillqc.rendering import dataset
from pillqc.rendering.dataset import (
    RenderPlan,
    image_seed,
    render_dataset,
    rendered_plan,
    source_of,
)
from pillqc.rendering.design import PillDesign
from pillqc.rendering.scene import DEFECTS
from tests.pillqc.command import run

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


def test_the_manifest_describes_every_image(rendered: Path) -> None:
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
    """So nobody takes them for photographs."""
    plan = json.loads((rendered / "dataset.json").read_text(encoding="utf-8"))
    assert plan["synthetic"] is True
    assert plan["plan"]["seed"] == 3


def test_two_processes_render_the_same_bits(rendered: Path, tmp_path: Path) -> None:
    """A data set that lost an image or a mask is not reused; the error names the file."""
    root = tmp_path / "two"
    render_dataset(root, _SMALL, jobs=2)
    assert _files(root) == _files(rendered)
    for lost in ("ground_truth/crack/000_mask.png", "test/crack/000.png"):
        (root / lost).unlink()
        with pytest.raises(RenderError, match=f"{lost} is missing"):
            render_dataset(root, _SMALL)


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


def test_a_complete_data_set_of_the_same_plan_is_reused(rendered: Path) -> None:
    """Nothing is rendered twice."""
    before = (rendered / "manifest.csv").stat().st_mtime_ns
    again = render_dataset(rendered, _SMALL)
    assert again.reused
    assert (rendered / "manifest.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"size": 65}, {"design": PillDesign(imprint="K")}, {"setting": "varied"}],
)
def test_a_data_set_of_another_plan_is_not_touched(rendered: Path, change: dict[str, Any]) -> None:
    """Other settings need another folder."""
    before = _files(rendered)
    with pytest.raises(RenderError, match="other settings"):
        render_dataset(rendered, replace(_SMALL, **change))
    assert _files(rendered) == before


def test_the_plan_of_pills_as_measured_reads_as_that_of_earlier_versions(rendered: Path) -> None:
    """Their data sets stay reusable, and have no word of settings."""
    assert "setting" not in json.loads((rendered / "dataset.json").read_text("utf-8"))["plan"]
    assert "--setting" not in _SMALL.command("pills")


def test_a_varied_data_set_says_how_to_render_it_again(tmp_path: Path) -> None:
    """The command that its folder gives has the setting, and renders the same images."""
    plan = replace(_SMALL, setting="varied", train_good=6)
    first = render_dataset(tmp_path / "first", plan, jobs=1).root
    assert rendered_plan(first) == plan
    command = shlex.split(plan.command(str(tmp_path / "again")))[1:]
    assert "varied" in command
    assert run(*command, "--jobs", 1).exit_code == 0
    assert _files(tmp_path / "again") == _files(first)
    assert _files(first) != _files(
        render_dataset(tmp_path / "plain", replace(plan, setting="measured"), jobs=1).root
    )


def test_an_unknown_setting_is_refused() -> None:
    """The error lists those that there are."""
    with pytest.raises(UsageError, match="measured, varied, unseen"):
        replace(_SMALL, setting="bright")


def test_another_folder_is_not_touched(tmp_path: Path) -> None:
    """A folder of photographs is refused."""
    (tmp_path / "photo.png").write_bytes(b"precious")
    with pytest.raises(RenderError, match="not a rendered"):
        render_dataset(tmp_path, _SMALL)
    assert _files(tmp_path) == {"photo.png": b"precious"}


def test_an_interrupted_rendering_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C leaves neither an incomplete data set nor a temporary folder."""

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_dataset(tmp_path / "pills", _SMALL, jobs=1, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_an_empty_folder_is_filled(tmp_path: Path) -> None:
    """As data on another disk are."""
    (tmp_path / "disk/pills").mkdir(parents=True)
    (tmp_path / "pills").symlink_to("disk/pills")
    done = render_dataset(tmp_path / "pills", replace(_SMALL, per_defect=0), jobs=1)
    assert done.root == tmp_path / "pills"
    assert len(read_samples(tmp_path / "disk/pills")) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "pills"}


def test_a_folder_that_cannot_be_replaced_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is mounted, or that one is in."""
    monkeypatch.chdir(tmp_path)
    with (
        mock.patch("pillqc.rendering.dataset.render", side_effect=AssertionError),
        pytest.raises(RenderError, match="cannot be written"),
    ):
        render_dataset(Path(), _SMALL, jobs=1)


def test_a_process_that_is_killed_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills one where memory is full; nothing is left behind."""
    monkeypatch.setattr(dataset, "_render_one", _killed)
    with pytest.raises(RenderError, match="--jobs"):
        render_dataset(tmp_path / "pills", _SMALL, jobs=2)
    assert list(tmp_path.iterdir()) == []


def _killed(*_: object) -> dict[str, object]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """The path and the reason are in it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(RenderError, match="cannot be written"):
        render_dataset(tmp_path / "file" / "pills", _SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_good": 0, "test_good": 0, "per_defect": 0}, "at least one count"),
        ({"design": PillDesign(imprint="F@")}, "imprint 'F@'"),
        ({"design": PillDesign(imprint="")}, "imprint ''"),
        ({"design": PillDesign(shape="star")}, "'star'"),
        ({"design": PillDesign(imprint="K7"), "setting": "unseen"}, "leave out imprint"),
    ],
)
def test_an_impossible_plan_is_wrong_usage(arguments: dict[str, Any], message: str) -> None:
    """It is refused before anything is written."""
    with pytest.raises(UsageError, match=message):
        RenderPlan(**arguments)


def test_the_renderer_version_guards_reuse(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pills of an older renderer are not reused."""
    monkeypatch.setattr(dataset, "RENDERER_VERSION", 999)
    with pytest.raises(RenderError, match="other settings"):
        render_dataset(rendered, _SMALL)


def test_masks_are_white_on_black_and_marked_as_drawings(rendered: Path) -> None:
    """They have 0 and 255 as MVTec's do; `inspect` skips drawings, and pills are none."""
    with Image.open(rendered / "ground_truth/crack/000_mask.png") as mask:
        assert mask.mode == "L"
        assert set(np.unique(np.asarray(mask)).tolist()) == {0, 255}
    drawn = {path for path in rendered.rglob("*.png") if is_drawing(path)}
    assert drawn == set(rendered.glob("ground_truth/*/*.png"))


@pytest.mark.parametrize(
    "design", [PillDesign(), PillDesign(imprint="K7", colour=(200.5, 9.0, 0.0))]
)
def test_a_rendered_folder_knows_the_command_that_renders_it_again(
    tmp_path: Path, design: PillDesign
) -> None:
    """The command gives the same files; a model's card says it of its training data."""
    plan = RenderPlan(seed=4, size=32, train_good=1, test_good=1, per_defect=0, design=design)
    root = render_dataset(tmp_path / "pills", plan, jobs=1).root
    found = rendered_plan(root)
    assert found == plan
    words = shlex.split(found.command(str(tmp_path / "again")))
    assert run(*words[1:]).exit_code == 0
    assert _files(tmp_path / "again") == _files(root)
    source = source_of(root)
    assert source["rendered_by"].startswith("pillqc render --out pills --seed 4 --size 32 ")
    assert "synthetic" in source["source"]


@pytest.mark.parametrize("change", [{"renderer": 999}, {"plan": {"seed": 4}}, {"plan": None}])
def test_a_folder_that_cannot_be_rendered_again_has_no_command(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """Pills of another renderer are synthetic all the same; another folder is no rendered one."""
    about = json.loads(_SMALL.text) | change
    (tmp_path / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    assert rendered_plan(tmp_path) is None
    assert set(source_of(tmp_path)) == {"source", "renderer"}
    (tmp_path / "dataset.json").write_text("[]", encoding="utf-8")
    assert (rendered_plan(tmp_path), source_of(tmp_path)) == (None, {})
    assert source_of(tmp_path / "none") == {}
