"""Images that a model has seen judge it only with `--include-seen`, and then with a warning."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from pillqc.data.seen_images import decode_seen, encode_seen, without_seen
from pillqc.rendering.dataset import RenderPlan, render_dataset
from tests.pillqc.command import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

SIZE = 32


@pytest.fixture(scope="module")
def pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard layout, small: all bad ones are in `test`, as in MVTec AD."""
    root = tmp_path_factory.mktemp("data") / "pills"
    plan = RenderPlan(size=32, train_good=20, test_good=5, per_defect=5)
    render_dataset(root, plan, jobs=1)
    return root


@pytest.fixture(scope="module")
def model(pills: Path) -> Path:
    """Trained on that folder by the documented command."""
    out = pills.parent / "m.safetensors"
    done = run("train", "--data", pills, "--out", out, "--size", SIZE, "--epochs", 1)
    assert done.exit_code == 0, done.output
    return out


def manifest(model: Path) -> dict[str, str]:
    """Content hash to side, from the file beside the model."""
    with model.with_suffix(".split.csv").open(encoding="utf-8") as file:
        return {row["sha256"]: row["split"] for row in csv.DictReader(file)}


def test_every_image_is_on_one_side_in_the_manifest(pills: Path, model: Path) -> None:
    """By content, and each defect on each side."""
    sides = manifest(model)
    on_disk = {hashlib.sha256(p.read_bytes()).hexdigest() for p in pills.glob("t*/*/*.png")}
    assert sides.keys() == on_disk
    with model.with_suffix(".split.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = {(row["split"], row["defect"]) for row in rows}
    assert len(kinds) == 3 * 8
    assert all((pills / row["path"]).is_file() for row in rows)


def test_evaluation_judges_by_the_test_side_only(pills: Path, model: Path) -> None:
    """What was in train or validation is left out and counted; no option is needed for that."""
    sides = list(manifest(model).values())
    done = run("evaluate", "--data", pills, "--model", model, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["images"] == sides.count("test")
    assert report["left_out_as_seen"] == len(sides) - sides.count("test")
    assert report["seen_in_training"] == 0
    table = run("evaluate", "--data", pills, "--model", model)
    assert f"left out: {report['left_out_as_seen']} images" in table.stdout


def test_seen_images_judge_only_when_asked_and_it_says_so(pills: Path, model: Path) -> None:
    """In the table, on the error stream and in the JSON."""
    arguments = ("evaluate", "--data", pills, "--model", model, "--include-seen")
    report = run(*arguments, "--json")
    assert json.loads(report.stdout)["seen_in_training"] > 0
    assert "SEEN IN TRAINING" in report.stderr
    assert "TOO GOOD" in run(*arguments).stdout


def test_seen_images_are_known_by_content(pills: Path, model: Path, tmp_path: Path) -> None:
    """A folder that holds seen images only, under other names, cannot judge the model."""
    sides = manifest(model)
    for path in pills.glob("t*/*/*.png"):
        if sides[hashlib.sha256(path.read_bytes()).hexdigest()] == "train":
            kind = "good" if path.parent.name == "good" else "bad"
            (tmp_path / kind).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / kind / f"copy-of-{path.parent.name}-{path.name}")
    done = run("evaluate", "--data", tmp_path, "--model", model)
    assert done.exit_code == 1
    assert "has seen all" in done.output


def test_a_model_remembers_what_its_start_has_seen(
    pills: Path, model: Path, tmp_path: Path
) -> None:
    """Trained further on other images, it still must not be judged by the first ones."""
    from pillqc.model.artifact import read_artifact

    other = tmp_path / "other"
    render_dataset(
        other, RenderPlan(seed=7, size=32, train_good=5, test_good=5, per_defect=5), jobs=1
    )
    out = tmp_path / "further.safetensors"
    done = run(
        *("train", "--data", other, "--weights", model, "--out", out, "--epochs", 1),
    )
    assert done.exit_code == 0, done.output
    first = read_artifact(model)[0].seen
    card = read_artifact(out)[0]
    assert card.size == SIZE
    new = [d for d, side in manifest(out).items() if side != "test"]
    assert len(decode_seen(card.seen)) == len(decode_seen(first)) + len(new)
    report = json.loads(run("evaluate", "--data", pills, "--model", out, "--json").stdout)
    mine = [d for d, side in manifest(model).items() if side != "test"]
    assert report["left_out_as_seen"] == len(mine)


def test_the_manifest_is_checked_for_near_copies(pills: Path, model: Path) -> None:
    """`check-split --manifest` looks at the model's own split; another data set's is refused."""
    split = model.with_suffix(".split.csv")
    done = run("check-split", "--data", pills, "--manifest", split)
    assert done.exit_code == 0, done.output
    lines = split.read_text(encoding="utf-8").splitlines()
    cut = model.parent / "cut.split.csv"
    cut.write_text("\n".join(lines[:10]), encoding="utf-8")
    assert "of other data" in run("check-split", "--data", pills, "--manifest", cut).output
    cut.write_text("no,manifest\n1,2\n", encoding="utf-8")
    assert "not a split manifest" in run("check-split", "--data", pills, "--manifest", cut).output


def test_digests_are_remembered_and_damage_is_found() -> None:
    """Sorted, each once, and a text that was cut is refused."""
    one, two = (hashlib.sha256(text.encode()).hexdigest() for text in ("one", "two"))
    seen = encode_seen([one, two, one])
    assert seen == encode_seen([two], before=encode_seen([one]))
    assert len(decode_seen(seen)) == 2
    with pytest.raises(ValueError, match="seen images"):
        without_seen([], seen[:-2])
